"""A photo's pixels into `pixel_values`, as the model's image processor makes them, to 1 of 255."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from fuseline.inputs.images import ImageProcessor

from .nodes import Nodes
from .page import framed
from .resizing import resized, with_shortest

_SHIFT = 1 << 20  # makes numbers positive before they are divided, since Div rounds to 0


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
        if processor.frame is not None:
            pixels = framed(g, pixels, processor.frame)
        if processor.size is not None:
            size = processor.size
            target = g.ints(*size) if isinstance(size, tuple) else with_shortest(g, sizes, size)
            pixels = resized(g, pixels, target, processor.resample)
        if processor.crop is not None:
            pixels = _cropped(g, pixels, processor.crop)
        fixed = processor.crop or processor.size
        if processor.frame is not None and processor.frame.surround:
            fixed = processor.frame.height, processor.frame.width
        if isinstance(fixed, tuple):  # said again, since onnxruntime lays convolutions out by sizes that it knows
            pixels = g.op("Reshape", pixels, g.ints(-1, 3, *fixed))
        return _normalized(g, pixels, processor)


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
