"""What a search carries from step to step, as tensors: the one list of them, and what it begins with.

Dimensions: `B` inputs of a call, `R` rows = B x num_beams (rows of one input together), `T` tokens of this step, `L`
tokens of the longest sequence, `C` cache capacity, `E` width of the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from fuseline.folders.tensors import PAST, SELF, DecoderSizes, kv_names

from .nodes import Nodes, Value

OUT_OF_REACH = -1e9  # the score of what can never be said
NOTHING = -1  # in the place of a token that a sequence does not have

TOKENS, HISTORY, SCORES, BEAM_TABLE, LENGTH = "tokens", "history", "scores", "beam_table", "length"
FINISHED, FINISHED_SCORES, CLOSED = "finished_sequences", "finished_scores", "closed"
PROMPT_LENGTH = "prompt_length"

Values = Mapping[str, str]  # the names of values in a graph, by what they are


def values_of(sizes: DecoderSizes) -> dict[str, Value]:
    """Every tensor of the state.

    tokens: what the decoder is to see next; history: open sequences, -1 where they have no token yet; scores: sums of
    their log-probabilities; beam_table: see the step contract; length: tokens that the open sequences have;
    finished_sequences, finished_scores: the best that have ended, best first, out of reach where there are fewer;
    closed: the inputs for which nothing better is awaited. The others are the decoder's caches.
    """
    state = {
        TOKENS: Value(TensorProto.INT64, ["R", "T"]),
        HISTORY: Value(TensorProto.INT64, ["R", "L"]),
        SCORES: Value(TensorProto.FLOAT, ["B", "num_beams"]),
        BEAM_TABLE: Value(TensorProto.INT64, ["R", "C"]),
        LENGTH: Value(TensorProto.INT64, []),
        FINISHED: Value(TensorProto.INT64, ["B", "num_beams", "L"]),
        FINISHED_SCORES: Value(TensorProto.FLOAT, ["B", "num_beams"]),
        CLOSED: Value(TensorProto.BOOL, ["B"]),
    }
    return state | {name: Value(TensorProto.FLOAT, ["C", "R", sizes.width]) for name in caches_of(sizes)}


def caches_of(sizes: DecoderSizes) -> list[str]:
    """The names of the caches of self-attention."""
    return [name for layer in range(sizes.layers) for name in kv_names(PAST, layer, SELF)]


@dataclass(frozen=True)
class Call:
    """What a call asks for, as values. batch, num_beams, max_length: int64 without dimensions; prompt: int64[B, T], or
    int64[1, T] for all."""

    batch: str
    num_beams: str
    max_length: str
    prompt: str


def capacity(g: Nodes, longest: str, sizes: DecoderSizes) -> str:
    """The positions that a search of sequences of so many tokens may need."""
    return g.op("Min", longest, g.whole(sizes.max_positions))


def begin(g: Nodes, call: Call, sizes: DecoderSizes, room: int | None = None) -> dict[str, str]:
    """The state before the first step. room: for how many positions after the prompt there is memory at first, those
    of the longest sequence where it is None."""
    with g.scope("begin"):
        rows = g.op("Mul", call.batch, call.num_beams)
        shape_BN = g.joined(g.one(call.batch), g.one(call.num_beams))
        tokens = _repeated(g, call, rows)
        start = g.size(call.prompt, 1)
        longest = _longest(g, call.max_length, start, sizes)
        positions = capacity(g, longest, sizes)
        if room is not None:
            positions = g.op("Min", positions, g.op("Add", start, g.whole(room)))
        empty = g.filled(g.joined(g.one(rows), g.one(g.op("Sub", longest, start))), np.array(NOTHING, np.int64))
        # The beams of an input all begin with the same prompt, so all but the first begin out of reach.
        first = g.op("Equal", g.counted(call.num_beams), g.whole(0))
        scores = g.op("Where", first, g.number(0), g.number(OUT_OF_REACH))
        own_rows = g.op("Reshape", g.counted(rows), g.ints(-1, 1))
        cache_shape = g.joined(g.one(positions), g.one(rows), g.ints(sizes.width))
        state = {
            TOKENS: tokens,
            HISTORY: g.joined(tokens, empty, axis=1),
            SCORES: g.op("Expand", scores, shape_BN),
            BEAM_TABLE: g.op("Expand", own_rows, g.joined(g.ints(1), g.one(positions))),
            LENGTH: start,
            FINISHED: g.filled(g.joined(shape_BN, g.one(longest)), np.array(NOTHING, np.int64)),
            FINISHED_SCORES: g.filled(shape_BN, np.array(OUT_OF_REACH, np.float32)),
            CLOSED: g.cast(g.filled(g.one(call.batch), np.array(0, np.int64)), TensorProto.BOOL),
        }
        return state | {name: g.filled(cache_shape, np.array(0, np.float32)) for name in caches_of(sizes)}


def with_room(g: Nodes, state: Values, more: str, sizes: DecoderSizes) -> dict[str, str]:
    """What has a position each, with so many more of them, int64 without dimensions."""
    with g.scope("room"):
        rows = g.sizes(state[BEAM_TABLE], 0)
        own_rows = g.op("Reshape", g.counted(g.op("Squeeze", rows)), g.ints(-1, 1))
        table = g.op("Expand", own_rows, g.joined(rows, g.one(more)))
        empty = g.filled(g.joined(g.one(more), rows, g.ints(sizes.width)), np.array(0, np.float32))
        larger = {name: g.joined(state[name], empty) for name in caches_of(sizes)}
        return larger | {BEAM_TABLE: g.joined(state[BEAM_TABLE], table, axis=1)}


def _repeated(g: Nodes, call: Call, rows: str) -> str:
    """The prompt once for every row, int64[R, T]; one that is given once is that of all inputs."""
    each = g.op("Unsqueeze", call.prompt, g.ints(1))
    wide = g.op("Expand", each, g.joined(g.one(call.batch), g.one(call.num_beams), g.ints(1)))
    return g.op("Reshape", wide, g.joined(g.one(rows), g.sizes(call.prompt, 1)))


def _longest(g: Nodes, max_length: str, start: str, sizes: DecoderSizes) -> str:
    most = sizes.max_positions + 1
    fits = g.op("And", g.op("Greater", max_length, start), g.op("LessOrEqual", max_length, g.whole(most)))
    return g.checked(max_length, fits, f"max_length must be more than the prompt has, and at most {most}")
