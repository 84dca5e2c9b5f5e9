"""The headers of GIF, BMP, PPM, WebP and AVIF files."""

from __future__ import annotations

import re
import struct

from .header import Damaged, Header

_BMP_RUNS = {1, 2}  # compressions whose decoder is written in Python: some 0.1 microseconds a pixel
_BMP_RUNS_MEMORY = 64  # bytes a pixel, which stand for its time


def gif(data: bytes) -> Header:
    """Raises Damaged."""
    if len(data) < 13:
        raise Damaged("it is cut off")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while at < len(data) and data[at] == 0x21:  # extensions before the first image
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    if at + 10 <= len(data) and data[at] == 0x2C:  # the image, which may reach beyond the canvas: Pillow widens it
        left, top, wide, high = struct.unpack_from("<HHHH", data, at + 1)
        width, height = max(width, left + wide), max(height, top + high)
    return Header(width, height, 6, data)


def bmp(data: bytes) -> Header:
    """Raises Damaged."""
    if len(data) < 26:
        raise Damaged("it is cut off")
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    elif len(data) < 34:
        raise Damaged("it is cut off")
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        height = abs(height)  # below zero where the first row is the upper one
    if bits not in (1, 2, 4, 8, 16, 24, 32):
        raise Damaged(f"a pixel of it has {bits} bits")
    runs = compression in _BMP_RUNS
    least = 0 if runs else max(0, width) * bits // 8 * height
    memory = _BMP_RUNS_MEMORY if runs else 5 if bits <= 8 else 8
    return Header(width, height, memory, data, least)


_TOKEN = re.compile(rb"(?:[ \t\n\x0b\x0c\r]|#[^\r\n]*[\r\n])*([^ \t\n\x0b\x0c\r#]{1,10})")


def ppm(data: bytes) -> Header:
    """Raises Damaged."""
    kind = data[1:2]
    at, sizes = 2, []
    for _ in range(2):
        match = _TOKEN.match(data, at)
        if match is None or not match[1].isdigit():
            raise Damaged("its size is no number")
        sizes.append(int(match[1]))
        at = match.end()
    width, height = sizes
    samples = 3 if kind in b"36" else 1
    if kind == b"4":
        least = (width + 7) // 8 * height
    elif kind == b"f":
        least = width * height * 4
    else:
        least = width * height * samples  # a byte of a sample, or one digit
    memory = 4 if kind == b"6" else 12 if kind == b"3" else 24 if kind in b"25f" else 5
    return Header(width, height, memory, data, least)


def webp(data: bytes) -> Header:
    """Raises Damaged."""
    kind, at = data[12:16], 20
    if len(data) < 30 and not (kind == b"VP8L" and len(data) >= 25):
        raise Damaged("it is cut off")
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
    elif kind == b"VP8L":
        packed = int.from_bytes(data[at + 1 : at + 5], "little")
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, at + 6))
    else:
        raise Damaged("it does not begin with its size")
    return Header(width, height, 20, data)


# An item of EXIF data. The orientation of an AVIF image stands elsewhere; Pillow would read all of EXIF, and warn.
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03].{3}(?:.{2}|.{4}).{2})Exif", re.DOTALL)
_AVIF_HEAD = 2**20


def avif(data: bytes) -> Header:
    """Raises Damaged. The size is that of the largest item, of which a grid is made or which is the photo."""
    head = data[:_AVIF_HEAD]
    sizes = [struct.unpack_from(">II", head, match.end() + 4) for match in re.finditer(b"ispe", head[:-12])]
    if not sizes:
        raise Damaged("its size is not said")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Header(width, height, 16, _EXIF_ITEM.sub(rb"\1skip", head) + data[_AVIF_HEAD:])
