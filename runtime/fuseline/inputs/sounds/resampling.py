"""Other rates into 16,000 samples a second: a windowed sinc, one phase of it for every place between two samples.

The filter is flat below 0.92 of the lower of both Nyquist frequencies and lets nothing through above it: 80 dB down, so
that nothing folds back. Its window is Kaiser's ("Nonrecursive digital filter design using the I0-sinh window function",
1974), its length by the formula there. Outputs lie where torchaudio and scipy have them: the first on the first sample,
ceil(samples x 16,000 / rate) in all.

Ordinary rates share a small number of phases. All outputs of one group, after which the phases begin again, are one
product of a matrix with the samples they come from, for many groups at once.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from fuseline.arrays import Float32

Float64 = npt.NDArray[np.float64]

SAMPLING_RATE = 16_000

_STOP_DB = 80.0
_FLAT = 0.92  # of the lower Nyquist frequency
_MIDDLE = (_FLAT + 1) / 2
_BETA = 0.1102 * (_STOP_DB - 8.7)
_LARGEST_MATRIX = 2**22  # numbers in the matrix of a group; rates with more phases are computed as they come
_GRID = 1024  # places between two samples at which the filter is known, where it is not computed for each phase
_AT_ONCE = 2**19  # coefficients that are computed at a time
_MOST_KEPT = 2**23  # coefficients that are kept for the groups to come


def frames_of(samples: Float32, width: int, step: int, count: int) -> Float32:
    """float32[count, width], each `step` samples after the one before."""
    return sliding_window_view(samples, width)[: (count - 1) * step + 1 : step]


class Groups(Protocol):
    """Groups of outputs: each comes from `width` samples, of which `before` lie before the group's first output."""

    outputs: int
    step: int
    """samples between two groups"""
    width: int
    before: int

    def __call__(self, frames: Float32) -> Float32:
        """float32[J x outputs] of float32[J, width]."""
        ...


@lru_cache(maxsize=4)
def groups_of(rate: int) -> Groups:
    """For a rate in samples a second."""
    common = math.gcd(rate, SAMPLING_RATE)
    up, down = SAMPLING_RATE // common, rate // common
    sinc = _Sinc(rate)
    return _Matrix(sinc, up, down) if up * (down + 2 * sinc.reach) <= _LARGEST_MATRIX else _Rows(sinc, up, down)


class _Sinc:
    """The filter for a rate, over the distance between an output and a sample, in samples."""

    def __init__(self, rate: int) -> None:
        lower = min(rate, SAMPLING_RATE)
        transition = (1 - _FLAT) * lower / 2 / rate  # in cycles a sample
        length = (_STOP_DB - 7.95) / (2.285 * 2 * math.pi * transition)
        self._bandwidth = _MIDDLE * lower / rate
        self.reach = math.ceil(length / 2)
        """samples on each side that an output comes from"""

    def __call__(self, distance: Float64) -> Float64:
        inside = np.sqrt(np.maximum(0.0, 1 - (distance / self.reach) ** 2))
        window = np.where(np.abs(distance) < self.reach, np.i0(_BETA * inside) / np.i0(_BETA), 0.0)
        return self._bandwidth * np.sinc(self._bandwidth * distance) * window


class _Matrix:
    """Groups of an ordinary rate: one matrix, float32[width, outputs], several turns of the phases in it."""

    def __init__(self, sinc: _Sinc, up: int, down: int) -> None:
        turns = max(1, 2 * sinc.reach // down)  # as much new in each frame as it shares with the next
        while turns > 1 and (turns * down + 2 * sinc.reach) * turns * up > _LARGEST_MATRIX:
            turns //= 2
        self.outputs, self.step, self.before = turns * up, turns * down, sinc.reach - 1
        columns = np.arange(self.outputs)
        whole, rest = np.divmod(columns * down, up)  # the sample before each output, and how far behind it that lies
        near = np.arange(2 * sinc.reach)[:, None]
        weights = sinc(near - self.before - rest / up)
        self.width = int(whole[-1]) + 2 * sinc.reach
        self._weights = np.zeros((self.width, self.outputs), np.float32)
        self._weights[near + whole, columns] = weights / weights.sum(axis=0)

    def __call__(self, frames: Float32) -> Float32:
        product: Float32 = np.ascontiguousarray(frames) @ self._weights
        return product.ravel()


class _Rows:
    """Groups of a rate that shares next to nothing with 16,000: every output has coefficients of its own."""

    def __init__(self, sinc: _Sinc, up: int, down: int) -> None:
        self.outputs, self.step, self.before = up, down, sinc.reach - 1
        self.width = (up - 1) * down // up + 2 * sinc.reach
        self._up, self._down, self._reach = up, down, sinc.reach
        self._filter = sinc(np.arange(sinc.reach * _GRID + 2) / _GRID)
        self._keeps = up * 2 * sinc.reach <= _MOST_KEPT
        self._kept: dict[int, Float32] = {}

    def __call__(self, frames: Float32) -> Float32:
        pieces = []
        rows = max(1, _AT_ONCE // (2 * self._reach))
        for frame in frames:
            parts = sliding_window_view(frame, 2 * self._reach)
            for first in range(0, self.outputs, rows):
                before, between = np.divmod(np.arange(first, min(first + rows, self.outputs)) * self._down, self._up)
                weights = self._kept.get(first)
                if weights is None:
                    weights = self._weights(between / self._up)
                    if self._keeps:
                        self._kept[first] = weights
                pieces.append(np.einsum("rk,rk->r", parts[before], weights))
        return np.concatenate(pieces)

    def _weights(self, between: Float64) -> Float32:
        """float32[R, 2 x reach] of R places between two samples, on a line between those where the filter is known."""
        distances = np.abs(np.arange(1 - self._reach, self._reach + 1) - between[:, None]) * _GRID
        places = distances.astype(np.int64)
        known = self._filter[places]
        weights = known + (distances - places) * (self._filter[places + 1] - known)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
