"""The files that come with the package, as files on the disk wherever the package lies: a folder, or inside a zip."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@cache
def on_disk(*names: str) -> Path | None:
    """The file or folder of that name below the package `fuseline`; None if there is none.

    onnxruntime and the dynamic linker read files and no archives. So what lies in a zip (zipapp, pex, shiv) is copied
    into a temporary folder once a process, and removed when the process ends.
    """
    beside = Path(__file__).parent.joinpath(*names)
    if beside.exists():  # as nearly always; importlib.resources takes 2 ms to be imported
        return beside
    from importlib import resources

    place = resources.files("fuseline").joinpath(*names)
    path = Path(str(place))
    if path.exists():
        return path
    if not (place.is_dir() or place.is_file()):
        return None
    scratch = tempfile.mkdtemp(prefix="fuseline-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return _copied(place, Path(scratch))


def is_installed(folder: Path) -> bool:
    """Whether a resolved folder ships with this package, or lies among those that pip or a distribution installed."""
    shipped = on_disk("models")
    inside = shipped is not None and folder.is_relative_to(shipped.resolve())
    return inside or not {"site-packages", "dist-packages"}.isdisjoint(folder.parts)


def _copied(place: Traversable, into: Path) -> Path:
    """A copy of a file, or of a folder with all below it, in the folder `into`."""
    copy = into / place.name
    if place.is_file():
        copy.write_bytes(place.read_bytes())
        return copy
    copy.mkdir()
    for each in place.iterdir():
        _copied(each, copy)
    return copy
