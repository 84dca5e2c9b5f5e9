"""How Donut's and Nougat's image processors fit a page into a frame of one size: turned, scaled and surrounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import InputError
from .photos.scaled import ScaledPhoto, Size
from .placing import Placement
from .resizing import SMOOTH, resize, resize_with_gap


@dataclass(frozen=True)
class Frame:
    """The steps of Donut's and Nougat's processors in transformers 4 that change a page's size; each may be off."""

    height: int
    width: int
    resample: Image.Resampling
    bare: bool
    """what surrounds the print is cut off (Nougat)"""
    turn: bool
    """a page lying in an upright frame, or standing in one that lies, is turned clockwise"""
    scale: bool
    """the page's shorter edge becomes the frame's shorter one"""
    shrink: bool
    """a page that is larger than the frame then is made smaller, its proportions kept"""
    surround: bool
    """black around it makes it as large as the frame, the odd pixel right and below"""

    def fit(self, page: ScaledPhoto, fast: bool = False) -> Image.Image:
        """The page in its frame. Raises InputError for one that is too elongated, or too large for the frame.

        fast: whether it is made smaller by a whole factor first, where one fits.
        """
        if self.bare:
            page = ScaledPhoto.of(_without_margin(page.image))
        if self._turns(page.size):
            page = page.turned(Image.Transpose.ROTATE_270)
        if self.scale:
            page = ScaledPhoto.of(self._scaled(page, fast))
        image = self._shrunk(page) if self.shrink else page.image
        return self._surrounded(image) if self.surround else image

    def target(self, size: Size) -> Size | None:
        """What `fit` resizes a page of this size to first, which lies as the page does; None where that is not known
        by its size, or nothing is resized. Raises InputError as `fit` does."""
        turns = self._turns(size)
        lying = size[::-1] if turns else size
        if self.bare or not (self.scale or self.shrink) or (self.scale and self.resample not in SMOOTH):
            return None
        found = self._scaled_size(lying) if self.scale else self._shrunk_size(lying)
        if found == lying:
            return None
        return found[::-1] if turns else found

    def placement(self, image: Image.Image) -> Placement:
        """Where the page that `fit` takes lies in the frame that it gives. Raises InputError as `fit` does."""
        place = Placement.of(image.size)
        if self.bare and (box := _print_box(image)) is not None:
            place = place.cut(box[0], box[1], (box[2] - box[0], box[3] - box[1]))
        if self._turns(place.frame):
            place = place.turned_clockwise()
        if self.scale:
            place = place.resized(self._scaled_size(place.frame))
        if self.shrink:
            place = place.resized(self._shrunk_size(place.frame))
        if not self.surround:
            return place
        width, height = place.frame
        return place.cut(-((self.width - width) // 2), -((self.height - height) // 2), (self.width, self.height))

    def _turns(self, size: tuple[int, int]) -> bool:
        return self.turn and (self.width - self.height) * (size[0] - size[1]) < 0

    def _scaled(self, page: ScaledPhoto, fast: bool) -> Image.Image:
        fast = fast and self.resample in SMOOTH
        return (resize_with_gap if fast else resize)(page, self._scaled_size(page.size), self.resample)

    def _scaled_size(self, size: tuple[int, int]) -> tuple[int, int]:
        edge, (short, long) = min(self.height, self.width), sorted(size)
        longest = int(edge * long / short)
        return (edge, longest) if size[0] <= size[1] else (longest, edge)

    def _shrunk(self, page: ScaledPhoto) -> Image.Image:
        size = self._shrunk_size(page.size)
        return page.image if size == page.size else resize_with_gap(page, size, Image.Resampling.BICUBIC)

    def _shrunk_size(self, size: tuple[int, int]) -> tuple[int, int]:
        width, height = min(size[0], self.width), min(size[1], self.height)
        if (width, height) == size:
            return size
        if size[1] > size[0]:
            width = int(size[0] * height / size[1])
        elif size[0] > size[1]:
            height = int(size[1] * width / size[0])
        if not (width and height):
            raise InputError(f"a photo of {size[0]} x {size[1]} pixels is too elongated; cut out a part of it")
        return width, height

    def _surrounded(self, image: Image.Image) -> Image.Image:
        if image.width > self.width or image.height > self.height:
            found = f"a photo of {image.width} x {image.height} pixels"
            raise InputError(f"{found} is larger than this model's {self.width} x {self.height}; make it smaller")
        framed = Image.new("RGB", (self.width, self.height))
        framed.paste(image, ((self.width - image.width) // 2, (self.height - image.height) // 2))
        return framed


DARK = 200  # of the greys from 0 to 255 that a page is stretched to; what is darker is print


def _without_margin(page: Image.Image) -> Image.Image:
    """The smallest part of a page that holds all its print; a page of one grey is left as it is."""
    box = _print_box(page)
    return page if box is None else page.crop(box)


def _print_box(page: Image.Image) -> tuple[int, int, int, int] | None:
    """Left, upper, right and lower edge of that part; None for a page of one grey."""
    grey = page.convert("L")
    pixels = np.asarray(grey)
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        return None
    levels = np.arange(256).clip(low, high)
    dark = (levels - low) / (high - low) * 255 < DARK  # rounds as transformers does
    return grey.point((dark * 255).tolist()).getbbox()
