"""Where somebody speaks in a sound: a voice detector of our own, in numpy, which reads the sound once, block by block.

A frame is loud where it stands out, in several bands, from the quietest moments before it and from those after it: so
whatever is steady, noise, hum or a tone, never does. A loud stretch is voice if enough of it is periodic as speech is,
which noise is not, and if it changes as speech does, which tones do not. The measured figures are in
docs/results/measurements.md.
"""

from __future__ import annotations

from collections.abc import Iterable
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
_AROUND = 192  # frames before and after, of which the quietest counts: 3 s
_NEAR_EDGE = 64  # frames at the beginning and the end of a sound: 1 s
_LOUDEST = 4  # bands that are looked at
_LOUD, _LOUD_STILL = 9.0, 6.0  # dB above the quietest moments, to begin and to go on; noise reaches 5.2
_PERIODIC = 0.11  # what noise stays below: 0.096 at most in 19,000 frames; voiced frames reach 0.2 to 0.5
_LEAST = 4  # periodic frames of a stretch
_GAP = 40  # frames between stretches that are one
_CHUNK = 2048  # frames that are judged at once, half a minute
_CONTEXT = _AROUND + _SMOOTH  # frames before and after that their verdict hangs on
_FOLLOWED = 625  # frames of a stream that are looked at: 10 s
_AT_ONCE = 512  # frames whose spectra are in memory at once


class Frames(NamedTuple):
    """What is known of F frames."""

    bands: Float32
    """float32[F, bands]: dB of a full sine"""
    periodic: Float32
    """float32[F]: how much a frame is like itself a period of some voice later, 0 to 1"""


def voiced(sound: Sound) -> list[tuple[float, float]]:
    """Stretches in which somebody speaks: (start, end) in seconds, in order and apart, with PADDING around each.

    The sound is read once; memory does not grow with it but for two bytes a frame. Raises what reading it raises.
    """
    return [(start / RATE, end / RATE) for start, end in heard_in(sound)[0]]


def heard_in(sound: Sound, padding: float = PADDING) -> tuple[list[tuple[int, int]], int]:
    """The same stretches in samples, and how many samples the sound has. padding: seconds."""
    return _heard(sound.blocks(), padding)


def stretches(samples: Float32, padding: float = PADDING) -> list[tuple[float, float]]:
    """The same stretches of float32[N] at 16 kHz, in seconds. padding: seconds."""
    return [(start / RATE, end / RATE) for start, end in _heard([samples], padding)[0]]


def _heard(blocks: Iterable[Float32], padding: float) -> tuple[list[tuple[int, int]], int]:
    judge, rest, count = _Judge(), np.zeros(0, np.float32), 0
    for block in blocks:
        count += len(block)
        rest = np.concatenate([rest, block])
        judge.see(frames_of(rest))
        rest = rest[max(0, (len(rest) - _FRAME) // _HOP + 1) * _HOP :]
    return widened(_in_samples(_spoken(*judge.verdict()), count), round(padding * RATE), count), count


class Ear:
    """Follows a stream, and tells when a voice was heard last, of the last ten seconds. at: samples that came."""

    def __init__(self) -> None:
        self.at = 0
        self._rest = np.zeros(0, np.float32)  # samples after the first of the next frame
        self._frames = frames_of(self._rest)

    def listen(self, samples: Float32) -> None:
        """float32[N], what has come."""
        self.at += len(samples)
        waiting = np.concatenate([self._rest, samples])
        new = frames_of(waiting)
        self._rest = waiting[len(new.bands) * _HOP :]
        self._frames = Frames(*(np.concatenate(pair)[-_FOLLOWED:] for pair in zip(self._frames, new, strict=True)))

    def voice_since(self, since: int) -> int | None:
        """The sample after the last one with a voice, if there is one after the sample `since`."""
        bands, periodic = self._frames
        found = _spoken(_loudness(bands), periodic > _PERIODIC) if len(bands) else []
        if not found:
            return None
        end = self._sample_of(found[-1][1] - 1) + _FRAME
        return end if end > since else None

    @property
    def undecided(self) -> int:
        """The sample up to which it is known whether somebody spoke: what is loud from there on may turn out a voice,
        which takes as long as little of it is periodic. `at` where nothing is loud now."""
        bands = self._frames.bands
        found = _loud(_loudness(bands)) if len(bands) else []
        return self._sample_of(found[-1][0]) if found and len(bands) - found[-1][1] < _GAP else self.at

    def _sample_of(self, frame: int) -> int:
        return self.at - len(self._rest) - (len(self._frames.bands) - frame) * _HOP


def frames_of(samples: Float32) -> Frames:
    """float32[N] -> the frames that lie in it whole."""
    count = max(0, (len(samples) - _FRAME) // _HOP + 1)
    if not count:
        return Frames(np.zeros((0, _BANDS), np.float32), np.zeros(0, np.float32))
    cut = sliding_window_view(samples, _FRAME)[::_HOP][:count]
    parts = [_frames_of(cut[at : at + _AT_ONCE]) for at in range(0, count, _AT_ONCE)]
    return Frames(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _frames_of(cut: Float32) -> Frames:
    """float32[F, _FRAME] -> what is known of these frames."""
    spectrum = np.fft.rfft(cut * _WINDOW, _POINTS)
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


class _Judge:
    """Sees frames in pieces and judges them once it knows what comes some seconds after them."""

    def __init__(self) -> None:
        self._waiting: list[Frames] = []
        self._count = 0  # of frames that wait
        self._before = 0  # of these, those that are judged already and are here for what comes after them
        self._loudness: list[npt.NDArray[np.float16]] = []
        self._periodic: list[Bool] = []

    def see(self, frames: Frames) -> None:
        self._waiting.append(frames)
        self._count += len(frames.bands)
        if self._count >= self._before + _CHUNK + _CONTEXT:
            self._judge(self._count - _CONTEXT)

    def verdict(self) -> tuple[npt.NDArray[np.float16], Bool]:
        """float16[F], how many dB each frame stands out; bool[F], whether it is periodic."""
        self._judge(self._count)
        none = np.zeros(0, np.float16), np.zeros(0, bool)
        return np.concatenate([none[0], *self._loudness]), np.concatenate([none[1], *self._periodic])

    def _judge(self, end: int) -> None:
        """Judge the frames that wait up to this one, and keep of them what the next ones need."""
        if not self._count:
            return
        bands, periodic = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
        loud = _loudness(bands)
        self._loudness.append(loud[self._before : end].astype(np.float16))
        self._periodic.append(periodic[self._before : end] > _PERIODIC)
        first = max(0, end - _CONTEXT)
        self._waiting = [Frames(bands[first:], periodic[first:])]
        self._before, self._count = end - first, len(bands) - first


def _loudness(bands: Float32) -> Float32:
    """float32[F] of float32[F, bands]: how many dB a frame stands out of the quietest moments around, in the bands
    where it does most."""
    above = _smooth(np.maximum(bands, _QUIET))
    above = above - _floor(above)
    loudest: Float32 = np.sort(above, axis=1)[:, -_LOUDEST:].mean(axis=1)
    return loudest


def _smooth(bands: Float32) -> Float32:
    """The mean over _SMOOTH frames."""
    half = _SMOOTH // 2
    padded = np.pad(bands, ((half, half), (0, 0)), mode="edge")
    smooth: Float32 = np.mean(sliding_window_view(padded, _SMOOTH, axis=0), axis=-1, dtype=np.float32)
    return smooth


def _floor(bands: Float32) -> Float32:
    """float32[F, bands]: what is quietest in some seconds up to each frame or from it on, whichever is louder.

    So a steady sound that begins stands out no longer than the mean is made over. Near the beginning and the end of the
    sound, where a voice may have no pause on one side, what is quietest on both counts.
    """
    count = len(bands)
    missing = -(-(count + _AROUND) // _AROUND) * _AROUND - count
    padded = np.pad(bands, ((_AROUND, missing), (0, 0)), constant_values=np.inf)
    groups = padded.reshape(-1, _AROUND, bands.shape[1])  # of two neighbours, a window is an end and a beginning
    begins = np.minimum.accumulate(groups, axis=1).reshape(padded.shape)
    ends = np.minimum.accumulate(groups[:, ::-1], axis=1)[:, ::-1].reshape(padded.shape)
    place = np.arange(_AROUND, _AROUND + count)
    before = np.minimum(ends[place - _AROUND + 1], begins[place])
    after = np.minimum(ends[place], begins[place + _AROUND - 1])
    floor = np.maximum(before, after)
    for edge in (slice(0, _NEAR_EDGE), slice(max(0, count - _NEAR_EDGE), count)):
        floor[edge] = np.minimum(before, after)[edge]
    return floor


def _spoken(loudness: npt.NDArray[np.floating], periodic: Bool) -> list[tuple[int, int]]:
    """(first, end) in frames of the loud stretches that are voice."""
    return [(first, end) for first, end in _loud(loudness) if np.count_nonzero(periodic[first:end]) >= _LEAST]


def _loud(loudness: npt.NDArray[np.floating]) -> list[tuple[int, int]]:
    """(first, end) in frames of the loud stretches."""
    found: list[tuple[int, int]] = []
    for first, end in _runs(loudness > _LOUD_STILL):
        if not (loudness[first:end] > _LOUD).any():
            continue
        if found and first - found[-1][1] < _GAP:
            found[-1] = (found[-1][0], end)
        else:
            found.append((first, end))
    return found


def _runs(true: Bool) -> list[tuple[int, int]]:
    """(first, end) of each row of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _in_samples(found: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """Stretches in samples, of frames."""
    return [(first * _HOP, min(count, (end - 1) * _HOP + _FRAME)) for first, end in found]


def widened(found: Iterable[tuple[int, int]], padding: int, count: int) -> list[tuple[int, int]]:
    """Stretches of a sound of `count` samples with as many samples around them; those that touch are one."""
    wide: list[tuple[int, int]] = []
    for first, end in found:
        start, stop = max(0, first - padding), min(count, end + padding)
        if wide and start <= wide[-1][1]:
            wide[-1] = (wide[-1][0], stop)
        else:
            wide.append((start, stop))
    return wide


def quietest(samples: Float32) -> int:
    """Where float32[N] that has no pause is cut: in the quietest tenth of a second of its last two, or of its half."""
    size, looked_at = RATE // 10, min(2 * RATE, len(samples) // 2)
    count = looked_at // size
    if not count:
        return len(samples)
    power = np.square(samples[len(samples) - count * size :]).reshape(count, size).sum(axis=1)
    return len(samples) - count * size + int(np.argmin(power)) * size + size // 2
