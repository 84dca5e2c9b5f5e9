"""max_time and cancel reach into a step, or the encoder's run, that takes hours: what was there before is given."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model
from fuseline.errors import Cancelled, InputError
from fuseline.generation.config import GenerationConfig
from fuseline.graphs.contract import Encoded
from fuseline.graphs.decoder import CachedDecoder
from fuseline.graphs.encoder import Encoder
from fuseline.graphs.running import Limit, RunEnded
from fuseline.graphs.session import open_graph
from fuseline.search import search
from tests import odd_graphs, tiny

STEPS = 3  # before the decoder gets slow
WIDE = 60  # seconds, of a machine that others use


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model.from_pretrained(tiny_path, "fp32", threads=1)


@pytest.fixture(scope="module")
def encoded(model: Model) -> Encoded:
    return model.encode(tiny.photos(2))


@pytest.fixture
def slow(model: Model, tmp_path: Path) -> CachedDecoder:
    folder = model.folder
    file = odd_graphs.slowed(folder.decoder_path, tmp_path / "slow.onnx", "logits", from_position=STEPS)
    return CachedDecoder(open_graph(file, threads=1), folder.decoder)


def config(beams: int, **fields: Any) -> GenerationConfig:
    return GenerationConfig(num_beams=beams, max_length=16, **fields)


PROMPT = np.ones((2, 1), np.int64)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_step_over_its_time_leaves_the_result_of_the_step_before(
    beams: int, slow: CachedDecoder, model: Model, encoded: Encoded
) -> None:
    began = time.monotonic()
    found = search(slow, encoded, PROMPT, config(beams, max_time=1.0))
    assert time.monotonic() - began < WIDE
    assert set(found.finish_reasons) == {"max_time"}
    assert found.sequences.shape == (2, 1 + STEPS)
    assert found.timings.steps == STEPS
    if beams == 1:
        whole = model.generate(encoded, num_beams=1, max_new_tokens=STEPS, eos_token_id=None)
        np.testing.assert_array_equal(found.sequences, whole.sequences)
    assert not slow._idle, "the memory of a step that was broken off is not used again"


@pytest.mark.parametrize("partial", [False, True])
def test_a_cancel_token_reaches_into_a_step(partial: bool, slow: CachedDecoder, encoded: Encoded) -> None:
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    if not partial:
        with pytest.raises(Cancelled):
            search(slow, encoded, PROMPT, config(1), cancel=cancel)
        return
    found = search(slow, encoded, PROMPT, config(1), cancel=cancel, partial=True)
    assert (found.finish_reasons, found.sequences.shape) == (("cancelled",) * 2, (2, 1 + STEPS))


def test_a_state_that_was_broken_off_cannot_go_on(slow: CachedDecoder, encoded: Encoded) -> None:
    state = slow.start(encoded, 1, 9)
    tokens = np.ones((2, 1), np.int64)
    for _ in range(STEPS):
        slow.step(state, tokens, None)
    with pytest.raises(RunEnded), Limit(0.2):
        slow.step(state, tokens, None)
    with pytest.raises(InputError, match="failed or was broken off, so it cannot go on"):
        slow.step(state, tokens, None)


@pytest.fixture
def slow_encoder(tiny_path: Path, tmp_path: Path) -> Model:
    model = Model.from_pretrained(tiny_path, "fp32", threads=1)
    encoder = model._graphs.encoder
    file = odd_graphs.slowed(model.folder.encoder_path, tmp_path / "slow.onnx", encoder.outputs[0])
    replaced = Encoder(open_graph(file, threads=1), encoder.source, encoder.inputs, encoder.outputs)
    model._graphs = dataclasses.replace(model._graphs, encoder=replaced)
    return model


@pytest.mark.parametrize("beams", [1, 4])
def test_an_encoder_over_its_time_leaves_the_prompt(beams: int, slow_encoder: Model) -> None:
    found = slow_encoder.generate(tiny.photos(2), num_beams=beams, max_time=0.5)
    assert found.finish_reasons == ("max_time",) * 2
    np.testing.assert_array_equal(found.sequences, PROMPT)
    assert slow_encoder.decode(found.sequences) == ["", ""]
    *_, last = slow_encoder.stream(tiny.photos(1), num_beams=beams, max_time=0.5)
    assert last.finish_reason == "max_time"


def test_a_cancel_token_reaches_into_the_encoder(slow_encoder: Model) -> None:
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    with pytest.raises(Cancelled):
        slow_encoder.generate(tiny.photos(1), cancel=cancel)
    found = slow_encoder.generate(tiny.photos(1), cancel=cancel, partial=True)
    assert found.finish_reasons == ("cancelled",)


def test_time_that_is_enough_changes_nothing(model: Model) -> None:
    plain = model.generate(tiny.photos(2))
    limited = model.generate(tiny.photos(2), max_time=1000.0, cancel=threading.Event())
    np.testing.assert_array_equal(limited.sequences, plain.sequences)
    np.testing.assert_array_equal(limited.sequences_scores, plain.sequences_scores)
