"""Files under an open model: onnxruntime reads large weights from the disk while it runs, so they must not change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .errors import FolderError
from .files import external_locations
from .folder import Folder


class Unchanged:
    """What some files were when this was made; `check` sees whether they still are."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Raises FolderError for a file that is not there."""
        self._files = {os.fspath(file): _identity(os.fspath(file)) for file in files}
        self.check()  # refuses what is missing already

    def check(self) -> None:
        """A call of the system for each file. Raises FolderError where one was written, replaced or removed."""
        for file, was in self._files.items():
            if was is None or _identity(file) != was:
                raise FolderError(f"{file} was changed while it is open; open the model again")


def files_of(folder: Folder) -> list[Path]:
    """The graphs of the variant in use, and the files with their weights. Raises FolderError."""
    files: list[Path] = []
    for name in dict.fromkeys(folder.variants[folder.variant].graphs):
        graph = folder.path / name
        try:
            files += [graph, *(graph.parent / location for location in sorted(external_locations(graph)))]
        except OSError as error:
            raise FolderError(f"{graph} cannot be read: {error.strerror}") from error
    return files


def _identity(file: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev
