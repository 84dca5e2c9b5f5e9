"""The graphs of the layout `static`, whose sizes are all fixed: one input of R rows, one token a step, C positions.

An input of a call is one run of the encoder, and in each step one of the decoder; a prompt is read token by token. Rows
that a call does not have are computed for nobody. What the beam table says a mask tells the graph: which lines of the
cache a row reads. Dimensions are those of fuseline.graphs.decoder, and `L` = C x R.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..arrays import Float32, Int64
from ..errors import FolderError, InputError
from ..folders.tensors import (
    ATTENTION_MASK,
    CROSS,
    INPUT_IDS,
    LOGITS,
    MASK,
    PAST,
    POSITION,
    PRESENT,
    SELF,
    SOURCE_MASK,
    DecoderSizes,
    Signature,
    Source,
    Tensor,
    is_cross_attention,
    kv_names,
    mismatches,
)
from .contract import Encoded, State, refuse_broken_off
from .encoder import Arrays, Encoder
from .running import Graph

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
        problems = mismatches("graph", self._expected(SOURCE_MASK in shapes), found)
        if problems:
            raise FolderError(f"{graph.path} is no static decoder: {'; '.join(problems)}; make the layout anew")

    def _expected(self, padded: bool) -> Signature:
        rows, capacity, sizes = self.rows, self.capacity, self._sizes

        def caches(time: str, owner: str, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
            names = [name for layer in range(sizes.layers) for name in kv_names(time, layer, owner)]
            return tuple(Tensor(name, "float32", shape) for name in names)

        cache = (capacity, rows, sizes.width)
        steering = [Tensor(INPUT_IDS, "int32", (rows, 1)), Tensor(POSITION, "int32", (1,))]
        steering.append(Tensor(MASK, "float32", (rows, capacity * rows)))
        if padded:
            steering.append(Tensor(SOURCE_MASK, "float32", (1, self.positions)))
        cross = caches(PAST, CROSS, (1, self.positions, sizes.width)) if self.positions else ()
        results = (Tensor(LOGITS, "float32", (rows, sizes.vocab_size)), *caches(PRESENT, SELF, cache))
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
        """Keys and values of one input, filled up to S positions, and which of these count."""
        from onnxruntime import OrtValue

        wanted = {name for name in self._types if is_cross_attention(name)}
        if encoded.values.keys() != wanted:
            raise InputError(f"what is encoded is of another model: it holds {len(encoded.values)} keys and values")
        read: dict[str, OrtValue] = {}
        length = 0
        for name, value in encoded.values.items():
            found = value.numpy()[row : row + 1]
            length = found.shape[1]
            if length > self.positions or (length < self.positions and SOURCE_MASK not in self._types):
                raise InputError(
                    f"this static graph reads {self.positions} encoder positions, not {length}; {_MADE} --positions"
                )
            whole = np.zeros((1, self.positions, self._sizes.width), self._types[name])
            whole[:, :length] = found
            read[name] = OrtValue.ortvalue_from_numpy(whole)
        if SOURCE_MASK in self._types:
            count = length if encoded.lengths is None else int(encoded.lengths[row, 0])
            mask = np.where(np.arange(self.positions) < count, np.float32(0), _LOWEST)[None]
            read[SOURCE_MASK] = OrtValue.ortvalue_from_numpy(mask)
        return read

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
        for column in tokens.T:
            of_inputs = zip(state.inputs, column.reshape(-1, beams), strict=True)
            logits = [self._run(each, own, state.position) for each, own in of_inputs]
            state.position += 1
        state.stepping = False
        return np.concatenate(logits)

    def _run(self, each: _Input, tokens: Int64, position: int) -> Float32:
        """One token of one input's rows, int64[beams]. Returns their logits, float32[beams, V]."""
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
        logits, *caches = self._graph.run([LOGITS, *presents], given | each.read | each.caches, self.rows)
        each.caches = dict(zip(each.caches, caches, strict=True))
        found: Float32 = logits.numpy()[: len(tokens)]
        return found

    def attentions(self, state: State) -> Float32:
        """See Decoder.attentions: there are none, which start has refused."""
        raise InputError("a static graph does not tell where it looked")

    def shares(self, state: State) -> Float32:
        """See Decoder.shares: a static graph has one source."""
        raise InputError("a static graph has one source, so there are no shares")

    def narrow(self, state: State, inputs: Int64) -> StaticState:
        """See Decoder.narrow. Nothing is copied."""
        assert isinstance(state, StaticState)
        narrow = StaticState([state.inputs[index] for index in inputs], state.beams, state.capacity)
        narrow.position = state.position
        return narrow


@dataclass(frozen=True)
class StaticEncoder(Encoder):
    """An encoder graph that reads one input of one size; a text is filled up to it."""

    def encode(self, given: Arrays) -> Encoded:
        """See Encoder.encode. Raises InputError for a text that is too long."""
        from onnxruntime import OrtValue

        count = len(next(iter(given.values())))
        filled = [self._filled({name: array[[row]] for name, array in given.items()}) for row in range(count)]
        found = [self._run(each) for each in filled]
        values = {
            name: OrtValue.ortvalue_from_numpy(np.concatenate([each[name].numpy() for each in found]))
            for name in self.outputs
        }
        mask = given.get(ATTENTION_MASK)
        lengths = None if mask is None else mask.sum(axis=1, keepdims=True)
        return Encoded(len(found), values, lengths, input_ids=given.get(INPUT_IDS))

    def _filled(self, given: Arrays) -> Arrays:
        if INPUT_IDS not in given:
            return given
        most = self.inputs[INPUT_IDS].shape[1]
        length = given[INPUT_IDS].shape[1]
        assert isinstance(most, int)
        if length > most:
            raise InputError(f"this static graph reads texts of {most} tokens, not {length}; {_MADE} --positions")
        return {name: np.pad(array, ((0, 0), (0, most - length))) for name, array in given.items()}


def static_encoder(graph: Graph, source: Source, found: Signature) -> StaticEncoder:
    """The encoder of a graph with these tensors. Raises FolderError where it reads something else than one input."""
    if sorted(each.name for each in found.inputs) != sorted(source.inputs) or any(
        not all(isinstance(size, int) for size in each.shape) or each.shape[:1] != (1,) for each in found.inputs
    ):
        raise FolderError(f"{graph.path} is no static encoder of {', '.join(source.inputs)}; make the layout anew")
    inputs = {each.name: replace(each, shape=("B", *each.shape[1:])) for each in found.inputs}
    return StaticEncoder(graph, source, inputs, [each.name for each in found.outputs])
