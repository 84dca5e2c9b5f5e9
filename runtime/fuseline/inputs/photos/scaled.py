"""A photo that was made smaller while it was read: its pixels, and how large it is itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image

Size: TypeAlias = tuple[int, int]  # (width, height)
Box: TypeAlias = tuple[float, float, float, float]  # left, upper, right, lower, in pixels

# How small a photo of a size may be when it arrives; None: it must be whole. Both upright.
Least: TypeAlias = Callable[[Size], Size | None]

_Turn = Image.Transpose
# What a turn does with the axes: whether they change places, and whether each is mirrored then.
_AXES = {
    _Turn.FLIP_LEFT_RIGHT: (False, True, False),
    _Turn.FLIP_TOP_BOTTOM: (False, False, True),
    _Turn.ROTATE_180: (False, True, True),
    _Turn.TRANSPOSE: (True, False, False),
    _Turn.ROTATE_90: (True, False, True),
    _Turn.ROTATE_270: (True, True, False),
    _Turn.TRANSVERSE: (True, True, True),
}


@dataclass(frozen=True)
class ScaledPhoto:
    """A photo of `size` pixels is the part `box` of an image. A decoder makes each pixel of as many, by twos say, so of
    an odd size the last one lies only partly on the photo."""

    image: Image.Image
    size: Size
    box: Box

    @classmethod
    def of(cls, image: Image.Image) -> ScaledPhoto:
        """An image as it is."""
        return cls(image, image.size, (0, 0, *image.size))

    @property
    def is_whole(self) -> bool:
        """Whether all its pixels are there."""
        return self.size == self.image.size

    def turned(self, turn: Image.Transpose) -> ScaledPhoto:
        """The same after a quarter, a half or a reflection."""
        swapped, across, down = _AXES[turn]
        (left, upper, right, lower), image = self.box, self.image.transpose(turn)
        if swapped:
            left, upper, right, lower = upper, left, lower, right
        if across:
            left, right = image.width - right, image.width - left
        if down:
            upper, lower = image.height - lower, image.height - upper
        return ScaledPhoto(image, self.size[::-1] if swapped else self.size, (left, upper, right, lower))
