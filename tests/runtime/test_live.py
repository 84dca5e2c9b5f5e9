"""Speech as it is spoken: what is committed stays, comes soon, and is the whole text in the end.

Most tests hear by an oracle, which knows what is said when and cuts off what has not ended, as a model would.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fuseline import Cancelled, InputError
from fuseline.arrays import Float32
from fuseline.inputs.audio import open_sound
from fuseline.inputs.sounds.streamed import Streamed
from fuseline.speech.live import Heard, Live, samples_of
from tests.voices import RATE, speech, white

Run = Sequence[tuple[float, float]]  # words: start and end in seconds
CUT_OFF = 10_000  # added to the token of a word that has not ended


class Oracle:
    """Says a word, whose token is its number, where the sound has all of it; of one that is cut off something else."""

    longest = 30 * RATE

    def __init__(self, stream: Float32, words: Run) -> None:
        self._stream, self._words = stream, words
        self.heard: list[int] = []  # samples of each call

    def hear(self, samples: Float32, begun: Sequence[int], cancel: Any) -> list[int]:
        self.heard.append(len(samples))
        at = self._place(samples) / RATE
        end = at + len(samples) / RATE
        said = []
        for number, (start, stop) in enumerate(self._words):
            if start >= at - 0.1 and start < end - 0.05:
                said.append(number if stop <= end else CUT_OFF + number + len(self.heard) * 100_000)
        assert list(begun) == said[: len(begun)]  # else it would say a word twice, or never
        return said[len(begun) :]

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(f" w{token}" for token in tokens)

    def _place(self, samples: Float32) -> int:
        head = samples[:400]
        for at in np.flatnonzero(self._stream == head[0]):
            if np.array_equal(self._stream[at : at + len(head)], head):
                return int(at)
        raise AssertionError("these samples are not of the stream")


def stream_of(*parts: float) -> tuple[Float32, Run]:
    """Speech for so many seconds, then silence, and so on; half a second a word."""
    pieces, words, at = [], [], 0.0
    for number, seconds in enumerate(parts):
        if number % 2:
            pieces.append(np.zeros(int(seconds * RATE), np.float32))
        else:
            pieces.append(speech(seconds, number, -20, 110 + 20 * number))
            words += [(at + place / 2, at + place / 2 + 0.45) for place in range(int(seconds * 2))]
        at += seconds
    sound = np.concatenate(pieces)
    return sound + white(at + 1, -70)[: len(sound)], words


def fed(stream: Live, sound: Float32, size: int) -> list[Heard]:
    told = []
    for at in range(0, len(sound), size):
        told += stream.feed(sound[at : at + size])
    return told + stream.finish()


def text_of(words: Run) -> str:
    return " ".join(f"w{number}" for number in range(len(words)))


@pytest.mark.parametrize("parts", [(3, 1), (5, 2, 4, 3), (2, 0.8, 2, 0.9, 6, 5, 1, 1), (0.6, 4, 0.6, 4)])
@pytest.mark.parametrize("size", [1600, 7919])
def test_every_word_is_committed_once(parts: tuple[float, ...], size: int) -> None:
    sound, words = stream_of(*parts)
    stream = Live(Oracle(sound, words))
    told = fed(stream, sound, size)
    assert "".join(each.text for each in told) == stream.text == text_of(words)
    assert all(not each.tentative for each in told if each.pause)


def test_the_same_however_the_stream_is_cut() -> None:
    sound, words = stream_of(4, 2, 7, 1, 3)
    told = [fed(Live(Oracle(sound, words)), sound, size) for size in (160, 1600, 4000, 16_000)]
    assert told[0] == told[1] == told[2] == told[3]
    assert len(told[0]) > 10


@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_up_to_a_second_are_all_alike(seed: int) -> None:
    sound, words = stream_of(4, 2, 7, 1, 3)
    random, told, at = np.random.default_rng(seed), [], 0
    stream = Live(Oracle(sound, words))
    while at < len(sound):
        size = int(random.integers(1, RATE + 1))
        told += stream.feed(sound[at : at + size])
        at += size
    assert told + stream.finish() == fed(Live(Oracle(sound, words)), sound, 1600)


@pytest.mark.parametrize("size", [1600, 3 * RATE, 60 * RATE])
def test_after_a_pause_a_model_hears_what_is_new_alone(size: int) -> None:
    """A model that is given a finished sentence as the beginning of its text may take all that it hears for said."""
    sound, words = stream_of(3, 1, 4, 0.9, 3, 1)

    class Finishing(Oracle):
        def hear(self, samples: Float32, begun: Sequence[int], cancel: Any) -> list[int]:
            at = self._place(samples) / RATE
            assert not any(at < pause - 0.35 and pause + 1 < at + len(samples) / RATE for pause in (3, 8))
            return super().hear(samples, begun, cancel)

    stream = Live(Finishing(sound, words))
    fed(stream, sound, size)
    assert stream.text == text_of(words)


@pytest.mark.parametrize("size", [1600, 60 * RATE])
def test_what_may_turn_out_a_voice_is_not_forgotten(size: int) -> None:
    """A voice that is hoarse at first is taken for one only once enough of it is periodic, seconds after it began."""
    sound, words = stream_of(3, 0.9, 5, 1)
    hoarse = slice(round(3.9 * RATE), round(6.2 * RATE))
    at = np.arange(hoarse.stop - hoarse.start) / RATE
    sound[hoarse] = white(3, -25, seed=5)[: len(at)] * np.clip(0.3 + np.sin(2 * np.pi * 3 * at), 0, 1)
    stream = Live(Oracle(sound, words))
    fed(stream, sound, size)
    assert stream.text == text_of(words)


def test_what_is_refused_changes_nothing() -> None:
    sound, words = stream_of(3, 1)
    stream = Live(Oracle(sound, words))
    told = stream.feed(sound[:RATE])
    with pytest.raises(InputError, match="the stream: "):
        stream.feed(np.full(1600, 1e30, np.float32))
    told += stream.feed(sound[RATE:]) + stream.finish()
    assert "".join(each.text for each in told) == text_of(words)


def test_words_are_committed_soon_after_they_were_said() -> None:
    sound, words = stream_of(10, 2, 8, 3)
    late, at = [], 0
    for each in fed(Live(Oracle(sound, words)), sound, 1600):
        for _ in each.text.split():
            late.append(each.seconds - words[at][1])
            at += 1
    assert len(late) == len(words)
    assert np.median(late) < 1.7
    assert max(late) < 2.3


def test_what_is_tentative_follows_what_is_committed() -> None:
    sound, words = stream_of(6, 2)
    so_far, seen = "", False
    for each in fed(Live(Oracle(sound, words)), sound, 1600):
        so_far += each.text
        for word in each.tentative.split():
            seen = True
            assert word not in so_far.split()
    assert seen


def test_a_long_speech_without_a_pause_costs_no_more() -> None:
    sound, words = stream_of(90, 1)
    oracle = Oracle(sound, words)
    stream = Live(oracle)
    fed(stream, sound, 8000)
    assert max(oracle.heard) < 27 * RATE
    said = stream.text.split()
    assert len(said) == len(words)
    # Where it is cut a word may be: once in some 25 s.
    assert sum(word != f"w{number}" for number, word in enumerate(said)) <= 6


def test_silence_is_not_recognised() -> None:
    sound = white(60, -60)
    oracle = Oracle(sound, [])
    assert fed(Live(oracle), sound, 1600) == []
    assert oracle.heard == []


def test_much_at_once_is_heard_in_larger_steps() -> None:
    sound, words = stream_of(20, 2)
    oracle = Oracle(sound, words)
    stream = Live(oracle)
    stream.feed(sound)
    stream.finish()
    assert stream.text == text_of(words)
    assert len(oracle.heard) < 10


def test_cancel() -> None:
    sound, words = stream_of(6, 2)
    cancel = threading.Event()
    stream = Live(Oracle(sound, words), cancel=cancel)
    told = stream.feed(sound[: 4 * RATE])
    cancel.set()
    with pytest.raises(Cancelled, match="the stream was given up"):
        stream.feed(sound[4 * RATE :])
    assert stream.text == "".join(each.text for each in told)


def test_after_the_end() -> None:
    sound, words = stream_of(2, 1)
    stream = Live(Oracle(sound, words))
    fed(stream, sound, 1600)
    assert stream.finish() == []
    with pytest.raises(InputError, match="has finished; begin another"):
        stream.feed(sound)


def test_kinds_of_samples() -> None:
    floats = np.array([-1, -0.5, 0, 0.25], np.float32)
    integers = (floats * 2**15).astype(np.int16)
    for given in (
        floats,
        integers,
        integers.tobytes(),
        bytearray(integers.tobytes()),
        floats.astype(float),
        integers[:, None],
    ):
        assert np.array_equal(samples_of(given), floats)


@pytest.mark.parametrize(
    ("pcm", "said"),
    [
        (b"abc", "3 bytes, and a sample of int16 has two"),
        (np.zeros((4, 2), np.float32), r"not float32\[4, 2\]"),
        (np.zeros(4, np.int32), r"not int32\[4\]"),
        ("text", "must be samples of one channel"),
        (None, "must be samples of one channel"),
        (
            np.array([0, np.nan], np.float32),
            "the stream: sample 1 of this piece is nan; samples are numbers from -1 to 1",
        ),
        (np.array([0, 0, 1e30], np.float32), r"the stream: sample 2 of this piece is 1e\+30; samples are numbers"),
        (np.array([-1e300]), r"the stream: sample 0 of this piece is -1e\+300; samples are numbers"),
    ],
)
def test_what_is_no_sound(pcm: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        samples_of(pcm)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_a_stream_of_another_rate_is_resampled_as_a_file_is(rate: int) -> None:
    given = white(3, -20)[: int(2.7 * rate)]
    expected = np.concatenate(list(open_sound(given, rate).blocks()))
    for size in (1, 777, 48_000):
        streamed = Streamed(rate)
        part = given if size > 1 else given[:3000]
        found = [streamed.feed(part[at : at + size]) for at in range(0, len(part), size)]
        joined = np.concatenate([*found, streamed.finish()])
        whole = expected if size > 1 else np.concatenate(list(open_sound(part, rate).blocks()))
        assert joined.shape == whole.shape
        assert np.abs(joined - whole).max() < 1e-6
