"""Sounds of other rates beside scipy, and against what a filter must do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from fuseline.inputs.audio import load_audio, open_sound
from fuseline.inputs.sounds.resampling import SAMPLING_RATE
from fuseline.inputs.sounds.streamed import resampled
from tests import sounds

Float32 = npt.NDArray[np.float32]

ORDINARY = [8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000]
ODD = [1_000, 16_001, 44_101, 47_952, 384_000]


def in_blocks(samples: Float32, *sizes: int) -> Callable[[int], Iterator[Float32]]:
    def blocks(start: int) -> Iterator[Float32]:
        at, turn = start, 0
        while at < len(samples):
            yield samples[at : at + sizes[turn % len(sizes)]]
            at, turn = at + sizes[turn % len(sizes)], turn + 1

    return blocks


def all_of(samples: Float32, rate: int, start: int = 0, sizes: tuple[int, ...] = (65_536,)) -> Float32:
    return np.concatenate([np.empty(0, np.float32), *resampled(in_blocks(samples, *sizes), rate, start)])


def decibels(samples: npt.NDArray[np.floating]) -> float:
    """Of the mean power, where a full sine is at 0."""
    return 10 * math.log10(2 * float(np.mean(np.square(samples.astype(np.float64)))) + 1e-30)


@pytest.mark.parametrize("rate", ORDINARY + ODD)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.8, 0.9])
def test_what_a_speaker_says_stays(rate: int, share: float) -> None:
    """A tone below 0.9 of the lower Nyquist frequency (7,200 Hz of most files) is the same tone, to a thousandth."""
    hertz = share * min(rate, SAMPLING_RATE) / 2
    count = rate // 2 if rate in ORDINARY else rate // 8
    seconds = np.arange(count) / rate
    heard = all_of(np.cos(2 * np.pi * hertz * seconds).astype(np.float32), rate)
    assert len(heard) == math.ceil(count * SAMPLING_RATE / rate)
    edge = 100 * max(1, SAMPLING_RATE // rate)
    wanted = np.cos(2 * np.pi * hertz * np.arange(len(heard)) / SAMPLING_RATE)
    np.testing.assert_allclose(heard[edge:-edge], wanted[edge:-edge], atol=1e-3)


@pytest.mark.parametrize("rate", [rate for rate in ORDINARY + ODD if rate > 17_000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_nothing_folds_back(rate: int, share: float) -> None:
    """A tone above 8,000 Hz is 60 decibels down at least, wherever it would land."""
    hertz = 8_000 + share * (rate / 2 - 8_000)
    heard = all_of(sounds.sine(hertz, rate // 8, rate), rate)
    assert decibels(heard[200:-200]) < -60


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000])
def test_no_images_above_what_was_there(rate: int) -> None:
    heard = all_of(sounds.sine(0.45 * rate, rate, rate), rate)
    spectrum = np.abs(np.fft.rfft(heard[1_000:-1_000] * np.hanning(len(heard) - 2_000)))
    above = spectrum[int(len(spectrum) * (0.51 * rate) / 8_000) :]
    assert 20 * math.log10(above.max() / spectrum.max()) < -60


@pytest.mark.parametrize("rate", ORDINARY)
def test_beside_scipy(rate: int) -> None:
    """The same as scipy's polyphase filter with a sharp window, for a sound that has nothing in the transition."""
    common = math.gcd(rate, SAMPLING_RATE)
    up, down = SAMPLING_RATE // common, rate // common
    lower = min(rate, SAMPLING_RATE) / 2
    low_pass = signal.firwin(801, 0.85 * lower, fs=rate, window=("kaiser", 9.0))
    clip = np.convolve(sounds.speech_like(rate, rate), low_pass, "same").astype(np.float32)
    theirs = signal.resample_poly(clip.astype(np.float64), up, down, window=("kaiser", 8.0))
    sharp = signal.firwin(2 * 200 * max(up, down) + 1, 0.96 / max(up, down), window=("kaiser", 8.0))
    sharper = signal.resample_poly(clip.astype(np.float64), up, down, window=sharp)
    ours = all_of(clip, rate)
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours[500:-500], sharper[500:-500], atol=2e-4)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 44_101, 48_000])
@pytest.mark.parametrize("sizes", [(1_000_000,), (1, 2, 3, 500), (441,), (7_919, 31)])
def test_blocks_change_nothing(rate: int, sizes: tuple[int, ...]) -> None:
    clip = sounds.speech_like(30_000, rate)
    np.testing.assert_allclose(all_of(clip, rate, sizes=sizes), all_of(clip, rate), atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 44_101, 48_000])
def test_from_anywhere(rate: int) -> None:
    clip = sounds.speech_like(50_000, rate)
    whole = all_of(clip, rate)
    for start in (1, 160, 9_001, len(whole) - 1, len(whole), len(whole) + 1, 10**7):
        np.testing.assert_allclose(all_of(clip, rate, start, (3_000,)), whole[start:], atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 44_100, 44_101, 192_000])
@pytest.mark.parametrize("count", [1, 2, 10, 500])
def test_very_short(rate: int, count: int) -> None:
    heard = all_of(np.ones(count, np.float32), rate)
    assert len(heard) == math.ceil(count * SAMPLING_RATE / rate) and np.isfinite(heard).all()


def test_sounds_are_resampled() -> None:
    clip = sounds.speech_like(44_100, 44_100)
    sound = open_sound(clip, 44_100)
    assert sound.duration == 1
    np.testing.assert_array_equal(load_audio(clip, 44_100), all_of(clip, 44_100))
    np.testing.assert_allclose(np.concatenate(list(sound.blocks(10_000))), load_audio(sound)[10_000:], atol=1e-6)
    stereo = np.stack([clip, -clip], axis=1)
    np.testing.assert_array_equal(load_audio(stereo, 44_100), np.zeros(16_000))
