"""What the header of a photo file says, and what it will cost to decode it: decided before anything is decoded.

Nothing stops a decoder of Pillow once it works, so a file that would take too much is refused by its header.
"""

from __future__ import annotations

from dataclasses import dataclass

from fuseline.errors import InputError

# The most pixels a photo may have, which is where Pillow starts to warn: half a gibibyte at 3 bytes a pixel.
MAX_PIXELS = 178_956_970

# The longest side in pixels: JPEG and GIF end at 65,535, and no camera, scanner or screen makes more than this.
MAX_SIDE = 100_000

# What decoding may take: for a small file this much memory, for a larger one more, so that every honest photo may. A
# white page of 10,000 x 10,000 pixels fits (1 bit: 0.5 GB from 12 kB; RGBA: 0.8 GB from 390 kB).
_SMALL_FILE = 200_000
_MEMORY = 640_000_000
_MEMORY_A_BYTE = 2_000


class Damaged(Exception):
    """A header that cannot be one; the message is a plain clause for the sentence that refuses the file."""


@dataclass(frozen=True)
class Header:
    """The first image of a file."""

    width: int
    height: int
    memory: float
    """bytes a pixel that decoding takes at its peak, with the step to RGB; slow decoders are put down for more"""
    data: bytes
    """the file as Pillow's reader is given it: without what does not make pixels"""
    least: int = 0
    """bytes that a file of such an image has at least; one with fewer is cut off"""
    exif: bytes | None = None
    xmp: bytes | None = None
    pages: int = 1

    def check(self, name: str, file_bytes: int) -> None:
        """Raises InputError for what is no photo, is too large, or cannot be in so few bytes."""
        check_size(self.width, self.height, name)
        if self.least > file_bytes:
            found = f"{file_bytes:,} bytes cannot hold its {self.width} x {self.height} pixels"
            raise InputError(f"{name}: the image is damaged or cut off ({found}); give a photo that is whole")
        check_memory(self.width, self.height, self.memory, name, file_bytes)


def check_size(width: int, height: int, name: str) -> None:
    """Raises InputError for an image without pixels, and for one with too many, or in too long a row of them."""
    if width * height > MAX_PIXELS and min(width, height) > 0:
        found = f"{width} x {height} pixels are more than the limit of {MAX_PIXELS:,}"
        raise InputError(f"{name}: {found}; make the photo smaller")
    if width < 1 or height < 1:
        raise InputError(f"{name}: {width} x {height} pixels are no photo; at least 1 x 1 is needed")
    if max(width, height) > MAX_SIDE:
        found = f"{width} x {height} pixels are longer than the limit of {MAX_SIDE:,}"
        raise InputError(f"{name}: {found}; cut out a part of the photo")


def check_memory(width: int, height: int, memory: float, name: str, file_bytes: int) -> None:
    """Raises InputError for an image that takes more than a file of so many bytes may. `memory`: bytes a pixel."""
    if width * height * memory > _MEMORY + _MEMORY_A_BYTE * max(0, file_bytes - _SMALL_FILE):
        found = f"{width} x {height} pixels are too many for a file of {file_bytes:,} bytes"
        raise InputError(f"{name}: {found}, which is more likely a trap than a photo; make the photo smaller")
