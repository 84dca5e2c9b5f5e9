"""Which photos are meant by the names on a command line: a folder stands for those in it and below it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import InputError, shown

# What ends the name of a photo in a folder; a photo that is named itself may be called anything.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
)
# What is a picture too and is not read, so that somebody may wait for it in vain: of cameras, then others.
_UNREAD = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f"),
    *(".ai", ".dds", ".djvu", ".emf", ".eps", ".exr", ".hdr", ".ico", ".jxl", ".pcx", ".pdf", ".ps", ".psb", ".psd"),
    *(".svg", ".svgz", ".tga", ".wmf", ".xcf"),
)
_NAMED = 3  # of those left out


class Unusable(NamedTuple):
    """What was named, or found in a folder, and is no photo, with the reason."""

    name: str
    error: InputError


class Photos:
    """The photos that names stand for, found while they are gone through: a large folder starts at once.

    A name is itself, whatever it is; a folder is all photos in it and below it in order of their paths, without hidden
    ones. Linked photos count; linked folders are not followed, as they may lead round in circles.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names
        self._unread: list[str] = []
        self._linked: list[str] = []

    def __iter__(self) -> Iterator[str | Unusable]:
        for name in self._names:
            if not name:
                yield Unusable(name, InputError("'' names no photo; give the path of one"))
            elif name == "-" or not os.path.isdir(name):
                yield name
            else:
                yield from self._of_folder(name)

    def left_out(self) -> Iterator[str]:
        """What was found so far and not given, a sentence for each kind."""
        if self._linked:
            yield f"links to folders are not followed: {_some(self._linked)}; name them to have their photos too"
        if self._unread:
            yield f"pictures of kinds that cannot be read were left out: {_some(self._unread)}"

    def _of_folder(self, folder: str) -> Iterator[str | Unusable]:
        nothing = True
        for found in self._below(folder):
            nothing = False
            yield found
        if nothing:
            right = "a photo's name ends in .jpg, .png or the like"
            yield Unusable(folder, InputError(f"{shown(folder)}: there is no photo in this folder; {right}"))

    def _below(self, folder: str) -> Iterator[str | Unusable]:
        """Depth first, one folder's names at a time."""
        waiting: list[os.DirEntry[str] | str] = [folder]
        while waiting:
            entry = waiting.pop()
            try:
                if isinstance(entry, str) or entry.is_dir(follow_symlinks=False):
                    waiting += reversed(_listed(entry))
                else:
                    yield from self._entry(entry)
            except OSError as error:
                path = os.fspath(entry)
                reason = f"{shown(path)}: the folder cannot be read ({error.strerror}); give one that may be"
                yield Unusable(path, InputError(reason))

    def _entry(self, entry: os.DirEntry[str]) -> Iterator[str | Unusable]:
        """What is no folder, but perhaps a link to one."""
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.is_symlink() and os.path.isdir(entry.path):
            self._linked.append(entry.path)
        elif suffix in _UNREAD:
            self._unread.append(entry.path)
        elif suffix in SUFFIXES:
            wrong = None if _is_file(entry) else _not_a_file(entry.path)
            yield entry.path if wrong is None else Unusable(entry.path, wrong)


def _listed(folder: os.DirEntry[str] | str) -> list[os.DirEntry[str]]:
    """What is in a folder, so that all paths below it come in the order of their characters."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: entry.name + "/" * entry.is_dir(follow_symlinks=False))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # such as of links that lead to each other
        return False


def _not_a_file(path: str) -> InputError:
    """Opening a pipe would wait for somebody who writes into it."""
    if os.path.islink(path) and not os.path.exists(path):
        return InputError(f"{shown(path)}: this is a link to nothing; give the path of a photo")
    if not os.path.lexists(path):
        return InputError(f"{shown(path)}: there is no such file any more; give the path of a photo")
    return InputError(f"{shown(path)}: this is no file but a pipe or a device; give the path of a photo")


def _some(paths: list[str]) -> str:
    """The first of them by name, and how many more."""
    named = ", ".join(shown(path) for path in paths[:_NAMED])
    return named if len(paths) <= _NAMED else f"{named} and {len(paths) - _NAMED} more"
