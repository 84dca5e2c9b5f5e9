"""Colours of 16 bits: Pillow keeps the high byte of each. Where that says next to nothing, the low one is read too."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from .greys import highest_bits

Tiles: TypeAlias = list[tuple[Any, ...]]

_COLOURS = 3  # bands, before alpha
_DARK = 16  # high bytes below this are of colours of 12 bits at most, whose white is not that of 16 bits
_NATIVE = "L" if sys.byteorder == "little" else "B"


def low_byte(image: Image.Image) -> Tiles | None:
    """How to read the low byte of each colour, in Pillow's words; None for an image that has none.

    image: opened, and not loaded yet. Pillow names how pixels are packed: RGB;16B is three of 16 bits, big-endian, of
    which it keeps the first byte, and of RGB;16L it keeps the second.
    """
    tiles = []
    for tile in getattr(image, "tile", []):
        arguments = _swapped(tile[3])
        if arguments is None:
            return None
        # Named in newer versions of Pillow, plain in older ones.
        tiles.append(tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments))
    return tiles or None


def is_dark(image: Image.Image) -> bool:
    """Whether no high byte of a colour is as large as those of more than 12 bits are."""
    return all(band.getextrema()[1] < _DARK for band in image.split()[:_COLOURS])  # type: ignore[operator]


def combined(high: Image.Image, low: Image.Image) -> Image.Image:
    """RGB of the highest 8 bits, by the rule of greys; alpha is dropped."""
    first, second = (np.asarray(image)[:, :, :_COLOURS] for image in (high, low))
    return Image.fromarray(highest_bits(first.astype(np.uint16) << 8 | second))


def _swapped(arguments: Any) -> Any:
    """The arguments of a decoder with the other byte in the name of the pixels, which is the first of them."""
    name = arguments if isinstance(arguments, str) else arguments[0] if isinstance(arguments, tuple) else None
    packing, mark, order = str(name).partition(";16")
    if not mark or packing not in ("RGB", "RGBA", "RGBX") or order not in ("L", "B", "N"):
        return None
    order = _NATIVE if order == "N" else order
    swapped = f"{packing};16{'L' if order == 'B' else 'B'}"
    return swapped if isinstance(arguments, str) else (swapped, *arguments[1:])
