"""On-device inference for encoder/decoder models: photos and texts in, texts out.

The names are loaded when they are first used: a program that only asks for the version, or for help, starts at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .ensembles import ensemble
    from .errors import Cancelled, DeviceError, Error, ExportError, FolderError, InputError
    from .generation.config import GenerationConfig
    from .generation.result import Generation
    from .model import Model
    from .pipelines import pipeline

# From 1.32 on onnxruntime reports what it runs, and keeps an id in the user's cache folder, unless this is set before
# it is loaded. Every way into the package comes through here first.
if os.environ.get("ORT_DISABLE_TELEMETRY") != "1" and hasattr(sys.modules.get("onnxruntime"), "__version__"):
    warnings.warn(
        "onnxruntime was imported before fuseline, and from 1.32 on it reports what it runs; import fuseline first, or "
        "set ORT_DISABLE_TELEMETRY=1",
        RuntimeWarning,
        stacklevel=2,
    )
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


__all__ = [
    "Cancelled",
    "DeviceError",
    "Error",
    "ExportError",
    "FolderError",
    "Generation",
    "GenerationConfig",
    "InputError",
    "Model",
    "ensemble",
    "pipeline",
]

_ROOMS = {
    "ensembles": ("ensemble",),
    "generation": ("Generation", "GenerationConfig"),
    "model": ("Model",),
    "pipelines": ("pipeline",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_ROOM_OF.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
