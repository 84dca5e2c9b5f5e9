"""Greys of more than 8 bits as RGB: what white is in them, and which bits are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fuseline.errors import InputError

# Bits in which greys are stored: those of photos and screens, of scanners and cameras, of X-rays, and of PNG and TIFF.
# Cameras and X-rays store 10 or 12 bits in files of 16, and programs store 8 there, without saying so anywhere. A real
# photo of 16 bits without any value above 4,095 has nothing in it lighter than 15 of 255, and would show nothing.
_BITS = (8, 10, 12, 16)
_MOST = 2 ** _BITS[-1] - 1


def is_deep(image: Image.Image) -> bool:
    """Whether it holds greys of 16-bit (mode I;16) or 32-bit integers (I), or floats (F)."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def as_rgb(image: Image.Image, name: str) -> Image.Image:
    """Such greys as RGB of 8 bits. Raises InputError for values that no scale here has.

    White is the highest number of so many bits as hold the largest value; floats up to 1 have their white there. Of the
    bits the highest 8 are kept: whichever way 8 bits were made longer (shifted, repeated, or multiplied and rounded),
    these are the ones they were. It is also what Pillow keeps of 16-bit colours.
    """
    grey = np.asarray(image)
    high = grey.max()
    if not (grey.min() >= 0 and high <= _MOST):  # said this way round, NaN is refused too
        raise InputError(f"{name}: its greys must lie within 0 to {_MOST}, without NaN; convert it to 8 bits first")
    in_ones = image.mode == "F" and high <= 1
    kept = np.rint(grey * 255).astype(np.uint8) if in_ones else highest_bits(grey.astype(np.uint16))
    return Image.fromarray(kept).convert("RGB")


def highest_bits(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The highest 8 of as few bits as hold the largest value."""
    high = values.max()
    bits = next(bits for bits in _BITS if high < 2**bits)
    return (values >> (bits - 8)).astype(np.uint8)
