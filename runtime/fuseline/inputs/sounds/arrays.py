"""Samples that are in memory already, as arrays of every common type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.arrays import Float32
from fuseline.errors import InputError, written

from .recording import BLOCK, MAX_CHANNELS, check_format

# What integers are divided by, after their middle is taken away.
_SCALES: dict[str, tuple[int, int]] = {"u1": (128, 128), "i1": (0, 2**7), "i2": (0, 2**15), "i4": (0, 2**31)}


class Samples:
    """An array. See fuseline.inputs.sounds.recording."""

    def __init__(self, array: npt.NDArray[Any], sampling_rate: int, name: str = "the array") -> None:
        """array: [N], [N, channels] or [channels, N]: the longer of two axes is time, the first where both are alike.

        Of uint8, int8, int16, int32 (scaled to [-1, 1)) or floats (as they are). Raises InputError for others, for what
        is empty, and for rates that cannot be.
        """
        if array.ndim not in (1, 2) or 0 in array.shape:
            what = "there is no sound in it" if 0 in array.shape else f"its shape is {list(array.shape)}"
            raise InputError(f"{name}: {what}; give samples as [N] or [N, channels], not empty")
        if not (array.dtype.kind == "f" or array.dtype.str[1:] in _SCALES):
            right = "give float from -1 to 1, or int16, int32, int8 or uint8"
            raise InputError(f"{name}: its samples are {array.dtype}; {right}")
        frames = array[:, None] if array.ndim == 1 else array.T if array.shape[0] < array.shape[1] else array
        if frames.shape[1] > MAX_CHANNELS:
            right = f"[N, channels] with at most {MAX_CHANNELS} channels"
            raise InputError(f"{name}: an array of shape {list(array.shape)} is no sound; give {right}")
        check_format(name, sampling_rate, frames.shape[1])
        self.name, self.sampling_rate = name, sampling_rate
        self.frames: int | None = len(frames)
        self._frames = frames

    def blocks(self, start: int) -> Iterator[Float32]:
        """float32[n, channels] from frame `start` on."""
        for first in range(start, len(self._frames), BLOCK):
            yield _as_floats(self._frames[first : first + BLOCK])


def check_rate(sampling_rate: object, name: str) -> int:
    """A rate that a caller has given. Raises InputError for what is no whole number."""
    if isinstance(sampling_rate, (float, np.floating)) and float(sampling_rate).is_integer():
        return int(sampling_rate)
    if isinstance(sampling_rate, bool) or not isinstance(sampling_rate, (int, np.integer)):
        right = "a whole number of samples a second"
        raise InputError(f"{name}: sampling_rate must be {right}, not {written(sampling_rate)}")
    return int(sampling_rate)


def _as_floats(frames: npt.NDArray[Any]) -> Float32:
    if frames.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is said by who reads it
            return frames.astype(np.float32, copy=False)
    middle, largest = _SCALES[frames.dtype.str[1:]]
    return (frames.astype(np.float32) - np.float32(middle)) / np.float32(largest)
