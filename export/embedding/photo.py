"""A photo's pixels into `pixel_values`, as the model's image processor makes them, to 1 of 255.

Resize in 8 bits does what Pillow does, along the rows first, but for the last bit of some pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto
from PIL import Image

from fuseline.errors import ExportError
from fuseline.inputs.images import ImageProcessor

from ..graphs.graph import Attribute
from .nodes import Nodes

# How Resize says what Pillow does; its bicubic filter has a of -0.5.
_SMOOTH = {"antialias": 1, "exclude_outside": 1}
_FILTERS: Mapping[Image.Resampling, Mapping[str, Attribute]] = {
    Image.Resampling.BICUBIC: {"mode": "cubic", "cubic_coeff_a": -0.5, **_SMOOTH},
    Image.Resampling.BILINEAR: {"mode": "linear", **_SMOOTH},
    # Pillow takes the pixel in which the middle of the new one lies.
    Image.Resampling.NEAREST: {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
}
_SHIFT = 1 << 20  # makes numbers positive before they are divided, since Div rounds to 0


def check_processor(processor: ImageProcessor) -> None:
    """Raises ExportError for one that has no graph."""
    if processor.frame is not None:
        raise ExportError(
            "this model's image processor fits pages into a frame (Donut, Nougat), which cannot be embedded yet"
        )
    if processor.size is not None and processor.resample not in _FILTERS:
        known = ", ".join(each.name for each in _FILTERS)
        raise ExportError(f"resample {processor.resample.name} cannot be embedded; these can: {known}")


def pixel_values(g: Nodes, image: str, processor: ImageProcessor) -> str:
    """uint8[height, width, 3], or photos of one size uint8[B, height, width, 3] -> float32[B, 3, height, width]."""
    with g.scope("photo"):
        shape, sizes = g.op("Shape", image), g.op("Shape", image, start=-3, end=-1)
        dimensions = g.op("Size", shape)
        colours = g.op("Gather", g.joined(g.ints(0), shape), g.whole(-1))  # none where there are no dimensions
        some = g.op("Greater", g.op("Size", image), g.whole(0))
        right = g.op("And", g.within(dimensions, dimensions, (3, 4)), g.op("Equal", colours, g.whole(3)))
        count = g.checked(g.whole(-1), g.op("And", right, some), "image must be uint8[height, width, 3], and not empty")
        photos = g.op("Reshape", image, g.joined(g.one(count), sizes, g.ints(3)))
        pixels = g.op("Transpose", photos, perm=[0, 3, 1, 2])
        if processor.size is not None:
            target = _target(g, sizes, processor.size)
            full = g.joined(g.op("Shape", pixels, end=2), target)
            pixels = g.op("Resize", pixels, "", "", full, **_FILTERS[processor.resample])
        if processor.crop is not None:
            pixels = _cropped(g, pixels, processor.crop)
        fixed = processor.crop or processor.size
        if isinstance(fixed, tuple):  # said again, since onnxruntime lays convolutions out by sizes that it knows
            pixels = g.op("Reshape", pixels, g.ints(-1, 3, *fixed))
        return _normalized(g, pixels, processor)


def _target(g: Nodes, sizes_2: str, size: tuple[int, int] | int) -> str:
    """int64[2]: what a photo is resized to, given its height and width; size: the same, or the shortest edge."""
    if isinstance(size, tuple):
        return g.ints(*size)
    shortest = g.op("ReduceMin", sizes_2, keepdims=1)
    return g.op("Div", g.op("Mul", sizes_2, g.ints(size)), shortest)


def _cropped(g: Nodes, pixels: str, crop: tuple[int, int]) -> str:
    """The middle, black around it where that is larger, the odd pixel left and above."""
    wanted, have = g.ints(*crop), g.op("Shape", pixels, start=2)
    missing = g.op("Sub", wanted, have)
    before = g.op("Sub", g.op("Div", g.op("Add", missing, g.ints(1 + _SHIFT)), g.ints(2)), g.ints(_SHIFT // 2))
    after = g.op("Sub", missing, before)
    return g.op("Pad", pixels, g.joined(g.ints(0, 0), before, g.ints(0, 0), after))


def _normalized(g: Nodes, pixels: str, processor: ImageProcessor) -> str:
    """uint8 -> float32, rescaled and normalised."""
    if processor.rescale_factor is None:
        values = g.cast(pixels, TensorProto.FLOAT)
    else:  # the product is rounded once, as the processor does it: 8-bit layers tell a last bit
        factor = g.scalar(processor.rescale_factor, np.float64)
        values = g.cast(g.op("Mul", g.cast(pixels, TensorProto.DOUBLE), factor), TensorProto.FLOAT)
    if processor.mean_std is None:
        return values
    mean, std = (np.array(each, np.float32).reshape(3, 1, 1) for each in processor.mean_std)
    return g.op("Div", g.op("Sub", values, g.weight("image_mean", mean)), g.weight("image_std", std))
