"""The onnxruntime that is installed: loaded, and refused where it cannot be used; and the packages that brought it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import DeviceError, shown
from .reasons import SILENT, reason

_OLDEST = (1, 20)
# Plugins, and what is built upon onnxruntime.
_BESIDE = ("onnxruntime-ep-", "onnxruntime-extensions", "onnxruntime-tools", "onnxruntime-genai")


@cache
def onnxruntime() -> Any:
    """The package, telemetry off. Raises DeviceError if it cannot be loaded, or is too old."""
    try:
        module = import_module("onnxruntime")
        found = _version(module)
        module.InferenceSession  # noqa: B018 - what remains of two packages in one folder may have no such name
    except Exception as error:  # of the loader, or of the package's own code, whose files may not fit together
        raise DeviceError(f"onnxruntime cannot be loaded: {_loader_reason(error)}{several()}") from None
    if found < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise DeviceError(
            f"onnxruntime {shown(module.__version__)} is too old; fuseline needs {oldest} or later: "
            "pip install -U onnxruntime"
        )
    # The variable that fuseline sets counts when onnxruntime is loaded, and a program may have loaded it before.
    module.disable_telemetry_events()
    module.set_default_logger_severity(SILENT)  # of what belongs to no session, such as memory that is not to be had
    return module


def version() -> tuple[int, ...]:
    """Major and minor version of onnxruntime. Raises DeviceError as onnxruntime does."""
    return _version(onnxruntime())


def _version(module: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in module.__version__.split(".")[:2])


def _loader_reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
        return "it is not installed; pip install onnxruntime"
    if isinstance(error, AttributeError) and (there := _emptied()):
        return (
            f"most files of {there} are gone, as after another package that shares its folder was uninstalled; "
            f"pip install --force-reinstall --no-deps {there}"
        )
    return f"{type(error).__name__}: {reason(error)}"


def _emptied() -> str:
    """The package whose folder has no module any more; empty where there is one."""
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is not None or not spec.submodule_search_locations:
        return ""
    return next((each.split()[0] for each in _packages(Path(next(iter(spec.submodule_search_locations))).parent)), "")


def wheels() -> list[str]:
    """The packages that put an onnxruntime here, such as "onnxruntime 1.32.0"; more than one is a fault.

    They write into the same folder, and what is there is a mixture. Plugins have their own (fuseline.graphs.plugins).
    """
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return []
    return _packages(Path(spec.origin).parent.parent)


def _packages(place: Path) -> list[str]:
    found = []
    for folder in place.glob("onnxruntime*.dist-info"):
        module, _, version = folder.name.removesuffix(".dist-info").lower().partition("-")
        name = module.replace("_", "-")
        plugin = name.startswith(_BESIDE) or (name != "onnxruntime" and (place / module).is_dir())
        if not plugin:
            found.append(f"{name} {version}")
    return sorted(found)


def several() -> str:
    """What to do where several packages overwrite each other; empty where they do not."""
    there = wheels()
    if len(there) < 2:
        return ""
    names = " ".join(each.split()[0] for each in there)
    return f"; {', '.join(there)} overwrite each other's files: pip uninstall {names}, then install one of them again"


@cache
def openvino_parts() -> tuple[str, ...]:
    """What OpenVINO finds here by its own names, CPU, GPU.0, NPU; nothing where it does not tell."""
    try:
        from onnxruntime.capi._pybind_state import get_available_openvino_device_ids

        return tuple(str(each) for each in get_available_openvino_device_ids())
    except Exception:  # a build without it, or a driver that fails
        return ()
