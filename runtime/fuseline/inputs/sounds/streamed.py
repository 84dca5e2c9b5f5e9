"""Sound of another rate that comes piece by piece, into 16,000 samples a second as resampling.py has it."""

from __future__ import annotations

import numpy as np

from fuseline.arrays import Float32

from .resampling import SAMPLING_RATE, _frames, _groups


class Streamed:
    """One stream. Joined, what comes out is what `resampled` makes of all that was fed, some milliseconds late."""

    def __init__(self, rate: int) -> None:
        """rate: samples a second."""
        self._rate, self._groups = rate, _groups(rate)
        self._waiting = np.zeros(self._groups.before, np.float32)
        self._fed = self._given = 0

    def feed(self, samples: Float32) -> Float32:
        """float32[n] at the stream's rate -> float32[m] at 16,000 samples a second: what is new."""
        self._fed += len(samples)
        return self._next(np.concatenate([self._waiting, samples]))

    def finish(self) -> Float32:
        """The rest, float32[m]: the stream is silent from here on."""
        left = -(-self._fed * SAMPLING_RATE // self._rate) - self._given
        if left <= 0:
            return np.zeros(0, np.float32)
        whole = -(-left // self._groups.outputs)
        missing = (whole - 1) * self._groups.step + self._groups.width - len(self._waiting)
        return self._next(np.concatenate([self._waiting, np.zeros(missing, np.float32)]))[:left]

    def _next(self, samples: Float32) -> Float32:
        groups = self._groups
        whole = max(0, (len(samples) - groups.width) // groups.step + 1)
        self._waiting = samples[whole * groups.step :]
        if not whole:
            return np.zeros(0, np.float32)
        self._given += whole * groups.outputs
        return groups(_frames(samples, groups.width, groups.step, whole))
