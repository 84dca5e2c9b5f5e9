"""Where somebody speaks in a sound: a voice detector of our own, in numpy, which reads the sound once, block by block.

A frame is loud where it stands out, in several bands, from the quietest moments before it and from those after it: so
whatever is steady, noise, hum or a tone, never does. A loud stretch is voice if enough of it is periodic as speech is,
which noise is not, and if it changes as speech does, which tones do not. The measured figures are in
docs/results/measurements.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ..arrays import Bool, Float32

if TYPE_CHECKING:
    from ..inputs.audio import Sound

RATE = 16_000
PADDING = 0.3  # seconds before and after what is heard: consonants are quieter than the vowels beside them

_HOP, _FRAME, _POINTS = 256, 640, 1024  # samples: 16 ms, 40 ms, and of the spectrum
_EDGES = np.round(np.array([150, 250, 400, 600, 900, 1300, 1900, 2700, 4000, 6000]) * _POINTS / RATE).astype(int)
_BANDS = len(_EDGES) - 1
_LAGS = slice(RATE // 400, RATE // 70 + 1)  # samples: the periods of voices
_PITCHED = slice(round(100 * _POINTS / RATE), round(4000 * _POINTS / RATE))  # bins whose period is looked for
_WINDOW = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
_SINE = np.float32((_WINDOW.sum() / 2) ** 2)  # the power of a full sine in one bin

_QUIET = -75.0  # dB of a full sine in a band: nothing below is a sound
_SMOOTH = 5  # frames that are averaged
_BLOCK = 16  # frames, a quarter of a second, of which the quietest counts
_AROUND = 12  # blocks before and after, of which the quietest counts
_LOUDEST = 4  # bands that are looked at
_LOUD, _LOUD_STILL = 9.0, 5.0  # dB above the quietest moments, to begin and to go on
_PERIODIC = 0.4
_LEAST = 5  # periodic frames of a stretch
_GAP = 20  # frames between stretches that are one
_CHUNK = 2048  # frames that are judged at once, half a minute


class Frames(NamedTuple):
    """What is known of F frames."""

    bands: Float32
    """float32[F, bands]: dB of a full sine"""
    periodic: Float32
    """float32[F]: how much a frame is like itself a period of some voice later, 0 to 1"""


def voiced(sound: Sound) -> list[tuple[float, float]]:
    """Stretches in which somebody speaks: (start, end) in seconds, in order and apart, with PADDING around each.

    The sound is read once; memory does not grow with it but for a byte a frame. Raises what reading it raises.
    """
    return _stretches(sound.blocks(), PADDING)[0]


def stretches(samples: Float32, padding: float = PADDING) -> list[tuple[float, float]]:
    """The same of float32[N] at 16 kHz. padding: seconds."""
    return _stretches([samples], padding)[0]


def frames_of(samples: Float32) -> Frames:
    """float32[N] -> the frames that lie in it whole."""
    count = max(0, (len(samples) - _FRAME) // _HOP + 1)
    if not count:
        return Frames(np.zeros((0, _BANDS), np.float32), np.zeros(0, np.float32))
    spectrum = np.fft.rfft(sliding_window_view(samples, _FRAME)[::_HOP][:count] * _WINDOW, _POINTS)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    bands = 10 * np.log10(np.add.reduceat(power, _EDGES, axis=1)[:, :_BANDS] / _SINE + np.float32(1e-12))
    return Frames(bands, _periodicity(power))


def _periodicity(power: Float32) -> Float32:
    """float32[F] of float32[F, bins]: the highest autocorrelation of a voice's period, of a flattened spectrum."""
    flat = np.zeros_like(power)
    flat[:, _PITCHED] = power[:, _PITCHED] ** 0.25
    likeness = np.fft.irfft(flat, _POINTS, axis=1)
    highest: Float32 = (likeness[:, _LAGS].max(axis=1) / np.maximum(likeness[:, 0], 1e-9)).astype(np.float32)
    return highest
