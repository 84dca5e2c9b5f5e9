"""What was found out about a model on this machine, kept in the user's cache folder: a small file for each question.

A file that cannot be read or written is no error: what it held is found out again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..folders.own import Folder
from ..graphs.cores import thread_count
from ..graphs.devices import placed
from ..graphs.hardware import cpu_model
from ..graphs.installed import onnxruntime, wheels
from ..version import __version__

_LARGEST = 1 << 20
# Without O_NONBLOCK opening a pipe would wait for a writer; a link is nothing that `remember` has written.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


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


def recall(about: str, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was remembered about these facts; None if there is nothing."""
    try:
        found = json.loads(_content(_file(about, facts)))
        return dict(found["found"]) if found["facts"] == facts else None
    except (
        OSError,
        ValueError,
        RecursionError,
        LookupError,
        TypeError,
        RuntimeError,
    ):  # RuntimeError: there is no home
        return None


def remember(about: str, facts: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Keep what was found, whole or not at all."""
    text = json.dumps({"facts": facts, "found": dict(found)}, indent=2)
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        file = _file(about, facts)
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
        try:
            with open(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.replace(scratch, file)
        except BaseException:
            os.unlink(scratch)
            raise


def _content(file: Path) -> bytes:
    """What a regular file holds. Raises OSError for anything else, ValueError for one that is too large."""
    handle = os.open(file, _READ)
    with open(handle, "rb", buffering=0) as stream:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise ValueError(f"{file} is nothing that fuseline has written")
        return stream.read(_LARGEST)


def _file(about: str, facts: Mapping[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
    return cache_folder() / about / f"{key}.json"


def facts_of(folder: Folder, device: object, threads: int | None) -> dict[str, Any]:
    """Everything that speed and answers depend on. device: what `placed` takes."""
    from fuseline.kernels import library_info
    from fuseline.kernels.cuda import stamp

    library = library_info()
    return {
        "graphs": _graphs(folder),
        "device": [[each.name, each.provider, dict(each.options), each.package] for each in placed(device).parts],
        "threads": thread_count(threads),
        "cpu": cpu_model(),
        "system": f"{platform.system()} {platform.release()}",  # which brings the drivers
        "features": list(library.features),
        "kernels": library.isa,
        "cuda": stamp(),
        "fuseline": __version__,
        "onnxruntime": onnxruntime().__version__,
        "packages": wheels(),
    }


def _graphs(folder: Folder) -> dict[str, Any]:
    """The hashes of all graphs; of a folder that has none, what the files in use are by size and date."""
    hashes = {name: sha256 for name, sha256 in sorted(folder.hashes.items()) if name.startswith("onnx/")}
    if hashes:
        return hashes
    return {str(file): [stamp.size, stamp.modified, stamp.inode] for file, stamp in folder.files_in_use.items()}
