"""Providers that are packages of their own: found by their names, registered with onnxruntime, and what they list.

A package is looked for by the folder that pip leaves of it, since asking for every package's description takes longer
than to open a model; nothing of it is imported before a device is asked for that it may bring.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from .installed import onnxruntime
from .reasons import reason
from .starting import standard_error

# onnxruntime-ep-webgpu, onnxruntime-ep-openvino ... and one that kept an older name.
_NAME = re.compile(r"(onnxruntime_ep_\w+|onnxruntime_qnn)-([^-]+)\.dist-info", re.IGNORECASE)
CPU_HARDWARE = "CPU"


@dataclass(frozen=True)
class Plugin:
    """A provider of a package. provider: onnxruntime's name of it; package: with its version."""

    provider: str
    package: str
    library: str


@dataclass(frozen=True)
class Listed:
    """What a plugin lists: handles, onnxruntime's OrtEpDevices; reason: why there are none."""

    handles: tuple[Any, ...]
    reason: str = ""


@cache
def plugins() -> tuple[Plugin, ...]:
    """Those that are installed. A package that does not say what it brings is none."""
    return tuple(plugin for module, version in _packages() for plugin in _brought(module, version))


def _packages() -> Iterator[tuple[str, str]]:
    """Modules and versions of packages that may be plugins, as Python would find them."""
    seen = set[str]()
    for place in map(Path, sys.path):
        for folder in sorted(place.glob("onnxruntime_*.dist-info")) if place.is_dir() else ():
            found = _NAME.fullmatch(folder.name)
            # A package of the same name that brings an onnxruntime of its own has no folder of its own.
            if found and found[1].lower() not in seen and (place / found[1].lower()).is_dir():
                seen.add(found[1].lower())
                yield found[1].lower(), found[2]


def _brought(module: str, version: str) -> list[Plugin]:
    try:
        package = import_module(module)
        names, library = package.get_ep_names(), str(package.get_library_path())
    except Exception:  # code of others, of any version
        return []
    return [Plugin(str(name), f"{module.replace('_', '-')} {version}", library) for name in names]


@cache
def listed(plugin: Plugin) -> Listed:
    """Register a plugin and ask for its devices. What hinders it is a reason, no exception. Once a process."""
    runtime = onnxruntime()
    if not hasattr(runtime, "register_execution_provider_library"):
        return Listed((), f"{plugin.package} needs a newer onnxruntime than {runtime.__version__}")
    if not (there := _handles(plugin.provider)):  # a program may have registered it before
        with standard_error():
            try:
                runtime.register_execution_provider_library(plugin.provider, plugin.library)
            except Exception as error:
                return Listed((), f"{plugin.package} cannot be registered: {reason(error)}")
            there = _handles(plugin.provider)
    if there:
        return Listed(there)
    return Listed((), f"{plugin.package} is there and finds no hardware here that it serves")


def registered() -> dict[str, Plugin]:
    """Plugins that are registered and list devices, whoever did it, by provider; onnxruntime tells of them as of its
    own."""
    if not hasattr(onnxruntime(), "get_ep_devices"):
        return {}
    found = {}
    for each in onnxruntime().get_ep_devices():
        facts = dict(each.ep_metadata)
        if "library_path" in facts:
            package = f"{Path(facts['library_path']).name} {facts.get('version', '')}".strip()
            found[str(each.ep_name)] = Plugin(str(each.ep_name), package, facts["library_path"])
    return found


def _handles(provider: str) -> tuple[Any, ...]:
    """The devices of a registered provider. Those that nothing stands behind, to compile for, are left out."""
    found = (each for each in onnxruntime().get_ep_devices() if each.ep_name == provider)
    return tuple(each for each in found if dict(each.device.metadata).get("is_virtual") != "1")


def hardware_of(handle: Any) -> str:
    """What a plugin's device is: "GPU of NVIDIA Corporation (0x10de, 0x2230)"."""
    device = handle.device
    facts = dict(device.metadata)
    kind = device.type.name
    said = facts.get("Description") or (f"{kind} of {device.vendor}" if device.vendor else kind)
    return f"{said} ({device.vendor_id:#06x}, {device.device_id:#06x})" if kind != CPU_HARDWARE else said


def words_of(handle: Any) -> set[str]:
    """By which a plugin's device may be asked for, in lower case: what kind it is, and what its provider says of it."""
    return {str(each).lower() for each in (handle.device.type.name, *dict(handle.ep_metadata).values())}
