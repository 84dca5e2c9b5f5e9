"""The best sequences of a search, whether it is over or given up between two steps, as Model.generate returns them.

Dimensions: `B` inputs of a call, `N` num_beams, `n` num_return_sequences, `L` tokens of the longest sequence.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

import fuseline.export.embedding.state as carried

from .nodes import Nodes, Value
from .search import divisor, merged
from .state import NOTHING, OUT_OF_REACH

_SCORES = Value(TensorProto.FLOAT, ["B", "N"])
_SEQUENCES = Value(TensorProto.INT64, ["B", "N", "L"])


def found(
    g: Nodes,
    state: Mapping[str, str],
    over: str,
    prompt_length: str,
    options: Mapping[str, str],
    pad: int | None,
) -> tuple[str, str]:
    """sequences int64[B x n, tokens of the longest of them] and scores float32[B x n], those of an input together.

    over: whether nothing is open any more, a bool without dimensions; pad: the model's pad token.
    """
    with g.scope("found"):
        sequences, scores = _with_open(g, state, over, prompt_length, options)
        returned = _returned(g, state, options)
        sequences, scores = (g.op("Slice", each, g.ints(0), g.one(returned), g.ints(1)) for each in (sequences, scores))
        sequences = _prompts_where_nothing(g, sequences, scores, prompt_length, state)
        sequences = g.op("Reshape", sequences, g.joined(g.ints(-1), g.sizes(sequences, 2)))
        there = g.op("GreaterOrEqual", sequences, g.whole(0))
        lengths = g.op("ReduceSum", g.cast(there, TensorProto.INT64), g.ints(1), keepdims=0)
        longest = g.op("ReduceMax", lengths, keepdims=1)
        filled = g.op("Where", there, sequences, _filling(g, state, options, pad))
        return g.op("Slice", filled, g.ints(0), longest, g.ints(1)), g.op("Reshape", scores, g.ints(-1))


def _with_open(
    g: Nodes, state: Mapping[str, str], over: str, prompt_length: str, options: Mapping[str, str]
) -> tuple[str, str]:
    """What has ended, with the open sequences of the inputs that are not closed, as if they ended here."""

    def open_too(g: Nodes) -> tuple[str, str]:
        new = g.op("Sub", state[carried.LENGTH], prompt_length)
        scores = g.op("Div", state[carried.SCORES], divisor(g, new, options))
        closed = g.op("Unsqueeze", state[carried.CLOSED], g.ints(1))
        scores = g.op("Where", closed, g.number(OUT_OF_REACH), scores)
        sequences = g.op("Reshape", state[carried.HISTORY], g.op("Shape", state[carried.FINISHED]))
        return merged(g, state, sequences, scores)

    ended = state[carried.FINISHED], state[carried.FINISHED_SCORES]
    sequences, scores = g.choice(over, lambda inner: ended, open_too, [_SEQUENCES, _SCORES])
    return sequences, scores


def _filling(g: Nodes, state: Mapping[str, str], options: Mapping[str, str], pad: int | None) -> str:
    """What stands after a sequence's end, int64 without dimensions: the pad token, or else the first end token; with
    beams transformers takes a pad token of 0 for none."""
    end = g.op("Gather", options["eos_token_id"], g.whole(0))
    if pad is None:
        return end
    if pad != 0:
        return g.whole(pad)
    return g.op("Where", g.op("Equal", g.size(state[carried.SCORES], 1), g.whole(1)), g.whole(pad), end)


def _returned(g: Nodes, state: Mapping[str, str], options: Mapping[str, str]) -> str:
    """num_return_sequences, int64 without dimensions, of which there must be as many beams."""
    count, beams = options["num_return_sequences"], g.size(state[carried.SCORES], 1)
    fits = g.op("And", g.op("Greater", count, g.whole(0)), g.op("LessOrEqual", count, beams))
    return g.checked(count, fits, "num_return_sequences must be at least 1, and at most num_beams")


def _prompts_where_nothing(g: Nodes, sequences: str, scores: str, prompt_length: str, state: Mapping[str, str]) -> str:
    """The prompt alone in the place of a sequence that there is not. The history of any row begins with it."""
    beams, longest = g.sizes(state[carried.SCORES], 1), g.sizes(state[carried.HISTORY], 1)
    histories = g.op("Reshape", state[carried.HISTORY], g.joined(g.ints(-1), beams, longest))
    first = g.op("Slice", histories, g.ints(0), g.ints(1), g.ints(1))
    in_prompt = g.op("Less", g.counted(g.op("Squeeze", longest)), prompt_length)
    prompt = g.op("Where", in_prompt, first, g.scalar(NOTHING, np.int64))
    there = g.op("Unsqueeze", g.op("Greater", scores, g.number(OUT_OF_REACH)), g.ints(2))
    return g.op("Where", there, sequences, prompt)
