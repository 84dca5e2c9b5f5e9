"""What changes the scores of the next token, as in fuseline.generation.processors, in standard operators.

Dimensions: `R` rows, `T` tokens so far, prompt included, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from .nodes import Nodes, Value

_SCORES = Value(TensorProto.FLOAT, ["R", "V"])


NO_TOKEN = -1  # in the place of a token that is forced


class Lengths(NamedTuple):
    """Of the prompt, and of the longest sequence, in tokens."""

    prompt: str
    longest: str


def processed(g: Nodes, scores_RV: str, sequences_RT: str, lengths: Lengths, options: Mapping[str, str]) -> str:
    """The scores after all processors, in transformers' order."""
    penalty, size, length = options["repetition_penalty"], options["no_repeat_ngram_size"], g.size(sequences_RT, 1)
    penalised = g.op("Not", g.op("Equal", penalty, g.number(1)))
    no_repeats = g.op("And", g.op("Greater", size, g.whole(0)), g.op("GreaterOrEqual", length, size))
    last = g.op("Sub", lengths.longest, g.whole(1))
    begins = g.op("Or", g.op("Less", length, options["min_length"]), g.op("Equal", length, g.whole(1)))
    ends = g.op("Or", begins, g.op("Equal", length, last))

    def process(g: Nodes) -> str:
        scores = _repetition_penalty(g, scores_RV, sequences_RT, penalised, options)
        scores = _no_repeat_ngrams(g, scores, sequences_RT, no_repeats, options)
        return _at_the_ends(g, scores, sequences_RT, last, ends, options)

    # Most steps do none of it, and look once: a graph that is left out costs a copy of the scores.
    some = g.op("Or", g.op("Or", penalised, no_repeats), ends)
    return _suppressed(g, _where_wanted(g, some, scores_RV, process), sequences_RT, lengths.prompt, options)


def _at_the_ends(
    g: Nodes, scores_RV: str, sequences_RT: str, last: str, wanted: str, options: Mapping[str, str]
) -> str:
    """What is done to the first tokens of a sequence, and to the last."""
    forced = (("forced_bos_token_id", g.whole(1)), ("forced_eos_token_id", last))

    def process(g: Nodes) -> str:
        scores = _min_length(g, scores_RV, sequences_RT, options)
        for name, after in forced:
            scores = _forced(g, scores, sequences_RT, options[name], after, name)
        return scores

    return _where_wanted(g, wanted, scores_RV, process)


def _where_wanted(g: Nodes, wanted: str, scores_RV: str, process: Callable[[Nodes], str]) -> str:
    """The scores, processed where that is wanted at all."""
    return g.choice(wanted, lambda inner: [process(inner)], lambda inner: [scores_RV], [_SCORES])[0]


def _repetition_penalty(g: Nodes, scores_RV: str, sequences_RT: str, wanted: str, options: Mapping[str, str]) -> str:
    """Positive scores of tokens that are there already over the penalty, negative ones times it."""
    penalty = options["repetition_penalty"]

    def process(g: Nodes) -> str:
        there = g.op("GatherElements", scores_RV, sequences_RT, axis=1)
        negative = g.op("Less", there, g.number(0))
        penalised = g.op("Where", negative, g.op("Mul", there, penalty), g.op("Div", there, penalty))
        return g.op("ScatterElements", scores_RV, sequences_RT, penalised, axis=1)

    with g.scope("repetition_penalty"):
        return _where_wanted(g, wanted, scores_RV, process)


def _no_repeat_ngrams(g: Nodes, scores_RV: str, sequences_RT: str, wanted: str, options: Mapping[str, str]) -> str:
    """What followed the last n - 1 tokens before is out of reach."""
    size, length = options["no_repeat_ngram_size"], g.size(sequences_RT, 1)

    def process(g: Nodes) -> str:
        before = g.op("Sub", size, g.whole(1))
        windows = g.op("Sub", length, before)  # of n tokens each
        places = g.op("Add", g.op("Unsqueeze", g.counted(windows), g.ints(1)), g.counted(before))
        earlier = g.op("Gather", sequences_RT, places, axis=1)  # [R, windows, n - 1]
        end, last_from = g.one(length), g.one(windows)
        last = g.op("Unsqueeze", g.op("Slice", sequences_RT, last_from, end, g.ints(1)), g.ints(1))
        differing = g.cast(g.op("Not", g.op("Equal", earlier, last)), TensorProto.INT64)
        same = g.op("Equal", g.op("ReduceSum", differing, g.ints(2), keepdims=0), g.whole(0))
        followers = g.op("Slice", sequences_RT, g.one(before), end, g.ints(1))
        bound = g.op("Where", same, g.number(-np.inf), g.number(np.inf))
        return g.op("ScatterElements", scores_RV, followers, bound, axis=1, reduction="min")

    with g.scope("no_repeat_ngram_size"):
        return _where_wanted(g, wanted, scores_RV, process)


def _min_length(g: Nodes, scores_RV: str, sequences_RT: str, options: Mapping[str, str]) -> str:
    """No end before so many tokens, prompt included."""
    ends, length = options["eos_token_id"], g.size(sequences_RT, 1)

    def process(g: Nodes) -> str:
        return _without(g, scores_RV, ends)

    with g.scope("min_length"):
        return _where_wanted(g, g.op("Less", length, options["min_length"]), scores_RV, process)


def _suppressed(g: Nodes, scores_RV: str, sequences_RT: str, prompt_length: str, options: Mapping[str, str]) -> str:
    """Never these tokens, and never those first: after the prompt, and a token that is forced after one of a token."""
    always, first = (options.get(name) for name in ("suppress_tokens", "begin_suppress_tokens"))
    if first is None:
        return scores_RV if always is None else _without(g, scores_RV, always)
    with g.scope("suppress_tokens"):
        forced = g.op("Greater", options["forced_bos_token_id"], g.whole(NO_TOKEN))
        alone = g.op("Equal", prompt_length, g.whole(1))
        begin = g.op("Add", prompt_length, g.cast(g.op("And", forced, alone), TensorProto.INT64))
        now = g.op("Equal", g.size(sequences_RT, 1), begin)
        count = g.op("Mul", g.cast(now, TensorProto.INT64), g.size(first, 0))
        tokens = g.op("Slice", first, g.ints(0), g.one(count))
        return _without(g, scores_RV, tokens if always is None else g.joined(always, tokens))


def _without(g: Nodes, scores_RV: str, tokens: str) -> str:
    """These tokens, int64[n], out of reach."""
    places = g.op("Expand", g.op("Unsqueeze", tokens, g.ints(0)), g.joined(g.sizes(scores_RV, 0), g.ints(1)))
    never = g.op("Expand", g.number(-np.inf), g.op("Shape", places))
    return g.op("ScatterElements", scores_RV, places, never, axis=1)


def _forced(g: Nodes, scores_RV: str, sequences_RT: str, token: str, after: str, name: str) -> str:
    """After so many tokens only this one, with score 0."""

    def process(g: Nodes) -> str:
        here = g.op("Equal", g.counted(g.size(scores_RV, 1)), token)
        return g.op("Expand", g.op("Where", here, g.number(0), g.number(-np.inf)), g.op("Shape", scores_RV))

    with g.scope(name):
        now = g.op("Equal", g.size(sequences_RT, 1), after)
        wanted = g.op("And", now, g.op("Greater", token, g.whole(NO_TOKEN)))
        return _where_wanted(g, wanted, scores_RV, process)
