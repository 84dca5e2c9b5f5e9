"""The rules of Whisper's timestamps against transformers' class, on random scores of random sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.generation.config import GenerationConfig
from fuseline.generation.processors import PROCESSORS, Lengths, processors
from fuseline.generation.timestamps import Timestamps

VOCAB, ROWS, PROMPT, LONGEST = 60, 4, 3, 12
END, NONE = 30, 37  # 0 to 29 are text, 31 to 36 other special tokens, 38 to 59 timestamps


def theirs(latest: int | None) -> Any:
    transformers = pytest.importorskip("transformers")
    fields = {"no_timestamps_token_id": NONE, "max_initial_timestamp_index": latest}
    config = transformers.GenerationConfig(eos_token_id=END, **fields)
    return transformers.generation.logits_process.WhisperTimeStampLogitsProcessor(config, begin_index=PROMPT)


def sequences(random: np.random.Generator, length: int) -> Any:
    """A prompt with a timestamp in it, then text and timestamps in any order."""
    prompt = np.tile([38, 7, 31], (ROWS, 1))
    times = random.random((ROWS, length)) < 0.4
    said = np.where(times, random.integers(NONE + 1, VOCAB, times.shape), random.integers(0, 30, times.shape))
    return np.concatenate([prompt, said], axis=1)


@pytest.mark.parametrize("latest", [None, 0, 5, 100])
@pytest.mark.parametrize("beams", [1, 2])
def test_scores_are_those_of_transformers(latest: int | None, beams: int) -> None:
    torch = pytest.importorskip("torch")
    reference = theirs(latest)
    config = GenerationConfig(eos_token_id=END, timestamps=Timestamps(NONE + 1, latest), num_beams=beams)
    ours = processors(config, Lengths(PROMPT, LONGEST))
    assert ours is not None
    random, both = np.random.default_rng(0), set()
    for length in range(LONGEST - PROMPT):
        for _ in range(30):
            said = sequences(random, length)
            scores = random.normal(0, 3, (ROWS, VOCAB)).astype(np.float32)
            scores[random.random(scores.shape) < 0.2] = -np.inf
            if beams > 1:
                scores = torch.log_softmax(torch.from_numpy(scores), -1).numpy()
            expected = reference(torch.from_numpy(said), torch.from_numpy(scores.copy())).numpy()
            np.testing.assert_array_equal(ours(said, scores.copy()), expected)
            both |= set(np.isneginf(expected[:, : NONE + 1]).all(axis=1).tolist())
    assert both == {True, False} or latest == 0


def test_they_come_after_the_tokens_that_are_suppressed_and_before_a_callers_own() -> None:
    """The order of `_retrieve_logit_processors`, each before the ones that it puts behind itself."""
    names = [name for name, _, _ in PROCESSORS]
    assert names[names.index("begin_suppress_tokens") + 1] == "timestamps"
    assert names[names.index("logits_processor") - 1] == "timestamps"


def test_without_an_end_token_all_before_the_timestamps_is_text() -> None:
    process = processors(GenerationConfig(timestamps=Timestamps(4)), Lengths(1, 9))
    assert process is not None
    scores = process(np.array([[0, 4, 1, 5]]), np.zeros((1, 7), np.float32))
    assert np.isneginf(scores[0]).tolist() == [True] * 5 + [False, False]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "timestamps must be a Timestamps of fuseline.generation.timestamps, not 5"),
        (Timestamps(0), "timestamps.first must be a whole number of at least 1, not 0"),
        (Timestamps(4, -1), "timestamps.latest must be a whole number of at least 0, not -1"),
    ],
)
def test_other_values_are_refused(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerationConfig(timestamps=value)


def test_a_timestamp_outside_the_vocabulary_is_refused() -> None:
    config = GenerationConfig.from_folder({"eos_token_id": 2}, {"vocab_size": 97}, "here")
    with pytest.raises(InputError, match="timestamps=97 is outside the vocabulary, whose ids are 0 to 96"):
        config.override(timestamps=Timestamps(97))
