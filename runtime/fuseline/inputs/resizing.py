"""Resizing as Pillow up to 12 does it, whatever version is installed: along the rows first, then along the columns.

From Pillow 13 on the order hangs on the sizes, and with it the last bit of a pixel. Two calls leave it no choice. Where
there is the kernel library it does the same to the bit, in a quarter of the time.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from fuseline.kernels import resized

from ..errors import InputError
from .photos.scaled import Box, ScaledPhoto, Size

# What a model may ask for: the filters that every version of Pillow has.
FILTERS = [Image.Resampling(number) for number in range(6)]

# Those of them to which it does not matter much whether the pixels of a large photo were averaged by twos before. The
# other two take whole pixels or none.
SMOOTH = (Image.Resampling.BILINEAR, Image.Resampling.HAMMING, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)

# The most pixels that a resized photo may have, or what lies between the two passes: 268 MB. A frame of 2,560 x 1,920,
# the largest of published models, takes pages up to 26,000 pixels high.
MAX_RESIZED = 2**26


# Photos of more pixels go to Pillow: the library reads a copy, of three bytes a pixel.
MOST_COPIED = 2**22

# How much larger than its target a photo stays where it is made smaller in a cheap way first. From 2 on, Pillow's
# documentation says of `reducing_gap`, the result is hard to tell from that of the filter alone.
GAP = 2.0


def resize(photo: ScaledPhoto, size: Size, resample: Image.Resampling) -> Image.Image:
    """`image.resize(size, resample)` of a photo. Raises InputError for one that is too elongated."""
    if resample == Image.Resampling.NEAREST:
        check_resized(photo.image, *size)
        return photo.image.resize(size, resample, photo.box)
    return _passes(photo.image, size, resample, photo.box)


def resize_with_gap(photo: ScaledPhoto, size: Size, resample: Image.Resampling) -> Image.Image:
    """`image.resize(size, resample, reducing_gap=2.0)`: smaller by a whole factor first, where one fits."""
    left, upper, right, lower = photo.box
    across, down = (int(have / want / GAP) or 1 for have, want in zip((right - left, lower - upper), size, strict=True))
    if resample == Image.Resampling.NEAREST or (across, down) == (1, 1):
        return resize(photo, size, resample)
    box = (left / across, upper / down, right / across, lower / down)
    return _passes(photo.image.reduce((across, down)), size, resample, box)


def _passes(image: Image.Image, size: Size, resample: Image.Resampling, box: Box) -> Image.Image:
    """`box` is the part that is taken."""
    left, upper, right, lower = box
    check_resized(image, size[0], max(size[1], image.height))
    quick = image.mode == "RGB" and image.width * image.height <= MOST_COPIED
    if quick and resample in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        made = resized(np.asarray(image), size, box, cubic=resample == Image.Resampling.BICUBIC)
        if made is not None:
            return Image.fromarray(made)
    rows = image.resize((size[0], image.height), resample, (left, 0, right, image.height))
    return rows.resize(size, resample, (0, upper, size[0], lower))


def check_resized(image: Image.Image, width: int, height: int) -> None:
    """Raises InputError if `width` x `height` pixels are too many for what `image` becomes on its way."""
    if width * height > MAX_RESIZED:
        found = f"a photo of {image.width} x {image.height} pixels is too elongated for this model"
        raise InputError(f"{found}, which would make {width} x {height} pixels of it; cut out a part of it")
