"""The header of a PNG file, and the file with only the chunks that make pixels."""

from __future__ import annotations

import re
import struct
import zlib

from .header import Damaged, Header

_MAKE_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, for each colour type
_MEMORY = {0: 5, 2: 4, 3: 5, 4: 8, 6: 8}
_DEEP_GREY = 16

_DEFLATE = 1032  # no more bytes than this come out of one of deflate

# Text that may hold EXIF or XMP data is unpacked up to this many bytes; longer, it is left out.
_MAX_TEXT = 2**20


def read(data: bytes) -> Header:
    """Raises Damaged."""
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise Damaged("it does not begin with its size")
    width, height, bits, colours, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if colours not in _SAMPLES or bits not in (1, 2, 4, 8, 16):
        raise Damaged("it has colours of an unknown kind")
    kept, exif, xmp = _chunks(data)
    row = (width * bits * _SAMPLES[colours] + 7) // 8
    least = 0 if interlaced else (row + 1) * height // _DEFLATE
    memory = _DEEP_GREY if bits == 16 and colours == 0 else _MEMORY[colours]
    return Header(width, height, memory, kept, least, exif, xmp)


def _chunks(data: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """The file with only what makes pixels, and its EXIF and XMP data."""
    kept = [data[:8]]
    exif = xmp = None
    at = 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        end = at + 12 + length
        if not kind.isalpha() or end > len(data):
            kept.append(data[at:])
            break
        body = data[at + 8 : end - 4] if kind in (b"eXIf", b"zTXt", b"tEXt", b"iTXt") else b""
        if kind == b"eXIf" and exif is None:
            exif = body
        elif body.startswith(b"Raw profile type exif\0") and exif is None:
            exif = _raw_profile(body, kind)
        elif body.startswith(b"XML:com.adobe.xmp\0") and xmp is None:
            xmp = _international_text(body)
        if kind in _MAKE_PIXELS and not (kind == b"IHDR" and at > 8):
            kept.append(data[at:end])
        if kind == b"IEND":
            break
        at = end
    return b"".join(kept), exif, xmp


def _raw_profile(body: bytes, kind: bytes) -> bytes | None:
    """EXIF data as ImageMagick writes them: in hexadecimal digits, after three lines."""
    text = body.partition(b"\0")[2]
    plain = _inflated(text[1:]) if kind == b"zTXt" else text
    digits = b"".join(plain.split(b"\n")[3:])
    return bytes.fromhex(digits.decode()) if re.fullmatch(rb"([0-9a-fA-F]{2})*", digits) else None


def _international_text(body: bytes) -> bytes | None:
    """keyword, 0, compressed or not, method, language, 0, translated keyword, 0, text."""
    rest = body.partition(b"\0")[2]
    parts = rest[2:].split(b"\0", 2)
    if len(parts) < 3:
        return None
    return _inflated(parts[2]) if rest[0] else parts[2]


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _MAX_TEXT)
    except zlib.error:
        return b""
