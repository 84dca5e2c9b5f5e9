"""The header of a JPEG 2000 file. Its decoder is slow, and small blocks of wavelets or many layers make it slower."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .header import Damaged, Header

_SIZE, _DEFAULTS, _OF_COMPONENT, _TILE_PART, _DATA, _END = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9

_START = b"\xff\x4f\xff\x51"

# Decoding takes 20 bytes a pixel, and the time that others take for 28.
_MEMORY = 28

_MAX_TILES = 10_000
_MAX_PACKETS = 500_000  # each is asked for, if only to find it empty
_SMALL_FILE_PIXELS = 2**20  # with fewer, blocks may have any size
_LEAST_BLOCK = 256  # pixels; encoders make them of 4,096 or 1,024


class _Grid(NamedTuple):
    """Where image and tiles lie."""

    x1: int
    y1: int
    x0: int
    y0: int
    tile_width: int
    tile_height: int
    tile_x: int
    tile_y: int
    components: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0


def read(data: bytes) -> Header:
    """Raises Damaged."""
    start = 0 if data.startswith(_START) else _codestream(data)
    if not data.startswith(_START, start) or len(data) < start + 46:
        raise Damaged("it is cut off")
    grid = _Grid._make(struct.unpack_from(">IIIIIIIIH", data, start + 8))
    if not 1 <= grid.components <= 4 or grid.width < 1 or grid.height < 1:
        raise Damaged(f"{grid.width} x {grid.height} pixels of {grid.components} components are no photo")
    if not (grid.tile_width and grid.tile_height) or grid.tile_x > grid.x0 or grid.tile_y > grid.y0:
        raise Damaged("its tiles have no size")
    tiles = -(-(grid.x1 - grid.tile_x) // grid.tile_width) * -(-(grid.y1 - grid.tile_y) // grid.tile_height)
    if tiles > _MAX_TILES:
        raise Damaged(f"it has {tiles:,} tiles")
    for style in _styles(data, start):
        _check_style(style, grid, tiles)
    return Header(grid.width, grid.height, _MEMORY, data)


def _codestream(data: bytes) -> int:
    """Where the codestream begins: in the first box of its name, since other boxes may hold what looks like one."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= len(data):  # a longer number follows
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        if kind == b"jp2c":
            return at + head
        if length < head:
            break
        at += length
    return len(data)


def _styles(data: bytes, start: int) -> Iterator[bytes]:
    """What is said of coding: layers (2 bytes), resolutions, width and height of a block, precincts; whole or a tile.

    A component's own says nothing of layers: they stand there as 0.
    """
    at, part_end = start + 2, 0
    while at + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        body = data[at + 4 : at + 2 + length]
        if marker == _DEFAULTS and len(body) >= 10:
            precincts = body[10:] if body[0] & 1 else b""
            yield body[2:4] + body[5:8] + precincts
        elif marker == _OF_COMPONENT and len(body) >= 7:
            precincts = body[7:] if body[1] & 1 else b""
            yield b"\0\0" + body[2:5] + precincts
        elif marker == _TILE_PART and len(body) >= 8:
            (length_of_part,) = struct.unpack_from(">I", body, 2)
            part_end = at + length_of_part if length_of_part else len(data)
        elif marker == _END or not 0xFF4F <= marker <= 0xFF93:
            return
        if marker == _DATA:
            if part_end <= at:
                return
            at = part_end
        else:
            at += 2 + max(length, 2)


def _check_style(style: bytes, grid: _Grid, tiles: int) -> None:
    layers, resolutions, across, down = struct.unpack_from(">HBBB", style)
    pixels = grid.width * grid.height
    sides = [1 << (across & 15) + 2, 1 << (down & 15) + 2]
    least_precinct = 2**30
    for size in style[5:]:
        least_precinct = min(least_precinct, (1 << (size & 15)) * (1 << (size >> 4)))
        sides = [min(sides[0], 1 << (size & 15)), min(sides[1], 1 << (size >> 4))]
    if sides[0] * sides[1] < _LEAST_BLOCK and pixels > _SMALL_FILE_PIXELS:
        raise Damaged(f"its blocks of {sides[0]} x {sides[1]} are too small for {grid.width} x {grid.height} pixels")
    packets = grid.components * max(layers, 1) * ((resolutions + 1) * tiles + 2 * pixels // least_precinct)
    if packets > _MAX_PACKETS:
        raise Damaged(f"it has up to {packets:,} packets, more than any photo")
