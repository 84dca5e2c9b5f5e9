"""Log-mel spectra in numpy, as Whisper reads them; transformers' WhisperFeatureExtractor is the reference.

Dimensions: `N` samples, `F` frames, `M` mel bands. Frame f is centred on sample f x hop; the sound is mirrored at both
ends. A sound has N // hop frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ..arrays import Float32

Float64 = npt.NDArray[np.float64]

SILENCE = np.float32(-10)  # the logarithm of what stands for every smaller power
FLOOR = np.float32(1e-10)
RANGE = np.float32(8)  # decades below the loudest value, below which nothing is kept

_AT_ONCE = 256  # frames that are transformed at a time, so that they stay in the processor's cache

# Slaney's mel scale: a straight line up to 1,000 Hz, which are 15 mel, and 27 mel for each factor of 6.4 above.
_BEND_HZ, _BEND_MEL = 1_000.0, 15.0
_MEL_A_LOG = 27 / np.log(6.4)


class Spectra:
    """Frames of sounds as base-10 logarithms of the power in mel bands, before they are scaled."""

    def __init__(self, bands: int, length: int, hop: int, sampling_rate: int) -> None:
        """length: samples of a frame, even, at least twice `hop`; hop: samples between the middles of two frames."""
        self.bands, self.hop, self.half = bands, hop, length // 2
        self._length = length
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)  # Hann's, periodic
        self.window = window.astype(np.float32)
        filters = mel_filters(1 + self.half, bands, sampling_rate)
        # Real and imaginary parts lie beside each other: squared, both count alike.
        self._filters = np.repeat(filters, 2, axis=0).astype(np.float32)

    def of_sound(self, read: Callable[[int], Iterator[Float32]], first: int = 0) -> Iterator[Float32]:
        """float32[f, M], a few at a time: all frames of a sound from frame `first` on. read(k): it from sample k on.

        first: 0, or a frame that begins inside the sound, so that nothing is mirrored before it.
        """
        total = max(0, first * self.hop - self.half)
        inside = first > 0
        waiting = np.empty(0, np.float32)
        for block in read(total):
            waiting = np.concatenate([waiting, block])
            total += len(block)
            if not inside:
                if total <= self.half:
                    continue
                waiting, inside = np.concatenate([waiting[self.half : 0 : -1], waiting]), True
            frames = self.whole(waiting)
            first += len(frames)
            waiting = waiting[len(frames) * self.hop :]
            yield frames
        left = total // self.hop - first
        if left > 0:
            padded = np.pad(waiting, (0 if inside else self.half, self.half), mode="reflect")
            yield self.whole(padded)[:left]

    def of_clip(self, clip: Float32, count: int) -> Float32:
        """float32[F, M] of the first frames of a clip, as many as there is something in of `count`. The others, in what
        pads the clip with zeros to count x hop samples, are SILENCE."""
        size = count * self.hop
        heard = min(size, len(clip) + self.half)  # what a frame that touches the clip reaches
        padded = np.zeros(min(size, heard + self.half + self.hop), np.float32)
        padded[: min(len(clip), size)] = clip[:size]
        frames = min(count, heard // self.hop + 1)
        return self.whole(np.pad(padded, self.half, mode="reflect"))[:frames]

    def whole(self, samples: Float32) -> Float32:
        """float32[F, M] of all frames that fit into float32[N], the first at its beginning."""
        if len(samples) < self._length:
            return np.empty((0, self.bands), np.float32)
        frames = sliding_window_view(samples, self._length)[:: self.hop]
        logs = np.empty((len(frames), self.bands), np.float32)
        for first in range(0, len(frames), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            np.matmul(self._powers(frames[part]), self._filters, out=logs[part])
        np.maximum(logs, FLOOR, out=logs)
        return np.log10(logs, out=logs)

    def _powers(self, frames: Float32) -> Float32:
        """float32[f, 2 x bins]: the squares of real and imaginary parts."""
        spectra = np.fft.rfft(frames * self.window).astype(np.complex64, copy=False)  # numpy 1 computes in float64
        parts = spectra.view(np.float32)
        return np.multiply(parts, parts, out=parts)


def scaled(logs: Float32, loudest: float, out: Float32) -> None:
    """Writes frames as the model reads them: float32[F, M] into float32[M, F]. loudest: the largest of the sound."""
    np.maximum(logs.T, np.float32(loudest) - RANGE, out=out)
    out += np.float32(4)
    out /= np.float32(4)


def mel_filters(bins: int, bands: int, sampling_rate: int) -> Float64:
    """float64[bins, M]: triangles over a spectrum from 0 to half the rate, of equal area, on Slaney's mel scale.

    What transformers calls mel_filter_bank(..., 0, sampling_rate / 2, norm="slaney", mel_scale="slaney").
    """
    corners = _hertz(np.linspace(0, _mel(sampling_rate / 2), bands + 2))
    frequencies = np.linspace(0, sampling_rate / 2, bins)[:, None]
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (frequencies - left) / (middle - left)
    falling = (right - frequencies) / (right - middle)
    filters: Float64 = np.maximum(0, np.minimum(rising, falling)) * (2 / (right - left))
    return filters


def _mel(hertz: float) -> float:
    """Of a frequency above the bend."""
    return float(_BEND_MEL + _MEL_A_LOG * np.log(hertz / _BEND_HZ))


def _hertz(mel: Float64) -> Float64:
    return np.where(mel < _BEND_MEL, mel * (_BEND_HZ / _BEND_MEL), _BEND_HZ * np.exp((mel - _BEND_MEL) / _MEL_A_LOG))
