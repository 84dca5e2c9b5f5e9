"""Files under an open model: onnxruntime reads large weights from the disk while it runs, so they must not change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .errors import FolderError
from .files import external_locations
from .folder import Folder

_NO_WEIGHTS = {"config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json"}


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
    graphs = [folder.path / name for name in dict.fromkeys(folder.variants[folder.variant].graphs)]
    if not _may_have_weights_beside(folder):
        return graphs
    files: list[Path] = []
    for graph in graphs:
        try:
            files += [graph, *(graph.parent / location for location in sorted(external_locations(graph)))]
        except OSError as error:
            raise FolderError(f"{graph} cannot be read: {error.strerror}") from error
    return files


def _may_have_weights_beside(folder: Folder) -> bool:
    """False where the folder's description lists no file that could hold them, so that no graph is read through."""
    graphs = {name for variant in folder.variants.values() for name in variant.graphs}
    return not folder.hashes or not folder.sizes.keys() <= graphs | _NO_WEIGHTS


def _identity(file: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev
