"""How Donut's and Nougat's image processors fit a page into a frame of one size: turned, scaled and surrounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import InputError
from .placing import Placement
from .resizing import resize, resize_with_gap


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

    def fit(self, image: Image.Image) -> Image.Image:
        """The page in its frame. Raises InputError for one that is too elongated, or too large for the frame."""
        if self.bare:
            image = _without_margin(image)
        if self._turns(image.size):
            image = image.transpose(Image.Transpose.ROTATE_270)
        if self.scale:
            image = self._scaled(image)
        if self.shrink:
            image = self._shrunk(image)
        return self._surrounded(image) if self.surround else image

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

    def _scaled(self, image: Image.Image) -> Image.Image:
        return resize(image, self._scaled_size(image.size), self.resample)

    def _scaled_size(self, size: tuple[int, int]) -> tuple[int, int]:
        edge, (short, long) = min(self.height, self.width), sorted(size)
        longest = int(edge * long / short)
        return (edge, longest) if size[0] <= size[1] else (longest, edge)

    def _shrunk(self, image: Image.Image) -> Image.Image:
        size = self._shrunk_size(image.size)
        return image if size == image.size else resize_with_gap(image, size, Image.Resampling.BICUBIC)

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


_DARK = 200  # of the greys from 0 to 255 that a page is stretched to; what is darker is print


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
    dark = (levels - low) / (high - low) * 255 < _DARK  # rounds as transformers does
    return grey.point((dark * 255).tolist()).getbbox()
