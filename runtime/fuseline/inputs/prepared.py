"""A photo in whatever form it comes, read and prepared in one go: what a model reads of it, and itself to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .contract import Inputs
from .images import ImageSource, open_photo, read_photo
from .photos.scaled import ScaledPhoto

if TYPE_CHECKING:
    from PIL import Image


class Prepared(NamedTuple):
    """A photo as the model reads it, {"pixel_values": float32[1, 3, height, width]}, of an ensemble that of each model;
    and itself, upright RGB, where it is to be shown."""

    pixels: Mapping[Any, Any]
    image: Image.Image | None


def prepared(
    source: ImageSource, inputs: Inputs, *, fast: bool | None = None, shown: bool = False, **downloads: Any
) -> Prepared:
    """What `inputs` make of a photo. shown: whether it is wanted itself too, whole.

    fast: whether a large photo may be made smaller while it is read; None for what the model does by itself.
    downloads: see load_image. Raises InputError.
    """
    opened = open_photo(source, **downloads)
    photo = read_photo(opened, lambda size: inputs.least(size, fast))
    pixels = inputs([photo], fast=fast)
    if not shown:
        return Prepared(pixels, None)
    image = read_photo(opened) if isinstance(photo, ScaledPhoto) else photo
    assert not isinstance(image, ScaledPhoto)
    return Prepared(pixels, image)
