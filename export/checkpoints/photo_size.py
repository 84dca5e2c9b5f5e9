"""Of which size photos reach an encoder: what the image processor makes of them, or what config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fuseline.errors import ExportError, InputError
from fuseline.inputs.images import ImageProcessor

from .generated import generated_photos

Size = tuple[int, int]  # height and width in pixels

_SHAPES = ((256, 256), (256, 192), (192, 256))  # a processor of one size makes that of photos of any shape


def arriving_size(processor: ImageProcessor, vision: Mapping[str, Any]) -> Size:
    """The size that the encoder's graph is for. vision: the encoder's section of config.json.

    The processor decides: encoders such as Swin take any size, and fine-tunes leave image_size as it was. Where photos
    of different shapes come out of it in different sizes, it is the encoder's image_size.
    Raises ExportError where neither says it, or photos of that very size would come out in another one.
    """
    found = {size for shape in _SHAPES if (size := _made_of(processor, shape)) is not None}
    if len(found) == 1:
        return found.pop()
    size = configured_size(vision)
    if _made_of(processor, size) != size:
        raise ExportError(
            f"the image processor gives photos of different sizes, none of them {_written(size)}, the image_size of "
            "the encoder; give preprocessor_config.json a size with height and width, or do_center_crop"
        )
    return size


def configured_size(vision: Mapping[str, Any]) -> Size:
    """image_size of the encoder's section of config.json. Raises ExportError for what is no size."""
    size = vision.get("image_size")
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(edge, int) and edge > 0 for edge in pair):
        raise ExportError(f"image_size {size!r} of the encoder must be a number of pixels, or a height and a width")
    return pair


def generated_pixels(processor: ImageProcessor, count: int, size: Size | None = None) -> npt.NDArray[np.float32]:
    """pixel_values float32[count, 3, height, width] of generated photos.

    size: what they must come out in, if that is fixed; where the processor keeps sizes the photos are made of this one.
    """
    photos = generated_photos(count)
    if size is not None and _made_of(processor, _SHAPES[0]) != size:
        photos = [photo.resize(size[::-1], Image.Resampling.BICUBIC) for photo in photos]
    return processor(photos)


def _made_of(processor: ImageProcessor, shape: Size) -> Size | None:
    """The size that a photo of this one comes out in; None where the processor takes none of this shape."""
    try:
        pixels = processor([generated_photos(1)[0].resize(shape[::-1])])
    except InputError:
        return None
    return pixels.shape[2], pixels.shape[3]


def _written(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
