"""A window's tokens cut into segments, against transformers' own function on random tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fuseline.speech.cuts import cut

FIRST = 100  # the token of 0.00 s


def theirs(tokens: list[int], seek: int, frames: int) -> Any:
    torch = pytest.importorskip("torch")
    generation = pytest.importorskip("transformers.models.whisper.generation_whisper")
    return generation.WhisperGenerationMixin._retrieve_segment(
        seek_sequence=torch.tensor(tokens),
        seek_outputs=[None],
        time_offset=torch.tensor([seek]).to(torch.float64) * 0.02 / 2,
        timestamp_begin=FIRST,
        seek_num_frames=torch.tensor([frames]),
        time_precision=0.02,
        time_precision_features=0.01,
        input_stride=2,
        prev_idx=0,
        idx=0,
        return_token_timestamps=False,
        decoder_input_ids=torch.zeros(1, 3),
    )


def test_random_tokens_are_cut_as_there() -> None:
    random, cases = np.random.default_rng(0), set()
    for _ in range(3000):
        count = int(random.integers(1, 12))
        times = np.sort(random.integers(FIRST, FIRST + 1501, count))
        times[random.random(count) < 0.1] = FIRST
        tokens = np.where(random.random(count) < random.choice([0.2, 0.5, 0.8]), times, random.integers(0, 90, count))
        seek, frames = int(random.integers(0, 400_000)), int(random.integers(1, 3001))
        expected, offset = theirs(tokens.tolist(), seek, frames)
        found, ours = cut(tokens.tolist(), FIRST, seek, frames)
        assert ours == int(offset)
        assert [(each.begin, each.end) for each in found] == [(a - 3, b - 3) for a, b in (e["idxs"] for e in expected)]
        assert [(each.start_time, each.end_time) for each in found] == [
            (float(each["start"]), float(each["end"])) for each in expected
        ]
        cases.add((min(len(found), 3), ours == frames))
    assert len(cases) >= 5


def test_the_end_of_a_window_without_timestamps_is_that_of_transformers_for_every_length() -> None:
    """Which computes it in float32."""
    for frames in range(1, 3001):
        expected, _ = theirs([5, 6], 0, frames)
        assert cut([5, 6], FIRST, 0, frames)[0][0].end_time == float(expected[0]["end"])


def test_a_window_without_tokens_is_one_segment() -> None:
    [only], offset = cut([], FIRST, 100, 50)
    assert (only.begin, only.end, only.start_time, only.end_time, offset) == (0, 0, 1.0, 1.5, 50)
