"""The voice detector: it hears voices, and nothing where nobody speaks."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from fuseline.arrays import Float32
from fuseline.inputs.audio import Sound, open_sound
from fuseline.speech.voice import Ear, heard_in, stretches, voiced
from tests.voices import NOT_VOICES, RATE, pink, speech, tone, white


def silent(seconds: float) -> Float32:
    return np.zeros(int(seconds * RATE), np.float32)


def share_heard(sound: Float32, start: float, end: float) -> float:
    """How much of the sound between these seconds is in the stretches with a voice."""
    heard = np.zeros(len(sound), bool)
    for first, last in stretches(sound):
        heard[int(first * RATE) : int(last * RATE)] = True
    return float(heard[int(start * RATE) : int(end * RATE)].mean())


@pytest.mark.parametrize("name", NOT_VOICES)
@pytest.mark.parametrize("seconds", [0.1, 3, 30])
def test_nobody_speaks(name: str, seconds: float) -> None:
    assert stretches(NOT_VOICES[name](seconds)) == []


@pytest.mark.parametrize("name", ["zeros", "white at -40 dB", "pink at -20 dB", "hum in noise"])
def test_nobody_speaks_for_ten_minutes(name: str) -> None:
    assert stretches(NOT_VOICES[name](600)) == []


def test_noise_that_begins_and_ends_is_no_voice() -> None:
    for noise in (white(8, -20), pink(8, -20)):
        assert stretches(np.concatenate([silent(8), noise, silent(8)])) == []


@pytest.mark.parametrize("hertz", [220, 440, 1000])
def test_a_tone_that_begins_and_ends_is_no_voice(hertz: float) -> None:
    assert stretches(np.concatenate([silent(8), tone(8, hertz), silent(8)]) + white(24, -60)) == []


@pytest.mark.parametrize("loudness", [-20, -40])
@pytest.mark.parametrize("pitch", [100, 210])
def test_a_voice_is_heard_whole(loudness: float, pitch: float) -> None:
    sound = np.concatenate([silent(4), speech(6, 1, loudness, pitch), silent(5)])
    found = stretches(sound)
    assert share_heard(sound, 4, 10) == 1
    assert 3 < found[0][0] <= 4 and 10 <= found[-1][1] < 11


@pytest.mark.parametrize("noise", [white, pink])
@pytest.mark.parametrize("ratio", [20, 10])
def test_a_voice_in_noise_is_heard(noise: object, ratio: float) -> None:
    voice = np.concatenate([silent(4), speech(6, 2, -25), silent(5), speech(4, 3, -25, 200), silent(3)])
    sound = voice + noise(22, -25 - ratio)[: len(voice)]  # type: ignore[operator]
    assert share_heard(sound, 4, 10) > 0.98
    assert share_heard(sound, 15, 19) > 0.98
    assert share_heard(sound, 0, 3) + share_heard(sound, 11.5, 14) + share_heard(sound, 20, 22) == 0


def test_a_voice_from_the_first_sample_to_the_last() -> None:
    for seconds in (1, 5, 30):
        assert share_heard(speech(seconds, 4), 0, seconds) > 0.98


def test_a_hum_below_a_voice_changes_nothing() -> None:
    sound = np.concatenate([silent(4), speech(6, 5, -25), silent(5)]) + tone(15, 50, -30, harmonics=8)
    assert share_heard(sound, 4, 10) > 0.98
    assert share_heard(sound, 0, 3) + share_heard(sound, 11.5, 15) == 0


def test_however_a_sound_comes_in_blocks() -> None:
    """The answer of an hour hangs on no more than some seconds around each place."""
    sound = np.concatenate([silent(20), speech(40, 6), white(25, -30), speech(20, 7), silent(9)]) + white(114, -55)
    whole = stretches(sound)
    assert len(whole) > 1
    for size in (999, 16_000, 300_001):
        assert voiced(_Blocks(sound, size)) == whole
    assert heard_in(open_sound(sound))[1] == len(sound)


class _Blocks(Sound):
    def __init__(self, samples: Float32, size: int) -> None:
        super().__init__(open_sound(samples)._recording)
        self._samples, self._size = samples, size

    def blocks(self, start: int = 0) -> Iterator[Float32]:
        for at in range(start, len(self._samples), self._size):
            yield self._samples[at : at + self._size]


def test_memory_does_not_grow_with_the_sound() -> None:
    class Long(_Blocks):
        def blocks(self, start: int = 0) -> Iterator[Float32]:
            for _ in range(self._size):
                yield self._samples

    def peak(minutes: int) -> int:
        tracemalloc.start()
        voiced(Long(white(10, -40), 6 * minutes))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(10) - peak(2) < 1_500_000


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
@pytest.mark.parametrize("voice", ["en-us", "en-gb+f3", "de"])
def test_words_of_a_synthesiser_are_heard(voice: str) -> None:
    command = ["espeak-ng", "-v", voice, "--stdout", "Tomorrow morning we walk to the station, if the weather is fine."]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    spoken = np.concatenate(list(open_sound(made).blocks()))
    loud = np.flatnonzero(np.abs(spoken) > 0.02)
    sound = np.concatenate([silent(3), spoken, silent(3)]) + white(20, -45)[: len(spoken) + 6 * RATE]
    assert share_heard(sound, 3 + loud[0] / RATE, 3 + loud[-1] / RATE) > 0.98


def test_what_is_loud_is_undecided_until_it_is_over() -> None:
    loud = white(1, -25) * np.clip(0.3 + np.sin(np.arange(RATE) / RATE * 20), 0, 1)
    ear = Ear()
    ear.listen(silent(2))
    assert ear.undecided == ear.at
    ear.listen(loud)
    assert ear.voice_since(0) is None
    assert abs(ear.undecided - 2 * RATE) < 1000
    ear.listen(silent(1))
    assert ear.undecided == ear.at


def test_what_is_too_short() -> None:
    assert stretches(silent(0)) == stretches(silent(0.01)) == []
