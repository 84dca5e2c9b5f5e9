"""Photos of 8 bits, resized as Pillow does it, along the rows first.

By Resize, which is quick and differs in the last bit of some pixels, or in the very passes of Pillow, to the bit:
weights of 22 bits, of which `K` taps make a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto
from PIL import Image

from ..graphs.graph import Attribute
from .nodes import Nodes, Value

# How Resize says what Pillow does; its bicubic filter has a of -0.5.
_SMOOTH = {"antialias": 1, "exclude_outside": 1}
_RESIZE: Mapping[Image.Resampling, Mapping[str, Attribute]] = {
    Image.Resampling.BICUBIC: {"mode": "cubic", "cubic_coeff_a": -0.5, **_SMOOTH},
    Image.Resampling.BILINEAR: {"mode": "linear", **_SMOOTH},
    # Pillow takes the pixel in which the middle of the new one lies.
    Image.Resampling.NEAREST: {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
}
_BITS = 22  # of a weight
_SUMS = Value(TensorProto.INT32, ["B", 3, "height", "width"])


def resized(g: Nodes, pixels: str, target_2: str, resample: Image.Resampling) -> str:
    """uint8[B, 3, height, width] -> those of the height and width int64[2], to 1 of 255."""
    if resample not in _RESIZE:
        return resized_to_the_bit(g, pixels, target_2, resample)
    full = g.joined(g.op("Shape", pixels, end=2), target_2)
    return g.op("Resize", pixels, "", "", full, **_RESIZE[resample])


def resized_to_the_bit(g: Nodes, pixels: str, target_2: str, resample: Image.Resampling) -> str:
    """The same without any difference."""
    if resample == Image.Resampling.NEAREST:
        return resized(g, pixels, target_2, resample)
    for axis in (3, 2):
        pixels = _pass(g, pixels, g.op("Gather", target_2, g.whole(axis - 2)), axis, resample)
    return pixels


def with_shortest(g: Nodes, sizes_2: str, edge: int) -> str:
    """int64[2]: height and width of which the shorter is the edge, in the proportions of these."""
    return g.op("Div", g.op("Mul", sizes_2, g.ints(edge)), g.op("ReduceMin", sizes_2, keepdims=1))


def _pass(g: Nodes, pixels: str, target: str, axis: int, resample: Image.Resampling) -> str:
    """Along one axis, to so many pixels."""
    places_NK, weights_NK = _taps(g, g.size(pixels, axis), target, resample)
    shape = g.ints(-1, *[1] * (3 - axis))

    def add(g: Nodes, number: str, state: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        places, weights = (g.op("Gather", each, number, axis=1) for each in (places_NK, weights_NK))
        taken = g.cast(g.op("Gather", pixels, places, axis=axis), TensorProto.INT32)
        sums = g.op("Add", state["sums"], g.op("Mul", taken, g.op("Reshape", weights, shape)))
        return g.cast(g.whole(1), TensorProto.BOOL), {"sums": sums}

    sizes = [g.one(target) if place == axis else g.sizes(pixels, place) for place in range(4)]
    half = g.filled(g.joined(*sizes), np.array(1 << (_BITS - 1), np.int32))
    sums = g.repeated(g.size(places_NK, 1), {"sums": (half, _SUMS)}, add)["sums"]
    whole = g.op("Div", sums, g.scalar(1 << _BITS, np.int32))  # what is below 0 becomes 0 whichever way it is rounded
    return g.cast(g.op("Clip", whole, g.scalar(0, np.int32), g.scalar(255, np.int32)), TensorProto.UINT8)


def _taps(g: Nodes, size: str, target: str, resample: Image.Resampling) -> tuple[str, str]:
    """Which pixels make each new one, int64[N, K], and how much of each, int32[N, K], as Pillow's precompute_coeffs."""
    support, weigh = _WEIGHTS[resample]
    number, one, half = (g.scalar(value, np.float64) for value in (support, 1.0, 0.5))
    scale = g.op("Div", g.cast(size, TensorProto.DOUBLE), g.cast(target, TensorProto.DOUBLE))
    wide = g.op("Max", scale, one)
    reach = g.op("Mul", number, wide)
    centre = g.op("Mul", g.op("Add", g.cast(g.counted(target), TensorProto.DOUBLE), half), scale)
    begin = g.cast(g.op("Add", g.op("Sub", centre, reach), half), TensorProto.INT64)
    begin = g.op("Unsqueeze", g.op("Max", begin, g.whole(0)), g.ints(1))
    end = g.cast(g.op("Add", g.op("Add", centre, reach), half), TensorProto.INT64)
    end = g.op("Unsqueeze", g.op("Min", end, size), g.ints(1))
    count = g.op("Add", g.op("Mul", g.cast(g.op("Ceil", reach), TensorProto.INT64), g.whole(2)), g.whole(1))
    places = g.op("Add", begin, g.counted(count))
    apart = g.op("Sub", g.cast(places, TensorProto.DOUBLE), g.op("Unsqueeze", centre, g.ints(1)))
    weights = weigh(g, g.op("Mul", g.op("Add", apart, half), g.op("Div", one, wide)))
    weights = g.op("Where", g.op("Less", places, end), weights, g.scalar(0.0, np.float64))
    weights = g.op("Div", weights, g.op("ReduceSum", weights, g.ints(1)))
    bits = g.op("Mul", weights, g.scalar(float(1 << _BITS), np.float64))
    away_from_0 = g.op("Where", g.op("Less", bits, g.scalar(0.0, np.float64)), g.scalar(-0.5, np.float64), half)
    last = g.op("Sub", size, g.whole(1))
    return g.op("Min", places, last), g.cast(g.op("Add", bits, away_from_0), TensorProto.INT32)


def _where(g: Nodes, *choices: tuple[str, str]) -> str:
    """The value of the first condition that is true, else 0."""
    found = g.scalar(0.0, np.float64)
    for condition, value in reversed(choices):
        found = g.op("Where", condition, value, found)
    return found


def _polynomial(g: Nodes, x: str, *factors: float) -> str:
    """Of the highest power first."""
    found = g.scalar(factors[0], np.float64)
    for factor in factors[1:]:
        found = g.op("Add", g.op("Mul", found, x), g.scalar(factor, np.float64))
    return found


def _below(g: Nodes, x: str, bound: float) -> str:
    return g.op("Less", x, g.scalar(bound, np.float64))


def _sinc(g: Nodes, x: str) -> str:
    angle = g.op("Mul", x, g.scalar(math.pi, np.float64))
    none = g.op("Equal", x, g.scalar(0.0, np.float64))
    one = g.scalar(1.0, np.float64)
    return g.op("Where", none, one, g.op("Div", g.op("Sin", angle), g.op("Where", none, one, angle)))


def _box(g: Nodes, x: str) -> str:
    inside = g.op(
        "And",
        g.op("Greater", x, g.scalar(-0.5, np.float64)),
        g.op("Not", g.op("Greater", x, g.scalar(0.5, np.float64))),
    )
    return g.cast(inside, TensorProto.DOUBLE)


def _bilinear(g: Nodes, x: str) -> str:
    x = g.op("Abs", x)
    return _where(g, (_below(g, x, 1.0), _polynomial(g, x, -1.0, 1.0)))


def _hamming(g: Nodes, x: str) -> str:
    x = g.op("Abs", x)
    cosine = g.op("Sin", g.op("Mul", g.op("Add", x, g.scalar(0.5, np.float64)), g.scalar(math.pi, np.float64)))
    return _where(g, (_below(g, x, 1.0), g.op("Mul", _sinc(g, x), _polynomial(g, cosine, 0.46, 0.54))))


def _bicubic(g: Nodes, x: str) -> str:
    x = g.op("Abs", x)
    near, far = _polynomial(g, x, 1.5, -2.5, 0.0, 1.0), _polynomial(g, x, -0.5, 2.5, -4.0, 2.0)
    return _where(g, (_below(g, x, 1.0), near), (_below(g, x, 2.0), far))


def _lanczos(g: Nodes, x: str) -> str:
    x = g.op("Abs", x)  # at 3 it is 0 on either side
    third = g.op("Div", x, g.scalar(3.0, np.float64))
    return _where(g, (_below(g, x, 3.0), g.op("Mul", _sinc(g, x), _sinc(g, third))))


# Pillow's filters: how far each reaches, and the weights float64[...] of what is so far away.
_WEIGHTS: Mapping[Image.Resampling, tuple[float, Callable[[Nodes, str], str]]] = {
    Image.Resampling.BOX: (0.5, _box),
    Image.Resampling.BILINEAR: (1.0, _bilinear),
    Image.Resampling.HAMMING: (1.0, _hamming),
    Image.Resampling.BICUBIC: (2.0, _bicubic),
    Image.Resampling.LANCZOS: (3.0, _lanczos),
}
