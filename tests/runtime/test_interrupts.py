"""A step that is broken off, at whatever line, leaves the results of the steps before it, and these fit together."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fuseline.errors import Cancelled
from fuseline.generation.config import GenerationConfig
from fuseline.generation.result import Generation
from fuseline.search import Search

VOCAB, PHOTOS, LONGEST = 11, 2, 7


class Decoder:
    """Logits that follow from the last token and the length alone."""

    def __init__(self) -> None:
        self.table = np.random.default_rng(3).normal(0, 2, (LONGEST + 1, VOCAB, VOCAB)).astype(np.float32)
        self.table[:4, :, 2] = -9  # nothing ends before the steps that are broken off

    def start(self, encoded: Any, num_beams: int, max_length: int, *, attentions: bool = False) -> Any:
        return SimpleNamespace(length=0)

    def step(self, state: Any, tokens: np.ndarray[Any, Any], parents: Any) -> np.ndarray[Any, Any]:
        state.length += tokens.shape[1]
        return self.table[state.length, tokens[:, -1]]

    def attentions(self, state: Any) -> np.ndarray[Any, Any]:
        return np.ones((1, PHOTOS * self.rows, 1, 3), np.float32)

    rows = 1


STRATEGIES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy with processors": {"repetition_penalty": 1.5},
    "sampled": {"do_sample": True, "seed": 1, "num_return_sequences": 3},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "beam sampling": {"num_beams": 3, "do_sample": True, "seed": 1},
    "groups": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
}


def search_of(options: dict[str, Any], **more: Any) -> Search:
    """A search whose steps keep all that there is to keep."""
    config = GenerationConfig(
        decoder_start_token_id=1,
        eos_token_id=2,
        max_length=LONGEST,
        output_scores=True,
        output_logits=True,
        output_attentions=True,
        **options,
    )
    decoder = Decoder()
    decoder.rows = max(config.num_beams, config.num_return_sequences)
    shapes = SimpleNamespace(shape=lambda: (PHOTOS, 3, 1))
    encoded: Any = SimpleNamespace(batch=PHOTOS, values={"key": shapes})
    return Search(decoder, encoded, config.prompt(PHOTOS), config, **more)  # type: ignore[arg-type]


def check(found: Generation, steps: int) -> None:
    """All that is told of each step is told of the same steps."""
    assert found.scores is not None and found.logits is not None
    new = found.sequences.shape[1] - 1
    assert len(found.scores) == len(found.logits) == found.timings.steps == steps
    assert found.token_logprobs.shape[1] == new <= steps
    assert (found.cross_attentions is None) == (steps == 0)
    if found.cross_attentions is not None:
        assert found.cross_attentions.shape[1] == new
    assert np.isfinite(found.sequences_scores).all()


class Interrupt:
    """Raises at the n-th line that runs in fuseline; counts them."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        self.at, self.error, self.count = at, error, 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if "fuseline" not in frame.f_code.co_filename or frame.f_code.co_name in ("_stop", "_timed"):
            return None
        if event == "line":
            self.count += 1
            if self.count == self.at:
                raise self.error
        return self


def traced(search: Search, interrupt: Interrupt) -> bool:
    """A step under the tracer."""
    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        return search.step()
    finally:
        sys.settrace(before)


def steps_of(options: dict[str, Any]) -> int:
    """How many steps the search makes."""
    search = search_of(options)
    while search.step():
        pass
    return search.generation().timings.steps


def every_line(
    options: dict[str, Any], steps: int, error: type[BaseException], **more: Any
) -> Iterator[tuple[Search, bool]]:
    """Searches whose step after so many was broken off at each of its lines in turn; whether it raised."""
    at = 1
    while True:
        search = search_of(options, **more)
        for _ in range(steps):
            assert search.step()
        interrupt, raised = Interrupt(at, error), False
        try:
            traced(search, interrupt)
        except error:
            raised = True
        if interrupt.count < at:
            assert at > 30  # lines of a step
            return
        yield search, raised
        at += 1


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("which", ["the third", "the last"])
def test_ctrl_c_at_every_line_of_a_step(which: str, name: str) -> None:
    steps = 2 if which == "the third" else steps_of(STRATEGIES[name]) - 1
    whole = search_of(STRATEGIES[name])
    for _ in range(steps):
        whole.step()
    before = whole.generation()
    for search, _ in every_line(STRATEGIES[name], steps, KeyboardInterrupt, partial=True):
        found = search.generation()
        done = found.timings.steps
        assert done in (steps, steps + 1)  # the last lines come after the results are in place
        check(found, done)
        if done == steps:
            np.testing.assert_array_equal(found.sequences, before.sequences)
            np.testing.assert_array_equal(found.token_logprobs, before.token_logprobs)


@pytest.mark.parametrize("name", ["greedy", "beams", "groups"])
def test_any_other_error_leaves_the_steps_before_it_and_the_prefixes(name: str) -> None:
    class Own(Exception):
        pass

    steps = steps_of(STRATEGIES[name]) - 1
    for search, raised in every_line(STRATEGIES[name], steps, Own):
        assert raised
        prefixes = search.prefixes()
        found = search.generation()
        assert found.timings.steps in (steps, steps + 1)
        check(found, found.timings.steps)
        for photo, prefix in enumerate(prefixes):
            each = len(found.sequences) // PHOTOS
            assert prefix.certain.tolist() == found.sequences[photo * each, : len(prefix.certain)].tolist()


def test_a_criterion_that_raises_leaves_the_steps_before_it() -> None:
    calls: list[int] = []

    def criterion(sequences: Any, scores: Any) -> bool:
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError
        return False

    search = search_of({"num_beams": 2, "stopping_criteria": [criterion]})
    with pytest.raises(ZeroDivisionError):
        while search.step():
            pass
    check(search.generation(), 2)


def test_a_cancelled_search_keeps_its_steps() -> None:
    answers = iter([False, False, True])
    search = search_of({"num_beams": 2}, cancel=SimpleNamespace(is_set=lambda: next(answers)))
    with pytest.raises(Cancelled):
        while search.step():
            pass
    check(search.generation(), 2)


def test_max_time_keeps_the_step_in_which_it_passed() -> None:
    search = search_of({"num_beams": 2, "max_time": 1e-9})
    assert not search.step()
    found = search.generation()
    check(found, 1)
    assert set(found.finish_reasons) <= {"max_time", "eos_token"}
