"""Folders that many tests ask for, made once a run by whichever process is first; each asker gets a copy."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_ROOT = "FUSELINE_TESTS_MADE"  # the run's folder, which tests/conftest.py makes and names for all its processes


def begin() -> tempfile.TemporaryDirectory[str]:
    """The folder of a run that begins: cleaned up at its end."""
    folder = tempfile.TemporaryDirectory(prefix="fuseline-tests-")
    os.environ[_ROOT] = folder.name
    return folder


def shared(name: str, make: Callable[[Path], object]) -> Path:
    """The run's folder that `make` fills, by the first who asks: not to be changed.

    name: of what is made, with all that it depends on.
    """
    if _ROOT not in os.environ:  # no run of pytest
        atexit.register(begin().cleanup)
    kept = Path(os.environ[_ROOT], name.replace("/", " "))
    with open(f"{kept}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done := Path(f"{kept}.done")).exists():
            shutil.rmtree(kept, ignore_errors=True)  # of somebody who failed
            kept.mkdir()
            make(kept)
            done.touch()
    return kept


def made_once(out: Path, name: str, make: Callable[[Path], object]) -> None:
    """Put a copy of what is shared by that name into the folder `out`; it must not depend on where it lies."""
    shutil.copytree(shared(name, make), out, dirs_exist_ok=True, copy_function=shutil.copy)
