"""The header of a JPEG file, and the file without what does not make pixels (EXIF, profiles, previews, comments)."""

from __future__ import annotations

import re
import struct

from .header import Damaged, Header

_SOI, _EOI, _SOS, _COM, _APP0, _APP1, _APP14, _APP15 = 0xD8, 0xD9, 0xDA, 0xFE, 0xE0, 0xE1, 0xEE, 0xEF
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame; the others are tables
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length

# In entropy-coded data 0xFF is followed by 0 or is a restart marker; anything else is the next marker.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

# Encoders write some ten scans, and up to three dozen when they try hard. Every scan goes over all pixels again.
_MAX_SCANS = 100
_MAX_SCANNED, _SCANNED_A_BYTE = 800_000_000, 2_000  # pixels times scans, some nanosecond each

# A block of 8 x 8 has one bit at least, and four times as many pixels where colours are sampled by twos.
_PIXELS_A_BYTE = 2048


def read(data: bytes) -> Header:
    """Raises Damaged."""
    kept = [b"\xff\xd8"]
    frame = exif = xmp = None
    progressive = False
    at = 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            raise Damaged("it ends before the pixels begin")
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or marker in _ALONE or marker == _SOI:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _EOI:
            raise Damaged("it has no pixels")
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2:
            raise Damaged("a part of it has no length")
        body = data[at + 4 : at + 2 + length]
        if marker in _FRAMES:
            if frame is not None:
                raise Damaged("it holds two frames")
            frame, progressive = _frame(body), marker in _PROGRESSIVE
        if marker == _SOS:
            break
        if marker == _APP1 and body.startswith(b"Exif\0") and exif is None:
            exif = body[6:]
        elif marker == _APP1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0") and xmp is None:
            xmp = body
        makes_pixels = marker == _APP14 or (marker == _APP0 and body.startswith(b"JFIF"))
        if makes_pixels or not (_APP0 <= marker <= _APP15 or marker == _COM):
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    if frame is None:
        raise Damaged("its pixels begin before their size is said")
    width, height, components, coefficients = frame
    memory: float = {1: 5, 3: 4}.get(components, 8)
    if progressive or (body and body[0] < components):  # libjpeg keeps all coefficients, and goes over every scan
        memory += coefficients
        scans = _scans(data, at + 2 + length)
        if scans > _MAX_SCANS or scans * width * height > _MAX_SCANNED + _SCANNED_A_BYTE * len(data):
            raise Damaged(f"{scans} scans of {width} x {height} pixels are more than any photo has")
    kept.append(data[at:])
    return Header(width, height, memory, b"".join(kept), width * height // _PIXELS_A_BYTE, exif, xmp)


def _frame(body: bytes) -> tuple[int, int, int, float]:
    """(width, height, components, bytes a pixel of the coefficients of all components)."""
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise Damaged("its frame is cut off")
    height, width, components = struct.unpack_from(">HHB", body, 1)
    samplings = [(byte >> 4, byte & 15) for byte in body[7 : 7 + 3 * components : 3]]
    if not samplings or not all(1 <= x <= 4 and 1 <= y <= 4 for x, y in samplings):
        raise Damaged("its components cannot be sampled so")
    whole = max(x for x, _ in samplings) * max(y for _, y in samplings)
    return width, height, components, 2 * sum(x * y for x, y in samplings) / whole


def _scans(data: bytes, at: int) -> int:
    """How many scans there are, the first of which has its data at `at`; counting ends beyond the most allowed."""
    scans = 1
    while scans <= _MAX_SCANS:
        match = _NEXT_MARKER.search(data, at)
        if match is None or match[0][1] == _EOI or match.end() + 2 > len(data):
            break
        scans += match[0][1] == _SOS
        at = match.end() + struct.unpack_from(">H", data, match.end())[0]
    return scans
