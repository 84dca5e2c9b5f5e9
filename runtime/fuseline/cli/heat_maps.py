"""Where `fuseline caption --heat-map` puts its pictures and pages."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, shown

if TYPE_CHECKING:
    from PIL import Image

    from ..generation.result import Generation
    from ..model import Model


class HeatMapFiles:
    """The file of the only photo, or numbered files: cats.png becomes cats-1.png, cats-2.png ... in the order of the
    photos, and what fails leaves its number out."""

    def __init__(self, path: str, photos: Sequence[str], alone: bool) -> None:
        """photos: as they were named; alone: whether that is one photo. Raises InputError for a suffix that is neither
        .png nor .html, and where there is no folder to write into."""
        from ..outputs.heat_maps import check_suffix

        self._path, self._alone, self._count = Path(path), alone, 0
        check_suffix(self._path)
        if not self._path.parent.is_dir():
            raise InputError(f"{shown(path)}: there is no folder {shown(self._path.parent)}; make it first")
        if not os.access(self._path.parent, os.W_OK):
            raise InputError(f"{shown(path)}: its folder may not be written into; give a place that may")
        self._read = {_identity(name) for name in photos}

    @staticmethod
    def check(model: Model) -> None:
        """Raise InputError for a model that does not say where it looks."""
        from ..outputs.heat_maps import check_shows

        check_shows(model)

    def next(self, photo: str) -> Path:
        """The file for the next photo. Raises InputError where a photo that is to be read lies there."""
        self._count += 1
        path = self._path
        if not self._alone:
            path = path.with_name(f"{path.stem}-{self._count}{path.suffix}")
        there = _identity(os.fspath(path))
        if there is not None and (there in self._read or there == _identity(photo)):
            raise InputError(f"{shown(path)}: this is a photo that is to be read; give --heat-map another name")
        return path

    @staticmethod
    def write(path: Path, made: Generation, photo: Image.Image, model: Model) -> None:
        """The heat map of the first sequence. Raises InputError."""
        from ..outputs.heat_maps import heat_map

        heat_map(made, photo, model).save(path)


def _identity(name: str) -> tuple[int, int] | None:
    """Of a file, whatever it is called; None where there is none. -: standard input."""
    try:
        found = os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name)
    except (OSError, ValueError, AttributeError):  # not there, no name of a file, or no standard input
        return None
    return found.st_dev, found.st_ino
