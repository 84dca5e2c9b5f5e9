"""Which way up a photo is, out of its EXIF or XMP data, which may be damaged: then it is upright."""

from __future__ import annotations

import re
import struct

from PIL import Image

# What to do with the pixels for each value of the EXIF tag Orientation (EXIF 2.32, section 4.6.4 A); 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

SIDEWAYS = (5, 6, 7, 8)  # of them those after which width and height have changed places

ORIENTATION = 0x0112
_IN_XMP = re.compile(rb'tiff:Orientation(="|>)([0-9])')
_SHORT, _LONG = 3, 4


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """The value of the tag, 1 if there is none. XMP counts where the EXIF data have no such tag, as in Pillow.

    Pillow's own reader of EXIF data is not asked: it reads every tag, warns of damaged ones, and differs by version.
    """
    found = _in_exif(exif) if exif else None
    if found is None and xmp:
        match = _IN_XMP.search(xmp)
        found = int(match[2]) if match else None
    return 1 if found is None else found


def _in_exif(exif: bytes) -> int | None:
    """`exif` is a TIFF header with a directory, after "Exif\\0\\0" or not."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, first)
        for at in range(first + 2, first + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", exif, at)
            if tag == ORIENTATION and count == 1 and kind in (_SHORT, _LONG):
                value: int = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), exif, at + 8)[0]
                return value
    except struct.error:
        pass
    return None
