"""Resizing as Pillow up to 12 does it, whatever version is installed: along the rows first, then along the columns.

From Pillow 13 on the order hangs on the sizes, and with it the last bit of a pixel. Two calls leave it no choice.
"""

from __future__ import annotations

from PIL import Image

from ..errors import InputError

# What a model may ask for: the filters that every version of Pillow has.
FILTERS = [Image.Resampling(number) for number in range(6)]

# The most pixels that a resized photo may have, or what lies between the two passes: 268 MB. A frame of 2,560 x 1,920,
# the largest of published models, takes pages up to 26,000 pixels high.
MAX_RESIZED = 2**26


def resize(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    """`image.resize(size, resample)`. Raises InputError for an image that is too elongated."""
    if resample == Image.Resampling.NEAREST:
        check_resized(image, *size)
        return image.resize(size, resample)
    return _passes(image, size, resample, (image.width, image.height))


def resize_with_gap(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    """`image.resize(size, resample, reducing_gap=2.0)`: smaller by a whole factor first, where one fits."""
    across, down = (int(have / want / 2.0) or 1 for have, want in zip(image.size, size, strict=True))
    if resample == Image.Resampling.NEAREST or (across, down) == (1, 1):
        return resize(image, size, resample)
    box = (image.width / across, image.height / down)
    return _passes(image.reduce((across, down)), size, resample, box)


def _passes(
    image: Image.Image, size: tuple[int, int], resample: Image.Resampling, used: tuple[float, float]
) -> Image.Image:
    """`used` is how much of width and height is taken, from the left and from above."""
    check_resized(image, size[0], max(size[1], image.height))
    rows = image.resize((size[0], image.height), resample, (0, 0, used[0], image.height))
    return rows.resize(size, resample, (0, 0, size[0], used[1]))


def check_resized(image: Image.Image, width: int, height: int) -> None:
    """Raises InputError if `width` x `height` pixels are too many for what `image` becomes on its way."""
    if width * height > MAX_RESIZED:
        found = f"a photo of {image.width} x {image.height} pixels is too elongated for this model"
        raise InputError(f"{found}, which would make {width} x {height} pixels of it; cut out a part of it")
