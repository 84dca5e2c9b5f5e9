"""4-bit codes and scales of a linear layer: the scales by a search, the rounding so that errors cancel (GPTQ).

Dimensions: `I` inputs, `O` outputs, `G` inputs that share a scale (I is a multiple of G).
A weight is (code - 8) * scale, code in 0..15. A scale may be negative: then the largest weight of its group gets code
0 and all 16 codes are used, which takes 12% off the rounding error of scales that are max / 7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LOWEST, HIGHEST = -8, 7
# Narrower than the largest weight asks for, and a little wider. 6% less error than the largest weight alone.
_FACTORS = np.linspace(0.6, 1.1, 11)
_TOGETHER = 128  # inputs whose rounding errors are passed on at once


def search_scales(weight_IO: Array, group: int) -> npt.NDArray[np.float32]:
    """float32[I / G, O] that float16 holds exactly: of the candidates those with the least squared rounding error."""
    inputs, outputs = weight_IO.shape
    groups = weight_IO.reshape(inputs // group, group, outputs).astype(np.float32)
    largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=1)[:, None], axis=1)
    largest = np.where(largest == 0, 1, largest)  # a group of zeros: any scale is right
    best, least = np.ones_like(largest), np.full_like(largest, np.inf)
    for factor in _FACTORS:
        for end in (LOWEST, HIGHEST):
            scale = _as_float16(largest / end * factor)
            error = ((_codes(groups, scale) * scale - groups) ** 2).sum(axis=1, keepdims=True)
            better = error < least
            best, least = np.where(better, scale, best), np.where(better, error, least)
    return best[:, 0].astype(np.float32)


def nearest(weight_IO: Array, scales: Array, group: int) -> npt.NDArray[np.uint8]:
    """uint8[I, O] codes in 0..15, each weight by itself."""
    return (_codes(weight_IO, np.repeat(scales, group, axis=0)) - LOWEST).astype(np.uint8)


def gptq(weight_IO: Array, scales: Array, group: int, moments_II: Array) -> npt.NDArray[np.uint8]:
    """uint8[I, O] codes in 0..15, rounded so that the layer's output changes little on inputs like those seen.

    Input by input, what rounding one changes is made up for by those that are still to come. moments: float[I, I], the
    mean of x x' over the inputs seen. Source: Frantar et al., "GPTQ", arXiv:2210.17323, with scales that are given.
    """
    upper = _inverse_factor(moments_II.astype(np.float64))
    left, spread = weight_IO.astype(np.float64), np.repeat(scales, group, axis=0).astype(np.float64)
    codes = np.empty(weight_IO.shape, np.uint8)
    for first in range(0, len(left), _TOGETHER):  # what a block changes behind it is one product, as in the paper
        block = slice(first, min(first + _TOGETHER, len(left)))
        errors = np.empty_like(left[block])
        for index in range(block.start, block.stop):
            found = _codes(left[index], spread[index])
            codes[index] = found - LOWEST
            error = (left[index] - found * spread[index]) / upper[index, index]
            left[index + 1 : block.stop] -= np.outer(upper[index, index + 1 : block.stop], error)
            errors[index - first] = error
        left[block.stop :] -= upper[block, block.stop :].T @ errors
    return codes


def _inverse_factor(moments_II: Array) -> Array:
    """The upper triangle U with U' U = inverse of the moments, damped by 1% so that it exists."""
    damping = 0.01 * (np.diagonal(moments_II).mean() or 1.0)
    inverse = np.linalg.inv(moments_II + np.eye(len(moments_II)) * damping)
    result: Array = np.linalg.cholesky(inverse).T
    return result


def _codes(weights: Array, scales: Array) -> Array:
    result: Array = np.clip(np.rint(weights / scales), LOWEST, HIGHEST)
    return result


def _as_float16(scale: Array) -> Array:
    """As float16 holds it, and never 0, which nothing could be divided by."""
    tiny = np.finfo(np.float16).smallest_subnormal
    half = scale.astype(np.float16)
    return np.where(half == 0, np.copysign(tiny, scale), half).astype(np.float32)
