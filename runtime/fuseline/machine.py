"""What was measured on this machine, kept in the user's cache folder: a small file for each model, machine and version.

A file that cannot be read or written is no error: what it held is measured again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import __version__
from .folder import Folder
from .session import thread_count

Times = Mapping[str, float]
_LARGEST = 1 << 20


def cache_folder() -> Path:
    """XDG_CACHE_HOME/fuseline where that is set; else where the platform has caches. It need not exist."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    if chosen and os.path.isabs(chosen):  # the specification wants a relative one ignored
        return Path(chosen) / "fuseline"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fuseline"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fuseline" / "Cache"
    return Path.home() / ".cache" / "fuseline"


def recall(folder: Folder, device: str, threads: int | None) -> Times | None:
    """Milliseconds by graph, as they were remembered for this folder here; None if there are none."""
    facts = _facts(folder, device, threads)
    try:
        with _file(facts).open("rb") as file:
            found = json.loads(file.read(_LARGEST))
        times = found["milliseconds"]
        right = found["facts"] == facts and all(_is_time(value) for value in times.values())
        return dict(times) if right else None
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError, RuntimeError):
        return None


def remember(folder: Folder, device: str, threads: int | None, times: Times) -> None:
    """Keep them, whole or not at all."""
    facts = _facts(folder, device, threads)
    text = json.dumps({"facts": facts, "milliseconds": dict(times)}, indent=2)
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        file = _file(facts)
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
        try:
            with open(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.replace(scratch, file)
        except OSError:
            os.unlink(scratch)
            raise


def _file(facts: Mapping[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
    return cache_folder() / "auto" / f"{key}.json"


def _facts(folder: Folder, device: str, threads: int | None) -> dict[str, Any]:
    """Everything that what was measured depends on."""
    import onnxruntime

    from fuseline.kernels import library_info

    library = library_info()
    return {
        "graphs": {name: sha256 for name, sha256 in sorted(folder.hashes.items()) if name.startswith("onnx/")},
        "device": device,
        "threads": thread_count(threads),
        "cpu": cpu_model(),
        "features": list(library.features),
        "kernels": library.isa,
        "fuseline": __version__,
        "onnxruntime": onnxruntime.__version__,
    }


def cpu_model() -> str:
    """The CPU's name, or on ARM its implementer and part, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = [said[key] for key in ("model name", "CPU implementer", "CPU part", "CPU variant") if key in said]
    return " ".join(names) or platform.processor() or platform.machine()


def _is_time(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value) and value > 0
