"""The graphs of the layout `static`, whose sizes are all fixed: one input of R rows, one token a step, C positions.

An input of a call is one run of the encoder, and in each step one of the decoder; a prompt is read token by token. Rows
that a call does not have are computed for nobody. What the beam table says a mask tells the graph: which lines of the
cache a row reads. Dimensions are those of fuseline.graphs.decoder, and `L` = C x R.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..arrays import Float32, Int64
from ..errors import FolderError, InputError
from ..folders.tensors import (
    ATTENTION_MASK,
    CROSS,
    INPUT_IDS,
    INPUT_VALUES,
    LENGTHS,
    LOGITS,
    MASK,
    PAST,
    POSITION,
    PRESENT,
    SELF,
    SHARE,
    SOURCE_MASK,
    SOURCE_STARTS,
    WEIGHTS,
    DecoderSizes,
    Signature,
    Source,
    Tensor,
    is_cross_attention,
    kv_names,
    mismatches,
)
from .contract import Encoded, State, refuse_broken_off
from .encoder import Arrays, Encoder, positions_of_clip
from .running import Graph, fetched

if TYPE_CHECKING:
    from onnxruntime import OrtValue

_LOWEST = np.finfo(np.float32).min
_MADE = "`fuseline layouts` makes another with"


@dataclass
class _Input:
    """What one input of a call has: keys and values that were encoded, its caches, and where its positions lie."""

    read: dict[str, OrtValue]
    caches: dict[str, OrtValue]
    table_RC: Int64


class StaticState(State):
    """A state of several inputs, each with as many rows."""

    def __init__(self, inputs: list[_Input], beams: int, capacity: int) -> None:
        super().__init__(len(inputs) * beams, capacity)
        self.inputs, self.beams = inputs, beams
        self.shares: list[Float32] = []  # of each input, float32[beams, M]


class StaticDecoder:
    """The step contract over a decoder graph of fixed sizes."""

    def __init__(self, graph: Graph, found: Signature, sizes: DecoderSizes) -> None:
        """found: the tensors of the graph. Raises FolderError where they are not those of a static decoder."""
        self._graph, self._sizes = graph, sizes
        shapes = {tensor.name: tensor.shape for tensor in found.inputs}
        self._types = {tensor.name: tensor.type for tensor in found.inputs}
        first = kv_names(PAST, 0, SELF)[0]
        if not all(isinstance(size, int) for size in (*shapes.get(INPUT_IDS, "?"), *shapes.get(first, "?"))):
            raise FolderError(f"{graph.path} is no static decoder: its sizes are not fixed; make the layout anew")
        self.rows, self.capacity = int(shapes[INPUT_IDS][0]), int(shapes[first][0])
        self.positions = next((int(shapes[name][1]) for name in shapes if is_cross_attention(name)), 0)
        self.starts = _starts(graph, self.positions)
        problems = mismatches("graph", self._expected(shapes.keys()), found)
        if problems:
            raise FolderError(f"{graph.path} is no static decoder: {'; '.join(problems)}; make the layout anew")

    @property
    def _shares(self) -> list[str]:
        """The outputs that say how much each source gave."""
        return [SHARE.format(layer) for layer in range(self._sizes.layers if self.sources > 1 else 0)]

    @property
    def sources(self) -> int:
        """M."""
        return len(self.starts) - 1

    def _expected(self, found: Collection[str]) -> Signature:
        """found: the names of its inputs, some of which not every such graph has."""
        rows, capacity, sizes = self.rows, self.capacity, self._sizes

        def caches(time: str, owner: str, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
            names = [name for layer in range(sizes.layers) for name in kv_names(time, layer, owner)]
            return tuple(Tensor(name, "float32", shape) for name in names)

        cache = (capacity, rows, sizes.width)
        steering = [Tensor(INPUT_IDS, "int32", (rows, 1)), Tensor(POSITION, "int32", (1,))]
        steering.append(Tensor(MASK, "float32", (rows, capacity * rows)))
        if SOURCE_MASK in found:
            steering.append(Tensor(SOURCE_MASK, "float32", (1, self.positions)))
        elif self.sources > 1:
            steering.append(Tensor(LENGTHS, "int32", (1, self.sources)))
            steering.append(Tensor(WEIGHTS, "float32", (1, self.sources)))
        cross = caches(PAST, CROSS, (1, self.positions, sizes.width)) if self.positions else ()
        results = (Tensor(LOGITS, "float32", (rows, sizes.vocab_size)), *caches(PRESENT, SELF, cache))
        if self.sources > 1:
            share = (rows, sizes.heads, self.sources)
            results += tuple(Tensor(name, "float32", share) for name in self._shares)
        return Signature((*steering, *caches(PAST, SELF, cache), *cross), results)

    def start(self, encoded: Encoded, num_beams: int, max_length: int, *, attentions: bool = False) -> StaticState:
        """See Decoder.start. Raises InputError for more rows or positions than the graph has, and for attentions."""
        from onnxruntime import OrtValue

        if attentions:
            raise InputError("a static graph does not tell where it looked; leave output_attentions out, or use cpu")
        if not 1 <= num_beams <= self.rows:
            raise InputError(f"this static graph has {self.rows} rows and num_beams is {num_beams}; {_MADE} --rows")
        capacity = min(max_length, self._sizes.max_positions)
        if capacity > self.capacity:
            raise InputError(
                f"this static graph has room for {self.capacity} tokens and {capacity} may be asked for; lower "
                f"max_length, or {_MADE} --capacity"
            )
        nothing = {
            name: OrtValue.ortvalue_from_numpy(
                np.zeros((self.capacity, self.rows, self._sizes.width), self._types[name])
            )
            for layer in range(self._sizes.layers)
            for name in kv_names(PAST, layer, SELF)
        }
        table = np.tile(np.arange(self.rows)[:, None], (1, self.capacity))
        inputs = [_Input(self._of_input(encoded, row), dict(nothing), table.copy()) for row in range(encoded.batch)]
        return StaticState(inputs, num_beams, capacity)

    def _of_input(self, encoded: Encoded, row: int) -> dict[str, OrtValue]:
        """Keys and values of one input, each source's filled up to its positions, and which of these count."""
        from onnxruntime import OrtValue

        wanted = {name for name in self._types if is_cross_attention(name)}
        if encoded.values.keys() != wanted or (encoded.starts is not None) != (self.sources > 1):
            raise InputError(f"what is encoded is of another model: it holds {len(encoded.values)} keys and values")
        read: dict[str, OrtValue] = {}
        given = np.zeros(self.sources + 1, np.int64)
        for name, value in encoded.values.items():
            found = fetched(value)[row : row + 1]
            given = np.array([0, found.shape[1]]) if encoded.starts is None else encoded.starts
            self._check_room(np.diff(given))
            whole = np.zeros((1, self.positions, self._sizes.width), self._types[name])
            for (first, end), start in zip(pairwise(given), self.starts, strict=False):
                whole[:, start : start + end - first] = found[:, first:end]
            read[name] = OrtValue.ortvalue_from_numpy(whole)
        lengths_M = np.diff(given) if encoded.lengths is None else encoded.lengths[row]
        weights_M = np.ones(self.sources, np.float32) if encoded.weights is None else encoded.weights[row]
        steering: dict[str, npt.NDArray[Any]] = {
            SOURCE_MASK: self._mask_1S(lengths_M, weights_M),
            LENGTHS: lengths_M[None].astype(np.int32),
            WEIGHTS: np.ascontiguousarray(weights_M[None]),
        }
        told = {name: OrtValue.ortvalue_from_numpy(array) for name, array in steering.items() if name in self._types}
        return read | told

    def _check_room(self, lengths_M: Int64) -> None:
        """Raises InputError for more positions than the graph has, or fewer where it cannot leave any out."""
        room_M = np.diff(self.starts)
        if len(lengths_M) != self.sources:
            raise InputError("what is encoded is of another model: it has other sources")
        leaves_out = SOURCE_MASK in self._types or LENGTHS in self._types
        wrong = (lengths_M > room_M) | ((lengths_M < room_M) & (not leaves_out))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise InputError(
                f"this static graph reads {room_M[at]} encoder positions, not {lengths_M[at]}; {_MADE} --positions"
            )

    def _mask_1S(self, lengths_M: Int64, weights_M: Float32) -> Float32:
        """What is added to scores: the logarithm of a source's weight, and the lowest number where nothing is."""
        mask = np.full((1, self.positions), _LOWEST, np.float32)
        for start, length, weight in zip(self.starts, lengths_M, weights_M, strict=False):
            if weight > 0:
                mask[:, start : start + length] = np.log(weight)
        return mask

    def step(self, state: State, tokens: Int64, parents: Int64 | None) -> Float32:
        """See Decoder.step. Raises InputError when the cache has no room for T more positions."""
        assert isinstance(state, StaticState)  # one that start has made
        beams, (rows, length) = state.beams, tokens.shape
        if rows != state.rows or length < 1:
            raise InputError(f"tokens have shape {list(tokens.shape)}; for this state it must be [{state.rows}, T]")
        if state.position + length > state.capacity:
            raise InputError(
                f"the decoder's cache has room for {state.capacity} positions and {state.position} are taken, so "
                f"{length} more do not fit; ask for a larger max_length"
            )
        refuse_broken_off(state)
        state.stepping = True
        if parents is not None:
            for each, own in zip(state.inputs, parents.reshape(-1, beams) % beams, strict=True):
                each.table_RC[:beams, : state.position] = each.table_RC[own, : state.position]
        logits: list[Float32] = []
        state.shares = []
        for column in tokens.T:
            of_inputs = zip(state.inputs, column.reshape(-1, beams), strict=True)
            found = [self._run(each, own, state.position) for each, own in of_inputs]
            logits, state.shares = [each[0] for each in found], [each[1] for each in found]
            state.position += 1
        state.stepping = False
        return np.concatenate(logits)

    def _run(self, each: _Input, tokens: Int64, position: int) -> tuple[Float32, Float32]:
        """One token of one input's rows, int64[beams]. Returns their logits, float32[beams, V], and of several sources
        the shares, float32[beams, M]."""
        from onnxruntime import OrtValue

        ids = np.zeros((self.rows, 1), np.int32)
        ids[: len(tokens), 0] = tokens
        mask = np.full((self.rows, self.capacity, self.rows), _LOWEST, np.float32)
        own = np.arange(self.rows)[:, None]
        mask[own, np.arange(position + 1), each.table_RC[:, : position + 1]] = 0
        steering: dict[str, npt.NDArray[Any]] = {
            INPUT_IDS: ids,
            POSITION: np.array([position], np.int32),
            MASK: mask.reshape(self.rows, -1),
        }
        given = {name: OrtValue.ortvalue_from_numpy(array) for name, array in steering.items()}
        presents = [name.replace(PAST, PRESENT) for name in each.caches]
        outputs = [LOGITS, *presents, *self._shares]
        logits, *others = self._graph.run(outputs, given | each.read | each.caches, self.rows)
        each.caches = dict(zip(each.caches, others, strict=False))
        shares_LRHM = [fetched(share)[: len(tokens)] for share in others[len(presents) :]]
        mean: Float32 = np.mean(shares_LRHM, axis=(0, 2)) if shares_LRHM else np.zeros((0, 0), np.float32)
        found: Float32 = fetched(logits)[: len(tokens)]
        return found, mean

    def attentions(self, state: State) -> Float32:
        """See Decoder.attentions: there are none, which start has refused."""
        raise InputError("a static graph does not tell where it looked")

    def shares(self, state: State) -> Float32:
        """See Decoder.shares: the mean over layers and heads."""
        assert isinstance(state, StaticState)
        return np.concatenate(state.shares)

    def narrow(self, state: State, inputs: Int64) -> StaticState:
        """See Decoder.narrow. Nothing is copied."""
        assert isinstance(state, StaticState)
        narrow = StaticState([state.inputs[index] for index in inputs], state.beams, state.capacity)
        narrow.position = state.position
        return narrow


@dataclass(frozen=True)
class StaticEncoder(Encoder):
    """An encoder graph that reads one input of one size; a text or a clip is filled up to it."""

    def encode(self, given: Arrays) -> Encoded:
        """See Encoder.encode. Raises InputError for a text or clip that is too long."""
        from onnxruntime import OrtValue

        count = len(next(iter(given.values())))
        filled = [self._filled({name: array[[row]] for name, array in given.items()}) for row in range(count)]
        found = [self._run(each) for each in filled]
        values = {
            name: OrtValue.ortvalue_from_numpy(np.concatenate([fetched(each[name]) for each in found]))
            for name in self.outputs
        }
        mask = given.get(ATTENTION_MASK)
        lengths = None if mask is None else mask.sum(axis=1, keepdims=True)
        if INPUT_VALUES in given:
            lengths = positions_of_clip(lengths)
        return Encoded(len(found), values, lengths, input_ids=given.get(INPUT_IDS))

    def _filled(self, given: Arrays) -> Arrays:
        """Texts and samples as long as the graph has them; photos as they are."""
        if ATTENTION_MASK not in given:
            return given
        first = next(name for name in given if name != ATTENTION_MASK)
        most, length = self.inputs[first].shape[1], given[first].shape[1]
        assert isinstance(most, int)
        if length > most:
            what, of = ("clips", "samples") if first == INPUT_VALUES else ("texts", "tokens")
            raise InputError(f"this static graph reads {what} of {most} {of}, not {length}; {_MADE} --positions")
        return {name: np.pad(array, ((0, 0), (0, most - length))) for name, array in given.items()}


def _starts(graph: Graph, positions: int) -> tuple[int, ...]:
    """Where each source's positions begin, and how many there are. Raises FolderError for what is no such thing."""
    written = graph.session.get_modelmeta().custom_metadata_map.get(SOURCE_STARTS, f"0,{positions}")
    starts = tuple(int(each) if re.fullmatch(r"\d{1,9}", each) else -1 for each in written.split(","))
    if len(starts) < 2 or starts[0] != 0 or starts[-1] != positions or any(a > b for a, b in pairwise(starts)):
        raise FolderError(f"{graph.path} is no static decoder: its sources do not fit; make the layout anew")
    return starts


def static_encoder(graph: Graph, source: Source, found: Signature) -> StaticEncoder:
    """The encoder of a graph with these tensors. Raises FolderError where it reads something else than one input."""
    if sorted(each.name for each in found.inputs) != sorted(source.inputs) or any(
        not all(isinstance(size, int) for size in each.shape) or each.shape[:1] != (1,) for each in found.inputs
    ):
        raise FolderError(f"{graph.path} is no static encoder of {', '.join(source.inputs)}; make the layout anew")
    inputs = {each.name: replace(each, shape=("B", *each.shape[1:])) for each in found.inputs}
    return StaticEncoder(graph, source, inputs, [each.name for each in found.outputs])
