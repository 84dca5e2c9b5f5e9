"""A page into its frame, as Donut's and Nougat's image processors fit it: fuseline.inputs.framing in a graph.

Pages are uint8[B, 3, height, width]; sizes are int64[2], height and width.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from PIL import Image

from fuseline.inputs.framing import DARK, Frame
from fuseline.inputs.resizing import GAP, MAX_RESIZED

from .nodes import Nodes, Value
from .resizing import resized_to_the_bit, with_shortest

_PAGE = Value(TensorProto.UINT8, ["B", 3, "height", "width"])
_ELONGATED = "image is too elongated for this model; cut out a part of it"


def framed(g: Nodes, page: str, frame: Frame) -> str:
    """The page in its frame. A run fails for one that is too elongated, or larger than the frame."""
    if frame.bare:
        page = _without_margin(g, page)
    if frame.turn and frame.width != frame.height:
        page = _turned(g, page, frame)
    if frame.scale:
        target = with_shortest(g, _sizes(g, page), min(frame.height, frame.width))
        page = resized_to_the_bit(g, page, _bounded(g, _sizes(g, page), target), frame.resample)
    if frame.shrink:
        page = resized_to_the_bit(g, page, _shrunk(g, _sizes(g, page), frame), Image.Resampling.BICUBIC)
    return _surrounded(g, page, frame) if frame.surround else page


def _sizes(g: Nodes, page: str) -> str:
    return g.op("Shape", page, start=2)


def _without_margin(g: Nodes, page: str) -> str:
    """The smallest part of a page that holds all its print; a page of one grey is left as it is."""
    one = g.op("Equal", g.size(page, 0), g.whole(1))
    axes = g.checked(g.ints(2, 3), one, "this model reads one image at a time")
    weights = g.constant("grey", np.array([19595, 38470, 7471], np.int32).reshape(1, 3, 1, 1))  # as Pillow has them
    colours = g.op("Mul", g.cast(page, TensorProto.INT32), weights)
    halves = g.scalar(1 << 15, np.int32)
    sums = g.op("Add", g.op("ReduceSum", colours, g.ints(0, 1), keepdims=0), halves)
    grey = g.op("Div", sums, g.scalar(1 << 16, np.int32))
    low, high = (g.op(kind, grey, keepdims=0) for kind in ("ReduceMin", "ReduceMax"))
    levels = g.op("Clip", g.constant("levels", np.arange(256, dtype=np.int32)), low, high)
    above, span = (g.cast(g.op("Sub", each, low), TensorProto.DOUBLE) for each in (levels, high))
    stretched = g.op("Mul", g.op("Div", above, span), g.scalar(255, np.float64))
    print_HW = g.cast(g.op("Gather", g.op("Less", stretched, g.scalar(DARK, np.float64)), grey), TensorProto.INT32)
    sides = [g.op("ReduceMax", print_HW, g.ints(axis), keepdims=0) for axis in (1, 0)]  # rows, columns
    first = g.joined(*(g.op("ArgMax", each) for each in sides))
    last = g.joined(*(g.op("ArgMax", each, select_last_index=1) for each in sides))
    some = g.op("Less", low, high)
    begin = g.op("Where", some, first, g.whole(0))
    end = g.op("Where", some, g.op("Add", last, g.whole(1)), _sizes(g, page))
    return g.op("Slice", page, begin, end, axes)


def _turned(g: Nodes, page: str, frame: Frame) -> str:
    """Clockwise, where it lies in an upright frame, or stands in one that lies."""
    height, width = g.size(page, 2), g.size(page, 3)
    across = g.op("Greater", width, height) if frame.width < frame.height else g.op("Less", width, height)

    def clockwise(g: Nodes) -> list[str]:
        mirrored = g.op("Transpose", page, perm=[0, 1, 3, 2])
        return [g.op("Slice", mirrored, g.ints(-1), g.ints(np.iinfo(np.int64).min), g.ints(3), g.ints(-1))]

    return g.choice(across, clockwise, lambda inner: [page], [_PAGE])[0]


def _bounded(g: Nodes, sizes: str, target: str) -> str:
    """The same target, where what a page becomes on its way to it has no more pixels than the runtime allows."""
    first = g.op("Gather", g.joined(sizes, target), g.ints(0, 2))  # the height before and after
    pixels = g.op("Mul", g.op("ReduceMax", first, keepdims=0), g.op("Gather", target, g.whole(1)))
    return g.checked(target, g.op("LessOrEqual", pixels, g.whole(MAX_RESIZED)), _ELONGATED)


def _shrunk(g: Nodes, sizes: str, frame: Frame) -> str:
    """The size of a page that is to be no larger than the frame, in its proportions, as Pillow's thumbnail has it.

    Pillow averages what is 4 times as large first, which is not done here.
    """
    bounds = g.op("Min", sizes, g.ints(frame.height, frame.width))
    longer = g.op("ReduceMax", sizes, keepdims=1)
    of_longer = g.op("Where", g.op("Equal", sizes, longer), bounds, g.whole(0))
    scaled = g.op("Div", g.op("Mul", sizes, g.op("ReduceMax", of_longer, keepdims=1)), longer)
    same = g.op("Equal", g.op("ReduceMin", sizes, keepdims=1), longer)
    target = g.op("Where", same, bounds, scaled)
    some = g.all(g.op("Less", sizes, g.op("Mul", target, g.whole(round(2 * GAP)))))
    return g.checked(target, some, _ELONGATED)


def _surrounded(g: Nodes, page: str, frame: Frame) -> str:
    """With black around it, the odd pixel right and below."""
    missing = g.op("Sub", g.ints(frame.height, frame.width), _sizes(g, page))
    fits = g.all(g.op("GreaterOrEqual", missing, g.whole(0)))
    missing = g.checked(missing, fits, f"image must be no larger than {frame.width} x {frame.height}, as it is fitted")
    before = g.op("Div", missing, g.whole(2))
    after = g.op("Sub", missing, before)
    return g.op("Pad", page, g.joined(g.ints(0, 0), before, g.ints(0, 0), after))
