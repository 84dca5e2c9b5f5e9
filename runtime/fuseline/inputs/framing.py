"""How Donut's and Nougat's image processors fit a page into a frame of one size: turned, scaled and surrounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import InputError
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
        if self.turn and (self.width - self.height) * (image.width - image.height) < 0:
            image = image.transpose(Image.Transpose.ROTATE_270)
        if self.scale:
            image = self._scaled(image)
        if self.shrink:
            image = self._shrunk(image)
        return self._surrounded(image) if self.surround else image

    def _scaled(self, image: Image.Image) -> Image.Image:
        edge, (short, long) = min(self.height, self.width), sorted(image.size)
        longest = int(edge * long / short)
        return resize(image, (edge, longest) if image.width <= image.height else (longest, edge), self.resample)

    def _shrunk(self, image: Image.Image) -> Image.Image:
        width, height = min(image.width, self.width), min(image.height, self.height)
        if (width, height) == image.size:
            return image
        if image.height > image.width:
            width = int(image.width * height / image.height)
        elif image.width > image.height:
            height = int(image.height * width / image.width)
        if not (width and height):
            raise InputError(f"a photo of {image.width} x {image.height} pixels is too elongated; cut out a part of it")
        return resize_with_gap(image, (width, height), Image.Resampling.BICUBIC)

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
    grey = page.convert("L")
    pixels = np.asarray(grey)
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        return page
    levels = np.arange(256).clip(low, high)
    dark = (levels - low) / (high - low) * 255 < _DARK  # rounds as transformers does
    return page.crop(grey.point((dark * 255).tolist()).getbbox())
