"""Where somebody speaks in a sound: a voice detector of our own, in numpy, which reads the sound once, block by block.

A frame is loud where it stands out, in several bands at once, from the quietest moments before and after it: so
whatever is steady, noise, hum or a tone, never does. A loud stretch is voice if enough of it has a pitch of speech
that moves as speech does, which noise and tones have not. The measured figures are in docs/results/measurements.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import Bool, Float32

if TYPE_CHECKING:
    from ..inputs.audio import Sound

_RATE = 16_000
_HOP, _FRAME, _POINTS = 256, 640, 1024  # samples: 16 ms, 40 ms, and of the spectrum
_EDGES = (150, 250, 400, 600, 900, 1300, 1900, 2700, 4000, 6000)  # Hz, of the bands that are compared
_QUIET = -80.0  # dB of a full sine, of a band: nothing below is a sound
_BLOCK = 16  # frames, of which the quietest counts
_WINDOW = 12  # blocks before and after, 3 s each
_CHUNK = 1024  # frames that are judged at once


class _Frames(NamedTuple):
    """What is known of F frames."""

    bands: Float32  # float32[F, bands], dB
    pitch: Float32  # float32[F], how periodic it is, 0 to 1


_window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)


def frames_of(samples: Float32) -> _Frames:
    """float32[N] -> the frames that lie in it whole."""
    count = max(0, (len(samples) - _FRAME) // _HOP + 1)
    if not count:
        return _Frames(np.zeros((0, len(_EDGES) - 1), np.float32), np.zeros(0, np.float32))
    cut = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP][:count]
    spectrum = np.fft.rfft(cut * _window, _POINTS)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    edges = np.round(np.array(_EDGES) * _POINTS / _RATE).astype(int)
    sums = np.add.reduceat(power, edges, axis=1)[:, : len(_EDGES) - 1]
    full = np.float32((_window.sum() / 2) ** 2)
    bands = 10 * np.log10(sums / full + 1e-12)
    return _Frames(bands.astype(np.float32), _periodic(power))


def _periodic(power: Float32) -> Float32:
    compressed = power**0.25
    low, high = round(100 * _POINTS / _RATE), round(4000 * _POINTS / _RATE)
    compressed[:, :low] = 0
    compressed[:, high:] = 0
    # without its envelope
    r = np.fft.irfft(compressed, _POINTS, axis=1)
    lags = r[:, _RATE // 400 : _RATE // 70 + 1]
    return (lags.max(axis=1) / np.maximum(r[:, 0], 1e-9)).astype(np.float32)
