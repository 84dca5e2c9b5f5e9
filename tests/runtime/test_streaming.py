"""Watching and stopping: what events tell, text in pieces, and a search that is stopped between two steps."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Cancelled, InputError, Model, pipeline
from fuseline.outputs.streaming import Event
from fuseline.pipelines.image_to_text import ImageToText
from tests import tiny
from tests.names import case_name

# Options under which captions become certain at once, late, or only at the end.
OPTIONS: list[dict[str, Any]] = [
    {"num_beams": 1},
    {"num_beams": 2, "early_stopping": True},
    {"num_beams": 4},
    {"num_beams": 5, "length_penalty": 2.0, "early_stopping": "never"},
    {"num_beams": 3, "do_sample": True, "seed": 3},
    {"num_beams": 1, "do_sample": True, "seed": 3},
    {"num_beams": 4, "eos_token_id": None},
    {"num_beams": 1, "eos_token_id": None, "stopping_criteria": [lambda sequences, _: sequences[:, -1] % 5 == 0]},
]


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model.from_pretrained(tiny_path, threads=1)


@pytest.mark.parametrize("options", OPTIONS, ids=case_name)
def test_events_add_up_to_what_generate_returns(model: Model, options: dict[str, Any]) -> None:
    photos = tiny.photos(5)
    expected = model.generate(photos, **options)
    events = list(model.stream(photos, **options))
    [last] = [event for event in events if event.generation is not None]
    assert last is events[-1] and last.generation is not None
    np.testing.assert_array_equal(last.generation.sequences, expected.sequences)
    np.testing.assert_array_equal(last.generation.sequences_scores, expected.sequences_scores)
    assert last.generation.finish_reasons == expected.finish_reasons
    for photo, text in enumerate(model.decode(expected.sequences)):
        own = [event for event in events if event.photo == photo]
        tokens = [token for event in own for token in event.tokens]
        assert tokens == expected.sequences[photo, : len(tokens)].tolist()
        assert not model.decode(expected.sequences[photo : photo + 1, len(tokens) :])[0]
        assert "".join(event.text for event in own) == text
        assert [event.finish_reason for event in own] == [None] * (len(own) - 1) + [expected.finish_reasons[photo]]
        assert own[-1].tentative == ""


def test_certain_text_comes_before_the_end_and_the_rest_is_tentative(model: Model) -> None:
    """With beams too: of 20 photos some have a certain word before the last step."""
    early = 0
    for photo in tiny.photos(20):
        events = list(model.stream(photo[None], num_beams=4))
        early += any(event.text for event in events[:-1])
        assert any(event.tentative for event in events)
    assert early > 5


def test_a_stream_that_nobody_reads_on_gives_its_memory_back(model: Model) -> None:
    photos = tiny.photos(1)
    model.decoder.forget()
    stream = model.stream(photos, num_beams=3, max_length=11)
    next(stream)
    assert not model.decoder._idle
    del stream
    gc.collect()
    assert len(model.decoder._idle) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_pipeline_gives_text_in_pieces(tiny_path: Path, stream: bool) -> None:
    captioner = pipeline("image-to-text", tiny_path, threads=1, stream=stream)
    count = 0
    for seed in range(5):
        photo = (np.random.default_rng(seed).random((32, 32, 3)) * 255).astype(np.uint8)
        pieces = list(captioner(photo, stream=True))
        assert all(pieces)
        count += len(pieces)
        assert [{"generated_text": "".join(pieces)}] == captioner(photo, stream=False)
        if stream:
            assert list(captioner(photo)) == pieces
    assert count > 5


def test_a_pipeline_streams_one_photo(tiny_path: Path) -> None:
    captioner: ImageToText = pipeline("image-to-text", tiny_path, threads=1)
    photo = np.zeros((32, 32, 3), np.uint8)
    for several in ([photo], iter([photo])):
        with pytest.raises(InputError, match="one photo in pieces"):
            captioner(several, stream=True)  # type: ignore[call-overload]


def test_a_stream_follows_one_sequence(model: Model) -> None:
    with pytest.raises(InputError, match="num_return_sequences must be 1"):
        model.stream(tiny.photos(1), num_return_sequences=2)


class Countdown:
    """A cancel token that is set after so many looks, or then does something else."""

    def __init__(self, looks: int, then: Any = None) -> None:
        self.left, self.then = looks, then

    def is_set(self) -> bool:
        self.left -= 1
        if self.left < 0 and self.then is not None:
            raise self.then
        return self.left < 0


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_cancelling_raises_or_returns_what_there_is(model: Model, num_beams: int, steps: int) -> None:
    photos = tiny.photos(3)
    options: dict[str, Any] = {"num_beams": num_beams, "eos_token_id": None}
    with pytest.raises(Cancelled, match="partial=True"):
        model.generate(photos, cancel=Countdown(steps), **options)
    found = model.generate(photos, cancel=Countdown(steps), partial=True, **options)
    assert found.finish_reasons == ("cancelled",) * 3
    assert found.timings.steps == steps
    if not steps:
        assert found.sequences.tolist() == [[tiny.START]] * 3
        return
    # A search that may go no further gives the same: no end token, so every hypothesis is open until then.
    short = model.generate(photos, **options, max_new_tokens=steps)
    np.testing.assert_array_equal(found.sequences, short.sequences)
    np.testing.assert_allclose(found.sequences_scores, short.sequences_scores, atol=1e-6)
    np.testing.assert_allclose(found.token_logprobs, short.token_logprobs, atol=1e-6)


def test_what_was_finished_before_counts_in_a_partial_result(model: Model) -> None:
    photos = tiny.photos(6)
    whole = model.generate(photos, num_beams=4)
    found = model.generate(photos, num_beams=4, cancel=Countdown(whole.timings.steps - 1), partial=True)
    assert set(found.finish_reasons) == {"eos_token", "cancelled"}
    for row, reason in enumerate(found.finish_reasons):
        length = min(found.sequences.shape[1], whole.sequences.shape[1])
        if reason == "eos_token" and whole.finish_reasons[row] == "eos_token":
            assert found.sequences_scores[row] <= whole.sequences_scores[row] + 1e-6
            if found.sequences_scores[row] == whole.sequences_scores[row]:
                np.testing.assert_array_equal(found.sequences[row, :length], whole.sequences[row, :length])


def test_an_event_of_another_thread_cancels(model: Model) -> None:
    event = threading.Event()
    timer = threading.Timer(0.05, event.set)
    timer.start()
    with pytest.raises(Cancelled):
        while True:  # a caption of the tiny model takes less than the timer does
            model.generate(tiny.photos(4), num_beams=4, cancel=event)
    timer.join()


@pytest.mark.parametrize("num_beams", [1, 4])
def test_ctrl_c_comes_through_or_returns_what_there_is(model: Model, num_beams: int) -> None:
    photos = tiny.photos(2)
    options: dict[str, Any] = {"num_beams": num_beams, "eos_token_id": None}
    expected = model.generate(photos, **options)
    with pytest.raises(KeyboardInterrupt):
        model.generate(photos, cancel=Countdown(3, KeyboardInterrupt()), **options)
    found = model.generate(photos, cancel=Countdown(3, KeyboardInterrupt()), partial=True, **options)
    assert found.finish_reasons == ("interrupted", "interrupted") and found.timings.steps == 3
    again = model.generate(photos, **options)
    np.testing.assert_array_equal(again.sequences, expected.sequences)


def test_a_stream_can_be_cancelled(model: Model) -> None:
    with pytest.raises(Cancelled):
        list(model.stream(tiny.photos(1), cancel=Countdown(1)))
    options: dict[str, Any] = {"num_beams": 4, "eos_token_id": None}
    events = list(model.stream(tiny.photos(1), cancel=Countdown(3), partial=True, **options))
    last: Event = events[-1]
    assert last.finish_reason == "cancelled" and last.generation is not None
    assert "".join(event.text for event in events) == model.decode(last.generation.sequences)[0]


def test_a_deadline_returns_what_there_is(model: Model) -> None:
    found = model.generate(tiny.photos(2), num_beams=4, max_time=1e-6)
    assert found.finish_reasons == ("max_time", "max_time") and found.timings.steps == 1
    slow = [lambda sequences, scores: time.sleep(0.05) or scores]
    found = model.generate(tiny.photos(2), num_beams=4, max_time=0.12, eos_token_id=None, logits_processor=slow)
    assert found.timings.steps <= 4
