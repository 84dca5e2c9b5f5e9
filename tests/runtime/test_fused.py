"""Decoders combined at their outputs, against their formulas in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.generation.config import GenerationConfig
from fuseline.graphs.contract import Encoded, State
from fuseline.graphs.fused import FusedDecoder
from fuseline.search import search

VOCAB, START, END = 11, 1, 2


class TableState(State):
    """Rows, each of one input and with the last token it was given."""

    def __init__(self, rows: int, capacity: int, inputs: np.ndarray) -> None:
        super().__init__(rows, capacity)
        self.inputs = inputs


class TableDecoder:
    """A whole decoder made of a table: the logits after a token are a row of it, shifted by input."""

    def __init__(self, seed: int, excluded: tuple[int, ...] = ()) -> None:
        random = np.random.default_rng(seed)
        self.table = random.normal(0, 2, (VOCAB, VOCAB)).astype(np.float32)
        self.of_input = random.normal(0, 2, (20, VOCAB)).astype(np.float32)
        self.of_input[::2, END] += 4  # every other input ends early
        self.table[:, list(excluded)] = -np.inf
        self.steps: list[int] = []  # rows of each

    def start(self, encoded: Encoded, num_beams: int, max_length: int, *, attentions: bool = False) -> TableState:
        return TableState(encoded.batch * num_beams, max_length, np.repeat(np.arange(encoded.batch), num_beams))

    def step(self, state: State, tokens: np.ndarray, parents: np.ndarray | None) -> np.ndarray:
        assert isinstance(state, TableState)
        self.steps.append(len(tokens))
        state.position += tokens.shape[1]
        logits: np.ndarray = self.table[tokens[:, -1]] + self.of_input[state.inputs]
        return logits

    def narrow(self, state: State, inputs: np.ndarray) -> TableState:
        assert isinstance(state, TableState)
        beams = state.rows // len(np.unique(state.inputs))
        kept = state.inputs[::beams][inputs]
        narrow = TableState(len(inputs) * beams, state.capacity, np.repeat(kept, beams))
        narrow.position = state.position
        return narrow

    def attentions(self, state: State) -> np.ndarray:
        return np.full((1, state.rows, 1, 1), self.table[0, 0])

    def shares(self, state: State) -> np.ndarray:
        return np.full((state.rows, 1), self.table[0, 0])


def fused(*decoders: Any, weights: Any, **more: Any) -> tuple[FusedDecoder, Any]:
    decoder = FusedDecoder(decoders, weights, **more)
    return decoder, decoder.joined([Encoded(3, {}) for _ in decoders])


def one_step(decoder: FusedDecoder, encoded: Any) -> np.ndarray:
    return decoder.step(decoder.start(encoded, 1, 8), np.full((3, 1), START), None)


def log_probabilities(decoder: TableDecoder) -> np.ndarray:
    """float64[3, V] after the start."""
    logits = decoder.table[START].astype(np.float64) + decoder.of_input[:3]
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.5, -0.5), (1.0, 0.3), (-1.0, 2.0)])
def test_log_linear_is_the_weighted_sum_of_log_probabilities(weights: tuple[float, float]) -> None:
    one, two = TableDecoder(0), TableDecoder(1)
    found = one_step(*fused(one, two, weights=weights))
    right = weights[0] * log_probabilities(one) + weights[1] * log_probabilities(two)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, right, atol=5e-6)


def test_linear_is_the_logarithm_of_the_mixture() -> None:
    decoders = [TableDecoder(seed) for seed in range(3)]
    found = one_step(*fused(*decoders, weights=(0.2, 0.5, 0.3), rule="linear"))
    each = zip((0.2, 0.5, 0.3), decoders, strict=True)
    right = np.log(sum(weight * np.exp(log_probabilities(one)) for weight, one in each))
    np.testing.assert_allclose(found, right, atol=5e-6)


@pytest.mark.parametrize("weights", [(2.0, -1.0), (-1.0, 2.0), (0.5, 0.5)])
def test_what_one_decoder_excludes_stays_excluded(weights: tuple[float, float]) -> None:
    found = one_step(*fused(TableDecoder(0, (3, 4)), TableDecoder(1, (4, 5)), weights=weights))
    assert np.isneginf(found[:, [3, 4, 5]]).all()
    assert np.isfinite(np.delete(found, [3, 4, 5], axis=1)).all()


def test_a_mixture_excludes_what_all_exclude() -> None:
    found = one_step(*fused(TableDecoder(0, (3, 4)), TableDecoder(1, (4, 5)), weights=(0.5, 0.5), rule="linear"))
    assert np.isneginf(found[:, 4]).all()
    assert np.isfinite(np.delete(found, 4, axis=1)).all()


def test_what_a_decoder_without_weight_excludes_is_not_looked_at() -> None:
    one, two = TableDecoder(0), TableDecoder(1, (4,))
    found = one_step(*fused(one, two, weights=(1, 0)))
    assert found.tobytes() == (one.table[[START] * 3] + one.of_input[:3]).tobytes()
    assert not two.steps


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_beams": 4, "num_beam_groups": 2}])
def test_scores_without_normalising_are_the_sums_themselves(options: dict[str, Any], normalize: bool) -> None:
    one, two, weights = TableDecoder(0), TableDecoder(1), (1.0, 0.7)
    more = {"diversity_penalty": 1e-6} if "num_beam_groups" in options else {}
    config = GenerationConfig(decoder_start_token_id=START, eos_token_id=END, max_length=9).override(**options, **more)
    decoder, encoded = fused(one, two, weights=weights, normalize=normalize)
    found = search(decoder, encoded, config.prompt(3), config)
    for number, row in enumerate(found.sequences):
        total, count = 0.0, 0
        for last, token in itertools.pairwise(row):
            sums = np.zeros(VOCAB)
            for weight, each in zip(weights, (one, two), strict=True):
                logits = each.table[last].astype(np.float64) + each.of_input[number]
                sums += weight * (logits - np.log(np.exp(logits).sum()))
            total, count = total + sums[token] - normalize * np.log(np.exp(sums).sum()), count + 1
            if token == END:
                break
        assert found.sequences_scores[number] == pytest.approx(total / count, abs=1e-5)


def test_normalising_changes_which_beam_wins() -> None:
    """So it is a switch: with these tables another sequence wins."""
    config = GenerationConfig(decoder_start_token_id=START, eos_token_id=END, max_length=9, num_beams=3)
    said = []
    for normalize in (True, False):
        decoder, encoded = fused(TableDecoder(2), TableDecoder(1), weights=(1.0, 0.7), normalize=normalize)
        said.append(search(decoder, encoded, config.prompt(3), config).sequences.tolist())
    assert said[0] != said[1]


def test_batches_narrow_in_every_decoder() -> None:
    decoders = TableDecoder(3), TableDecoder(4)
    config = GenerationConfig(decoder_start_token_id=START, eos_token_id=END, max_length=20)
    decoder = FusedDecoder(decoders, (0.6, 0.4))
    whole = search(decoder, decoder.joined([Encoded(16, {})] * 2), config.prompt(16), config)
    assert decoders[0].steps == decoders[1].steps and min(decoders[0].steps) <= 8
    for each in decoders:
        each.steps.clear()
    kept = config.override(output_scores=True)  # which keeps all rows
    again = search(decoder, decoder.joined([Encoded(16, {})] * 2), kept.prompt(16), kept)
    assert set(decoders[0].steps) == {16}
    assert whole.sequences.tolist() == again.sequences.tolist()


def test_attentions_and_shares_are_those_of_the_first_that_is_stepped() -> None:
    decoders = [TableDecoder(seed) for seed in range(3)]
    decoder, encoded = fused(*decoders, weights=(0, 2, 1))
    state = decoder.start(encoded, 1, 8, attentions=True)
    assert decoder.attentions(state)[0, 0, 0, 0] == decoders[1].table[0, 0] == decoder.shares(state)[0, 0]


def test_fused_decoders_can_be_fused() -> None:
    tables = [TableDecoder(seed) for seed in range(3)]
    inner = FusedDecoder(tables[:2], (0.5, 0.5), normalize=False)
    outer = FusedDecoder([inner, tables[2]], (1.0, 2.0))
    encoded = outer.joined([inner.joined([Encoded(3, {})] * 2), Encoded(3, {})])
    right = one_step(*fused(*tables, weights=(0.5, 0.5, 2.0)))
    np.testing.assert_allclose(one_step(outer, encoded), right, atol=5e-6)


def test_a_step_that_failed_is_not_gone_on_with() -> None:
    decoder, encoded = fused(TableDecoder(0), TableDecoder(1), weights=(1, 1))
    state = decoder.start(encoded, 1, 8)
    with pytest.raises(IndexError):
        decoder.step(state, np.full((3, 1), VOCAB), None)
    with pytest.raises(InputError, match="start it again"):
        decoder.step(state, np.full((3, 1), START), None)


@pytest.mark.parametrize(
    ("weights", "rule", "sentence"),
    [
        ((1.0,), "log_linear", "2 finite numbers, one a model, not"),
        ((1.0, 1.0, 1.0), "log_linear", "2 finite numbers"),
        ((1.0, float("nan")), "log_linear", "2 finite numbers"),
        ((1.0, float("inf")), "linear", "2 finite numbers"),
        ((1.0, "a"), "log_linear", "2 finite numbers"),
        ((1.0, True), "log_linear", "2 finite numbers"),
        (None, "log_linear", "2 finite numbers"),
        ((0, 0), "log_linear", "all weights are 0"),
        ((1.5, -0.5), "linear", 'at least 0 with rule "linear", and one is -0.5'),
        ((1, 1), "geometric", "rule must be 'log_linear' or 'linear', not 'geometric'"),
        ((1, 1), ["linear"], "rule must be 'log_linear' or 'linear'"),
    ],
)
def test_other_weights_and_rules_are_refused(weights: Any, rule: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        FusedDecoder([TableDecoder(0), TableDecoder(1)], weights, rule)


def test_what_is_encoded_of_another_model_is_refused() -> None:
    decoder = FusedDecoder([TableDecoder(0), TableDecoder(1)], (1, 1))
    with pytest.raises(InputError, match="of another model"):
        decoder.start(Encoded(3, {}), 1, 8)
    with pytest.raises(InputError, match="as many inputs, not 3 and 2"):
        decoder.joined([Encoded(3, {}), Encoded(2, {})])
    with pytest.raises(InputError, match="normalize must be True or False"):
        FusedDecoder([TableDecoder(0)], (1,), normalize="yes")  # type: ignore[arg-type]
