"""Files under an open model: onnxruntime reads large weights from the disk while it runs, so they must not change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fuseline.kernels import Guard, guard_files

from ..errors import FolderError
from .reading import Stamp, stamp_of


class Unchanged:
    """Files that are what they were when they were checked; `check` sees whether they still are."""

    def __init__(self, files: Mapping[Path, Stamp]) -> None:
        """files: each with the stamp of what was checked."""
        self._files = {os.fspath(file): stamp for file, stamp in files.items()}
        self._guard: Guard | None = None

    def guard(self) -> None:
        """From now on a file that is cut short while it is read does not end the process, but fails the next check.

        To be called once the files are mapped, so when the sessions are made.
        """
        self._guard = guard_files([Path(file) for file in self._files])

    def release(self) -> None:
        """The files are read no more."""
        if self._guard is not None:
            self._guard.release()

    def check(self) -> None:
        """A call of the system for each file. Raises FolderError where one was written, replaced or removed."""
        for file, was in self._files.items():
            if _stamp(file) != was:
                raise FolderError(f"{file} was changed while it is open; open the model again")
        if self._guard is not None and self._guard.broken:
            raise FolderError(f"a file of {Path(next(iter(self._files))).parent} was cut short while it was read")


def _stamp(file: str) -> Stamp | None:
    try:
        return stamp_of(file)
    except OSError:
        return None
