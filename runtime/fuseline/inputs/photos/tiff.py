"""The first image of a TIFF file: its directory checked, and rewritten with only the entries that make pixels.

A directory may be a chain of thousands, its entries may name gigabytes or stand there twice, and Pillow and libtiff
read all of it, each in its own way by version. So they are given the file with one short directory at its end.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from .header import MAX_PIXELS, Damaged, Header
from .orientation import ORIENTATION

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _SAMPLES = 256, 257, 258, 259, 262, 273, 277
_ROWS_A_STRIP, _STRIP_BYTES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 278, 279, 284, 322, 323, 324, 325
_SUBFILE, _SUB_DIRECTORIES, _EXTRA, _FORMAT, _XMP, _DNG = 254, 330, 338, 339, 700, 50706
_MAKE_PIXELS = {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _STRIPS, _SAMPLES, _ROWS_A_STRIP} | {
    *(_STRIP_BYTES, _PLANAR, 292, 293, 317, 320, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, 332, _EXTRA, _FORMAT),
    *(347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
}
_ONE_NUMBER = {_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, 266, _SAMPLES, _ROWS_A_STRIP, _PLANAR, 292, 293, 317} | {
    *(_TILE_WIDTH, _TILE_HEIGHT, 512, 513, 514, 515, 531),
}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED = {1: "B", 3: "H", 4: "I", 16: "Q"}

_PREVIEW, _MASK = 1, 4  # of the tag NewSubfileType
_MAX_PAGES = 10_000  # counting ends there
_MAX_ENTRIES = 1_000
_MAX_TILE = 2**26  # bytes of a tile beyond those of the image, which is padded to whole ones

# Bytes that come out of one, at most, for each compression whose limit is known: none, LZW, JPEG, deflate, PackBits.
_RATIO = {1: 1, 5: 4096, 7: 4096, 8: 1032, 32946: 1032, 32773: 64}


@dataclass(frozen=True)
class _Layout:
    order: str  # of bytes, as in `struct`
    big: bool  # BigTIFF: 8 bytes where others have 4

    @property
    def word(self) -> str:
        return "Q" if self.big else "I"

    @property
    def word_bytes(self) -> int:
        return 8 if self.big else 4

    @property
    def entry_bytes(self) -> int:
        return 20 if self.big else 12


@dataclass(frozen=True)
class _Entry:
    tag: int
    kind: int
    count: int
    raw: bytes  # the entry itself
    values: bytes


def read(data: bytes) -> Header:
    """Raises Damaged."""
    layout = _Layout("<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+"))
    try:
        (first,) = struct.unpack_from(layout.order + layout.word, data, 8 if layout.big else 4)
        entries, following = _directory(data, layout, first)
        numbers = {tag: _numbers(entry, layout) for tag, entry in entries.items() if tag != _XMP}
        header = _header(data, layout, entries, numbers)
        pages = 1 + _more_pages(data, layout, following, first)
    except struct.error as error:
        raise Damaged("its directory is cut off") from error
    one = {tag: values[0] for tag, values in numbers.items() if values}
    exif = None
    if ORIENTATION in one:
        exif = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIH", ORIENTATION, 3, 1, one[ORIENTATION] & 0xFFFF) + b"\0\0"
    xmp = entries[_XMP].values if _XMP in entries else None
    return Header(header.width, header.height, header.memory, header.data, header.least, exif, xmp, pages)


def _directory(data: bytes, layout: _Layout, at: int) -> tuple[dict[int, _Entry], int]:
    """The entries of one directory that lie within the file, the first of each tag, and where the next directory is."""
    count_format = layout.order + ("Q" if layout.big else "H")
    (count,) = struct.unpack_from(count_format, data, at)
    if count > _MAX_ENTRIES:
        raise Damaged(f"its directory has {count:,} entries")
    at += struct.calcsize(count_format)
    entries: dict[int, _Entry] = {}
    for _ in range(count):
        tag, kind, number = struct.unpack_from(layout.order + "HH" + layout.word, data, at)
        value_at, size = at + layout.entry_bytes - layout.word_bytes, number * _TYPE_BYTES.get(kind, 0)
        if size > layout.word_bytes:
            (value_at,) = struct.unpack_from(layout.order + layout.word, data, value_at)
        if 0 < size <= len(data) - value_at and tag not in entries:
            raw, values = data[at : at + layout.entry_bytes], data[value_at : value_at + size]
            entries[tag] = _Entry(tag, kind, number, raw, values)
        elif tag in _MAKE_PIXELS and tag not in entries:
            raise Damaged(f"its tag {tag} lies beyond the end of the file")
        at += layout.entry_bytes
    following = data[at : at + layout.word_bytes].ljust(layout.word_bytes, b"\0")
    return entries, struct.unpack(layout.order + layout.word, following)[0]


def _numbers(entry: _Entry, layout: _Layout) -> tuple[int, ...]:
    """The values of an entry of whole numbers; of another none."""
    letter = _UNSIGNED.get(entry.kind)
    return struct.unpack(f"{layout.order}{entry.count}{letter}", entry.values) if letter else ()


def _header(
    data: bytes, layout: _Layout, entries: Mapping[int, _Entry], numbers: Mapping[int, tuple[int, ...]]
) -> Header:
    if _DNG in entries:
        raise Damaged("it is a camera's RAW file; give the JPEG beside it")
    if numbers.get(_SUBFILE, (0,))[0] & _PREVIEW and _SUB_DIRECTORIES in entries:
        raise Damaged("its first image is only a preview, as in a camera's RAW file; give the photo itself")
    for tag in _ONE_NUMBER & set(entries):
        if len(numbers[tag]) != 1:
            raise Damaged(f"its tag {tag} must be one whole number")
    for tag in {_WIDTH, _HEIGHT} - set(entries):
        raise Damaged(f"its tag {tag} is missing")
    width, height = numbers[_WIDTH][0], numbers[_HEIGHT][0]
    samples = numbers.get(_SAMPLES, (1,))[0]
    bits = sum(numbers.get(_BITS, (1,))) if len(numbers.get(_BITS, (1,))) > 1 else numbers.get(_BITS, (1,))[0] * samples
    if not 1 <= samples <= 6 or not 1 <= bits <= 8 * 64 or len(numbers.get(_BITS, (1,))) > 16:
        raise Damaged(f"{samples} samples of a pixel, of {bits} bits together, are no photo")
    raw = (width * bits + 7) // 8 * height
    if width * height <= MAX_PIXELS:  # else it is refused for that
        _check_pieces(entries, numbers, width, height, bits)
    ratio = _RATIO.get(numbers.get(_COMPRESSION, (1,))[0])
    deep = samples == 1 and bits > 8
    memory = (24 if bits > 16 else 16) if deep else (5 if samples == 1 else 8) + bits / 8
    return Header(width, height, memory, _rewritten(data, layout, entries), raw // ratio if ratio else 0)


def _check_pieces(
    entries: Mapping[int, _Entry], numbers: Mapping[int, tuple[int, ...]], width: int, height: int, bits: int
) -> None:
    """The strips or tiles: no more than the image needs, and none much larger than the image."""
    tiled = _TILES in entries
    if tiled:
        wide, high = (numbers.get(tag, (0,))[0] for tag in (_TILE_WIDTH, _TILE_HEIGHT))
        if not (wide and high):
            raise Damaged("its tiles have no size")
        if wide * high * bits // 8 > width * height * bits // 8 + _MAX_TILE:
            raise Damaged(f"its tiles of {wide} x {high} pixels are larger than the image")
    else:
        wide, high = max(width, 1), min(numbers.get(_ROWS_A_STRIP, (height,))[0] or height, height) or 1
    planes = numbers.get(_SAMPLES, (1,))[0] if numbers.get(_PLANAR, (1,))[0] == 2 else 1
    needed = -(-width // wide) * -(-height // high) * planes
    offsets = len(numbers.get(_TILES if tiled else _STRIPS, ()))
    if offsets < needed or offsets > 2 * needed + 8:
        raise Damaged(f"it has {offsets:,} {'tiles' if tiled else 'strips'}, not {needed:,}")


def _rewritten(data: bytes, layout: _Layout, entries: Mapping[int, _Entry]) -> bytes:
    """The file with a directory of what makes pixels at its end, and no other. Values stay where they are."""
    kept = [entry.raw for tag, entry in sorted(entries.items()) if tag in _MAKE_PIXELS]
    end = len(data) + len(data) % 2
    count = struct.pack(layout.order + ("Q" if layout.big else "H"), len(kept))
    last = struct.pack(layout.order + layout.word, 0)
    start = data[: 8 if layout.big else 4] + struct.pack(layout.order + layout.word, end)
    return b"".join([start, data[len(start) :], b"\0" * (len(data) % 2), count, *kept, last])


def _more_pages(data: bytes, layout: _Layout, at: int, first: int) -> int:
    """How many images follow that are neither a smaller one nor a mask of another; damage ends the count."""
    seen, pages = {0, first}, 0
    while at not in seen and len(seen) < _MAX_PAGES:
        seen.add(at)
        try:
            entries, following = _directory(data, layout, at)
        except (Damaged, struct.error):
            break
        kind = _numbers(entries[_SUBFILE], layout) if _SUBFILE in entries else ()
        pages += not (kind and kind[0] & (_PREVIEW | _MASK)) and _WIDTH in entries
        at = following
    return pages
