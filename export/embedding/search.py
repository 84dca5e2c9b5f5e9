"""One step of a search in standard operators: the answer of fuseline.search for the same options.

Search without beams is beam search with one that ends as soon as its sequence does, over logits in the place of
log-probabilities. Dimensions: `B` inputs of a call, `N` num_beams, `R` rows = B x N (rows of one input together), `K`
candidates of an input, `L` tokens of the longest sequence, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from onnx import TensorProto

import fuseline.export.embedding.state as carried

from .nodes import Nodes, Value
from .processors import Lengths, processed
from .state import OUT_OF_REACH

NEVER_STOPS_EARLY = 2  # early_stopping="never", as a number; False is 0, True is 1
LARGEST = float(np.finfo(np.float32).max)

_SCORES = Value(TensorProto.FLOAT, ["R", "V"])


class Candidates(NamedTuple):
    """Continuations of each input's sequences, best first."""

    scores: str  # float32[B, K], sums of log-probabilities
    tokens: str  # int64[B, K]
    rows: str  # int64[B, K], the row that is continued


class Ending(NamedTuple):
    """When sequences end. length: tokens that they have with the next; divisor: of their scores then; at_most: of those
    of the longest sequence."""

    length: str
    divisor: str
    at_most: str


def advanced(
    g: Nodes, logits_RV: str, state: Mapping[str, str], prompt_length: str, options: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """The state after a step, without the caches, and whether the search is over, a bool without dimensions."""
    with g.scope("search"):
        greedy = g.op("Equal", g.size(state[carried.SCORES], 1), g.whole(1))
        lengths = Lengths(prompt_length, g.size(state[carried.HISTORY], 1))
        found = _candidates(g, logits_RV, state, greedy, lengths, options)
        ending = _ending(g, state, prompt_length, options)
        ends_BK = _ends(g, found, ending, state, options)
        finished, finished_scores = _collected(g, found, ends_BK, ending, state)
        chosen = _still_open(g, found, ends_BK, state)
        closed = _closed(g, chosen, finished_scores, ending, greedy, state, options)
        stuck = g.op("Or", ends_BK, g.op("Unsqueeze", closed, g.ints(1)))  # nothing goes on
        after = _gone_on(g, chosen, ending, state) | {
            carried.FINISHED: finished,
            carried.FINISHED_SCORES: finished_scores,
            carried.CLOSED: closed,
        }
        return after, g.all(stuck)


def _candidates(
    g: Nodes, logits_RV: str, state: Mapping[str, str], greedy: str, lengths: Lengths, options: Mapping[str, str]
) -> Candidates:
    """The best that may come next. Without beams processors see logits, with them log-probabilities."""
    scores_RV = _normalized_unless(g, greedy, logits_RV)
    sequences = g.op("Slice", state[carried.HISTORY], g.ints(0), g.one(state[carried.LENGTH]), g.ints(1))
    scores_RV = processed(g, scores_RV, sequences, lengths, options)
    scores_RV = _normalized_unless(g, g.op("Not", greedy), scores_RV)
    batch, beams = g.sizes(state[carried.SCORES], 0), g.sizes(state[carried.SCORES], 1)
    vocabulary = g.size(logits_RV, 1)
    sums_RV = g.op("Add", scores_RV, g.op("Reshape", state[carried.SCORES], g.ints(-1, 1)))
    sums = g.op("Reshape", sums_RV, g.joined(batch, g.ints(-1)))
    ends = g.op("Add", g.sizes(options["eos_token_id"], 0), g.ints(1))
    keep = g.op("Min", g.op("Mul", g.op("Max", ends, g.ints(2)), beams), g.sizes(sums, 1))
    best, places = g.ops("TopK", sums, keep, names=("", ""), axis=1)
    return Candidates(
        best, g.op("Mod", places, vocabulary), g.op("Add", g.op("Div", places, vocabulary), _first_rows(g, state))
    )


def _normalized_unless(g: Nodes, condition: str, scores_RV: str) -> str:
    """The logarithm of the softmax, or the scores as they are."""
    normalized = g.choice(
        condition, lambda inner: [scores_RV], lambda inner: [inner.op("LogSoftmax", scores_RV)], [_SCORES]
    )
    return normalized[0]


def _first_rows(g: Nodes, state: Mapping[str, str]) -> str:
    """The first row of each input, int64[B, 1]."""
    batch, beams = (g.size(state[carried.SCORES], axis) for axis in (0, 1))
    return g.op("Unsqueeze", g.op("Mul", g.counted(batch), beams), g.ints(1))


def _ending(g: Nodes, state: Mapping[str, str], prompt_length: str, options: Mapping[str, str]) -> Ending:
    """Where a power of the lengths is no number of float32, a run fails."""
    length = g.op("Add", state[carried.LENGTH], g.whole(1))
    at_most = divisor(g, g.op("Sub", g.size(state[carried.HISTORY], 1), prompt_length), options)
    fits = g.op("And", g.op("Greater", at_most, g.number(0)), g.op("LessOrEqual", at_most, g.number(LARGEST)))
    length = g.checked(length, fits, "length_penalty is too far from 0 for sequences of this max_length")
    return Ending(length, divisor(g, g.op("Sub", length, prompt_length), options), at_most)


def divisor(g: Nodes, new_tokens: str, options: Mapping[str, str]) -> str:
    """What the score of so many generated tokens is divided by, float32; of none it is 1."""
    count = g.cast(g.op("Max", new_tokens, g.whole(1)), TensorProto.DOUBLE)
    power = g.op("Pow", count, g.cast(options["length_penalty"], TensorProto.DOUBLE))
    return g.cast(power, TensorProto.FLOAT)


def _ends(g: Nodes, found: Candidates, ending: Ending, state: Mapping[str, str], options: Mapping[str, str]) -> str:
    """bool[B, K]: which candidates end, by their token or their length."""
    each = g.op("Equal", g.op("Unsqueeze", found.tokens, g.ints(2)), options["eos_token_id"])
    any_end = g.op("ReduceMax", g.cast(each, TensorProto.INT32), g.ints(2), keepdims=0)
    at_longest = g.op("Equal", ending.length, g.size(state[carried.HISTORY], 1))
    return g.op("Or", g.cast(any_end, TensorProto.BOOL), at_longest)


def _collected(g: Nodes, found: Candidates, ends_BK: str, ending: Ending, state: Mapping[str, str]) -> tuple[str, str]:
    """The best that have ended, with those among the first N candidates that end now, and their scores."""
    with g.scope("finished"):
        first = [_first(g, each, state) for each in (*found, ends_BK)]
        scores, tokens, rows, ends = first
        scores = g.op("Div", scores, ending.divisor)
        counts = g.op("And", ends, g.op("Not", g.op("Unsqueeze", state[carried.CLOSED], g.ints(1))))
        scores = g.op("Where", counts, scores, g.number(OUT_OF_REACH))
        return merged(g, state, _with_token(g, rows, tokens, state), scores)


def _first(g: Nodes, values_BK: str, state: Mapping[str, str]) -> str:
    """Those of the first N candidates, [B, N]."""
    return g.op("Slice", values_BK, g.ints(0), g.sizes(state[carried.SCORES], 1), g.ints(1))


def _with_token(g: Nodes, rows_BN: str, tokens_BN: str, state: Mapping[str, str]) -> str:
    """The open sequences in these rows with a token more, int64[B, N, L]."""
    sequences = g.op("Gather", state[carried.HISTORY], rows_BN)
    here = g.op("Equal", g.counted(g.size(state[carried.HISTORY], 1)), state[carried.LENGTH])
    return g.op("Where", here, g.op("Unsqueeze", tokens_BN, g.ints(2)), sequences)


def merged(g: Nodes, state: Mapping[str, str], sequences_BNL: str, scores_BN: str) -> tuple[str, str]:
    """The N best of each input, of those that have ended and some more; of equal ones the older."""
    scores = g.joined(state[carried.FINISHED_SCORES], scores_BN, axis=1)
    sequences = g.joined(state[carried.FINISHED], sequences_BNL, axis=1)
    best, places = g.ops("TopK", scores, g.sizes(scores_BN, 1), names=("", ""), axis=1)
    batch, offered = g.size(scores, 0), g.size(scores, 1)
    flat = g.op("Reshape", sequences, g.joined(g.ints(-1), g.sizes(sequences, 2)))
    places = g.op("Add", places, g.op("Unsqueeze", g.op("Mul", g.counted(batch), offered), g.ints(1)))
    return g.op("Gather", flat, places), best


def _still_open(g: Nodes, found: Candidates, ends_BK: str, state: Mapping[str, str]) -> Candidates:
    """The best N candidates of each input, those that end out of reach: they stay only for want of others."""
    reachable = g.op("Add", found.scores, g.op("Where", ends_BK, g.number(OUT_OF_REACH), g.number(0)))
    best, places = g.ops("TopK", reachable, g.sizes(state[carried.SCORES], 1), names=("", ""), axis=1)
    tokens, rows = (g.op("GatherElements", each, places, axis=1) for each in (found.tokens, found.rows))
    return Candidates(best, tokens, rows)


def _closed(
    g: Nodes,
    chosen: Candidates,
    finished_scores: str,
    ending: Ending,
    greedy: str,
    state: Mapping[str, str],
    options: Mapping[str, str],
) -> str:
    """bool[B]: where no open sequence may beat the worst that has ended, or, stopping early, as many have as there are
    beams."""
    early = options["early_stopping"]
    favours_long = g.op("Greater", options["length_penalty"], g.number(0))
    hopeful = g.op("And", g.op("Equal", early, g.whole(NEVER_STOPS_EARLY)), favours_long)
    possible = g.op("Div", _column(g, chosen.scores, 0), g.op("Where", hopeful, ending.at_most, ending.divisor))
    worst = _column(g, finished_scores, -1)
    full = g.op("Greater", worst, g.number(OUT_OF_REACH))
    stops = g.op("Or", greedy, g.op("Equal", early, g.whole(1)))
    settled = g.op("Or", g.op("And", full, stops), g.op("Not", g.op("Greater", possible, worst)))
    return g.op("Or", state[carried.CLOSED], settled)


def _column(g: Nodes, values: str, place: int) -> str:
    """[B, n] -> [B]."""
    return g.op("Gather", values, g.whole(place), axis=1)


def _gone_on(g: Nodes, chosen: Candidates, ending: Ending, state: Mapping[str, str]) -> dict[str, str]:
    """The open sequences with the chosen candidates as their last tokens."""
    history = g.op("Reshape", _with_token(g, chosen.rows, chosen.tokens, state), g.op("Shape", state[carried.HISTORY]))
    table, parents = state[carried.BEAM_TABLE], g.op("Reshape", chosen.rows, g.ints(-1))
    written = g.op("Less", g.counted(g.size(table, 1)), state[carried.LENGTH])  # the positions that the caches hold now
    own_rows = g.op("Unsqueeze", g.counted(g.size(table, 0)), g.ints(1))
    return {
        carried.TOKENS: g.op("Reshape", chosen.tokens, g.ints(-1, 1)),
        carried.HISTORY: history,
        carried.SCORES: chosen.scores,
        carried.BEAM_TABLE: g.op("Where", written, g.op("Gather", table, parents), own_rows),
        carried.LENGTH: ending.length,
    }
