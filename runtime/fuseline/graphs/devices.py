"""Devices: their names, the providers of onnxruntime behind them, and why one cannot be had.

The decoder writes into arrays that were bound to its graph once. A device with memory of its own copies what is bound,
and would never see what is written later; such a device is refused.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError, shown, written
from .running import SILENT, reason

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
_OLDEST = (1, 20)
# In every build, and none that runs graphs: it sends what it is given to a server.
_NO_DEVICES = ("AzureExecutionProvider",)
# Those that read and write the CPU's memory where it lies, for an onnxruntime that does not tell (before 1.23).
_SHARING = ("OpenVINO", "Xnnpack", "XNNPACK", "Dnnl", "CoreML", "QNN", "Nnapi", "ACL", "ArmNN", "VitisAI", "SNPE")
_WARNINGS = 2  # onnxruntime's severity, and all above it
_CPU_MEMORY = "Cpu"  # the name that onnxruntime gives it


@cache
def onnxruntime() -> Any:
    """The package, telemetry off. Raises DeviceError if it cannot be loaded, or is too old."""
    try:
        module = import_module("onnxruntime")
        found = _version(module)
        module.InferenceSession  # noqa: B018 - what remains of two packages in one folder may have no such name
    except Exception as error:  # of the loader, or of the package's own code, whose files may not fit together
        raise DeviceError(f"onnxruntime cannot be loaded: {_loader_reason(error)}{_several()}") from None
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
    return f"{type(error).__name__}: {reason(error)}"


def devices() -> dict[str, str]:
    """onnxruntime's provider by the name of each device: "cpu", "cuda", "openvino" ...; the CPU first.

    Whether a device can be used shows only when a graph is opened on it. Raises DeviceError as onnxruntime does.
    """
    found = {_short(name): str(name) for name in onnxruntime().get_available_providers() if name not in _NO_DEVICES}
    return dict(sorted(found.items(), key=lambda each: (each[1] != CPU, each[0])))


def provider_of(device: object) -> str:
    """onnxruntime's name of a device: "cpu", "cuda", "openvino" ..., or that name itself. Raises DeviceError."""
    available = devices()
    if isinstance(device, str):
        for short, name in available.items():
            if device == name or device.lower() == short:
                return name
    raise DeviceError(f"there is no device {written(device)} here; available: {', '.join(available)}{_several()}")


def _short(provider: str) -> str:
    return provider.removesuffix(_SUFFIX).lower()


def check_memory(session: InferenceSession, provider: str) -> None:
    """Raises DeviceError where the device has memory of its own."""
    if not _shares_memory(session, provider):
        raise DeviceError(
            f"the device {_short(provider)} has memory of its own, which this version of fuseline does not write to; "
            "use cpu"
        )


def _shares_memory(session: InferenceSession, provider: str) -> bool:
    if hasattr(session, "get_input_memory_infos"):
        infos = [*session.get_input_memory_infos(), *session.get_output_memory_infos()]
        if any(info.name != _CPU_MEMORY for info in infos):
            return False
    return provider == CPU or provider.removesuffix(_SUFFIX) in _SHARING


def not_started(provider: str, error: BaseException | None, said: list[str]) -> DeviceError:
    """Why a provider did not start: onnxruntime says it in an exception, in its log, or in both."""
    errors = [line for line in said if ":onnxruntime:" in line and re.search(r"\[[EF]:", line)]
    others = [line for line in said if ":onnxruntime:" in line]
    told = reason(_LOG.sub("", errors[0])) if errors else reason(error) if error is not None else ""
    told = told or (reason(_LOG.sub("", others[0])) if others else "onnxruntime does not say why")
    return DeviceError(f"the device {_short(provider)} cannot be used: {provider} did not start: {told}{_several()}")


_LOG = re.compile(r"^.*?\[[A-Z]:onnxruntime:[^\]]*\] ")


@contextmanager
def standard_error() -> Iterator[list[str]]:
    """Hold back what is written to standard error meanwhile; the lines are there at the end.

    onnxruntime says only there why a provider does not start. What is not its own is written on afterwards.
    """
    lines: list[str] = []
    onnxruntime().set_default_logger_severity(_WARNINGS)
    try:
        yield from _held_back(lines)
    finally:
        onnxruntime().set_default_logger_severity(SILENT)


def _held_back(lines: list[str]) -> Iterator[list[str]]:
    try:
        sys.stderr.flush()
        before = os.dup(2)
    except (OSError, ValueError, AttributeError):  # closed, or none
        yield lines
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            written = kept.read()
            lines += written.decode("utf-8", "replace").splitlines()
            rest = [line for line in written.splitlines(keepends=True) if not _is_log(line)]
            with os.fdopen(os.dup(2), "wb", buffering=0) as stream:
                stream.write(b"".join(rest))


def _is_log(line: bytes) -> bool:
    return b":onnxruntime:" in line or line.strip() in (b"", b"\x1b[m", b"\x1b[0m")


def wheels() -> list[str]:
    """The packages that put an onnxruntime here, such as "onnxruntime 1.32.0"; more than one is a fault.

    They write into the same folder, and what is there is a mixture. Plugins (onnxruntime-ep-...) have their own.
    """
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return []
    found = []
    for folder in Path(spec.origin).parent.parent.glob("onnxruntime*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        name = name.replace("_", "-").lower()
        if not name.startswith(("onnxruntime-ep-", "onnxruntime-extensions", "onnxruntime-tools", "onnxruntime-genai")):
            found.append(f"{name} {version}")
    return sorted(found)


def _several() -> str:
    """What to do where several packages overwrite each other; empty where they do not."""
    there = wheels()
    if len(there) < 2:
        return ""
    names = " ".join(each.split()[0] for each in there)
    return f"; {', '.join(there)} overwrite each other's files: pip uninstall {names}, then install one of them again"
