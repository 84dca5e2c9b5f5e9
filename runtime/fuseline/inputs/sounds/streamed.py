"""Sound of another rate that comes piece by piece, into 16,000 samples a second: resampling.py over a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fuseline.arrays import Float32

from .resampling import SAMPLING_RATE, frames_of, groups_of


class Streamed:
    """One stream. However it is cut into pieces, joined the outputs are the same but for the rounding of sums."""

    def __init__(self, rate: int, start: int = 0) -> None:
        """rate: samples a second; start: the output that comes first, for a sound that is not read from its beginning.
        Then what is fed begins at sample `first`."""
        self.rate, self._groups = rate, groups_of(rate)
        group = start // self._groups.outputs
        self._start, self._next = start, group * self._groups.outputs  # the output that was wanted, that comes next
        origin = group * self._groups.step - self._groups.before
        self.first = max(0, origin)
        """the sample that is to be fed first"""
        self._fed = self.first
        self._waiting = np.zeros(self.first - origin, np.float32)

    def feed(self, samples: Float32) -> Float32:
        """float32[n] at the stream's rate -> float32[m] at 16,000 samples a second: what is new, some ms late."""
        self._fed += len(samples)
        return self._outputs(np.concatenate([self._waiting, samples]))

    def finish(self) -> Float32:
        """The rest, float32[m]: the stream is silent from here on. ceil(samples x 16,000 / rate) have come in all."""
        left = -(-self._fed * SAMPLING_RATE // self.rate) - max(self._start, self._next)
        if left <= 0:
            return np.zeros(0, np.float32)
        groups = self._groups
        whole = -(-(left + max(0, self._start - self._next)) // groups.outputs)
        missing = (whole - 1) * groups.step + groups.width - len(self._waiting)
        return self._outputs(np.concatenate([self._waiting, np.zeros(missing, np.float32)]))[:left]

    def _outputs(self, samples: Float32) -> Float32:
        groups = self._groups
        whole = max(0, (len(samples) - groups.width) // groups.step + 1)
        self._waiting = samples[whole * groups.step :]
        if not whole:
            return np.zeros(0, np.float32)
        before = max(0, self._start - self._next)
        self._next += whole * groups.outputs
        return groups(frames_of(samples, groups.width, groups.step, whole))[before:]


def resampled(blocks: Callable[[int], Iterator[Float32]], rate: int, start: int) -> Iterator[Float32]:
    """float32[n] at 16,000 samples a second, from output `start` on. blocks(k): those at `rate` from sample k on."""
    stream = Streamed(rate, start)
    for block in blocks(stream.first):
        yield stream.feed(block)
    yield stream.finish()
