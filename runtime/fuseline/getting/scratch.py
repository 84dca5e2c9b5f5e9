"""A hidden folder for what is under way, which goes at the end, and whose remains the next one removes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError, shown

_PREFIX = ".getting-"


@contextmanager
def scratch(home: Path, room: int) -> Iterator[Path]:
    """An empty folder in `home`, which is made where it is missing. room: how many bytes there must be for it.

    Raises InputError where nothing can be written there, or there is too little room.
    """
    with _there(home):
        try:
            _remove_remains(home)
            free = shutil.disk_usage(home).free
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
            lock = _lock(folder)
        except OSError as error:
            raise _unwritable(home, error) from error
        try:
            if free < room:
                raise InputError(f"{shown(home)} has room for {free / 1e6:,.0f} MB and {room / 1e6:,.0f} MB are needed")
            yield folder
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _there(home: Path) -> Iterator[None]:
    """The folder is made where it is missing, and goes again, as those above it, where nothing was left in it."""
    made = [folder for folder in (home, *home.parents) if not os.path.lexists(folder)]
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(home, error) from error
    try:
        yield
    finally:
        for each in made:
            with suppress(OSError):
                each.rmdir()


def _unwritable(home: Path, error: OSError) -> InputError:
    return InputError(f"nothing can be written into {shown(home)}: {error.strerror or error}")


def _lock(folder: Path) -> int:
    """A file in the folder that is locked as long as it is open, where there are locks."""
    number = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(number)
            raise
    return number


def _remove_remains(home: Path) -> None:
    """Of processes that were killed."""
    for left in home.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # a lock that cannot be had is held by who is at work there
            os.close(_lock(left))
            shutil.rmtree(left, ignore_errors=True)
