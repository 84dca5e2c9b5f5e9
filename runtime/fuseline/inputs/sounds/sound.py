"""A sound as models hear it: one channel, 16,000 samples a second, in blocks, as often as it is wanted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fuseline.arrays import Float32
from fuseline.errors import InputError
from fuseline.warning import warn

from .recording import Recording
from .resampling import SAMPLING_RATE
from .streamed import resampled

LARGEST = 1e6  # beyond it no scale of samples lies, and squares come near the end of float32
_LOUD = 16.0  # of what is meant to lie in [-1, 1]: more is the scale of integers


class Sound:
    """float32 samples at 16,000 a second, mono, in [-1, 1] where the file keeps to it.

    Channels are averaged. At 16,000 samples a second they are the file's own, else they are resampled
    (fuseline.inputs.sounds.resampling). It may be read several times, also at the same time.
    """

    def __init__(self, recording: Recording) -> None:
        self.name = recording.name
        """for messages"""
        frames = recording.frames
        self.duration: float | None = None if frames is None else frames / recording.sampling_rate
        """seconds; None where the file does not say. What a file says may be wrong"""
        self._recording = recording
        self._warned = False

    def blocks(self, start: int = 0) -> Iterator[Float32]:
        """float32[n], n >= 1, from sample `start` on; never the whole sound at once, unless it is short.

        Raises InputError for a file that is gone, for samples that are no numbers, and for a sound without samples.
        """
        rate = self._recording.sampling_rate
        found = start > 0
        for block in self._mono(start) if rate == SAMPLING_RATE else resampled(self._mono, rate, start):
            if len(block):
                found = True
                yield block
        if not found:
            raise InputError(f"{self.name}: there is no sound in it (0 samples); give one that holds some")

    def _mono(self, start: int) -> Iterator[Float32]:
        """float32[n] from frame `start` on, at the rate of the recording."""
        for block in self._recording.blocks(start):
            with np.errstate(over="ignore", invalid="ignore"):
                mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
            self._check(mono, start)
            yield mono
            start += len(mono)

    def _check(self, samples: Float32, start: int) -> None:
        largest = np.abs(samples).max(initial=0)
        if largest <= _LOUD:
            return
        if not largest <= LARGEST:  # said this way round, NaN is refused too
            first = int(np.argmin(np.abs(samples) <= LARGEST))
            where = f"at {(start + first) / self._recording.sampling_rate:.3f} s"
            raise InputError(f"{self.name}: the sample {where} is {samples[first]}; samples are numbers from -1 to 1")
        if not self._warned:
            self._warned = True
            warn(f"{self.name}: samples reach {largest:.0f} and are meant to lie from -1 to 1; divide them first")
