"""The decoder of a folder of ours: it fulfils the step contract over a cache of fixed capacity.

Dimensions: `B` photos, `R` rows = B x num_beams (rows of one photo together), `T` tokens of this step, `C` cache
capacity in positions, `S` encoder positions, `E` width of the cache, `V` vocabulary, `L` layers.
"""

from __future__ import annotations

import itertools
import queue
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fuseline.kernels import to_halves

from ..arrays import NEVER, Bool, Float32, Int64, log_softmax
from ..errors import InputError, shown
from ..folders.tensors import (
    BEAM_TABLE,
    BEST,
    BEST_TOKENS,
    CROSS,
    INPUT_IDS,
    LENGTHS,
    LOGITS,
    PAST,
    POSITION,
    PRESENT,
    QUERY,
    SELF,
    SHARE,
    STARTS,
    WEIGHTS,
    best_of,
    is_cross_attention,
    kv_names,
)
from .bound import Bound, BoundOnDevice, shared
from .contract import (
    NO_ATTENTIONS,
    NO_CROSS_ATTENTION,
    NO_ONE_QUERY,
    Best,
    Encoded,
    State,
    refuse_broken_off,
    rows_of,
)
from .resident import Resident
from .running import Graph, fetched

if TYPE_CHECKING:
    from onnxruntime import OrtValue

    from ..folders.tensors import DecoderSizes

FLOATS, HALVES = "tensor(float)", "tensor(float16)"


class CachedState(State):
    """A state with its memory."""

    def __init__(self, buffers: _Buffers) -> None:
        super().__init__(buffers.shape.rows, buffers.shape.capacity)
        self._buffers = buffers


@dataclass(frozen=True)
class _Shape:
    """What decides whether memory can serve another caption."""

    rows: int
    capacity: int
    attentions: bool
    sources: int = 1


class CachedDecoder:
    """The decoder graph with its self-attention cache bound once and written in place.

    A state's memory (cache, table, logits and the binding that holds them together) goes back to a small pool when the
    state is dropped, so the next caption of the same shape binds only the cross-attention K/V anew: 0.04-0.2 ms for 12
    layers of 768 where new memory takes 1-6 ms. Safe to share between threads: a state belongs to one thread, the pool
    is locked, and onnxruntime's run is reentrant.
    """

    # A program asks for a handful of shapes; each holds 2 L C R E floats, 5 MB for 12 layers of 768, 16 tokens, beam 4.
    _IDLE = 4
    # So a batch of 8 such photos is kept. What is larger takes so long that new memory is not noticed.
    _IDLE_BYTES = 64 << 20

    def __init__(self, graph: Graph, sizes: DecoderSizes) -> None:
        """graph: the decoder's, of these sizes."""
        self._graph = graph
        self._sizes = sizes
        self._reads = {each.name: each.type for each in graph.session.get_inputs() if is_cross_attention(each.name)}
        self._rank = next((len(each.shape) for each in graph.session.get_inputs() if each.name in self._reads), 0)
        # Whether its numbers are halves: then two devices round differently.
        self.halves = any(each.type == HALVES and SELF in each.name for each in graph.session.get_inputs())
        self._one_token = any(each.shape[1] == 1 for each in graph.session.get_inputs() if each.name == INPUT_IDS)
        one = min(len(self._reads), 1)  # or none
        self._sources = next((each.shape[1] for each in graph.session.get_inputs() if each.name == WEIGHTS), one)
        # Whether another device than the CPU keeps a cache right that it reads and writes in one memory; found out by
        # a trial, and until then it has two.
        self.in_place = False
        self.narrows = not graph.device.copies
        self.offers = next((each.shape[1] for each in graph.session.get_outputs() if each.name == BEST_TOKENS), 0)
        self._idle: list[_Buffers] = []
        self._returned: queue.SimpleQueue[_Buffers] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def start(self, encoded: Encoded, num_beams: int, max_length: int, *, attentions: bool = False) -> CachedState:
        """A fresh state of R = encoded.batch x num_beams rows and C = min(max_length, max_positions) positions.

        attentions: whether `attentions` will be asked for. Raises InputError where the graph does not give them, and
        for what another model's encoder gave.
        """
        if num_beams < 1 or max_length < 1:
            raise InputError(f"num_beams and max_length must be at least 1, not {num_beams} and {max_length}")
        if attentions and not self._sizes.cross_attention_scales:
            one_by_one = NO_ATTENTIONS if self._sources == 1 else NO_ONE_QUERY
            raise InputError(one_by_one if self._reads else NO_CROSS_ATTENTION)
        self._check(encoded)
        capacity = min(max_length, self._sizes.max_positions)
        shape = _Shape(encoded.batch * num_beams, capacity, attentions, len(encoded.sources))
        buffers = self._take(shape) or _Buffers(self._graph, shape, self._sizes, self.in_place)
        buffers.begin(encoded)
        state = CachedState(buffers)
        # The last reference to the state is the search's; when it goes, nobody can step it any more.
        weakref.finalize(state, self._put, buffers).atexit = False
        return state

    def forget(self) -> None:
        """Let go of idle memory."""
        with self._lock:
            self._collect()
            self._idle.clear()

    def _check(self, encoded: Encoded) -> None:
        """Raises InputError unless it holds what this decoder's graph reads, as [B, S, E], or in its own form."""
        found, sizes = encoded.values, self._sizes
        if (encoded.weights is not None) != (self._sources > 1) or len(encoded.sources) != self._sources:
            raise InputError("what is encoded is of another model: it has other sources")
        if not found and not self._reads:
            return
        kinds = {(value.data_type(), *value.shape()) for value in found.values()}
        if found.keys() == self._reads.keys() and len(kinds) == 1:
            kind, *shape = next(iter(kinds))
            plain = kind in (FLOATS, HALVES) and len(shape) == 3 and shape[2] == sizes.width
            # Halves by heads are read as they are, where they are read at all.
            by_heads = kind == HALVES and len(shape) == 4 and (shape[1], shape[3]) == (sizes.heads, sizes.head_size)
            if shape[0] == encoded.batch and (plain or (by_heads and self._rank == 4)):
                return
        holds = " or ".join(f"{kind}{shape}" for kind, *shape in kinds) or "nothing"
        raise InputError(
            f"what is encoded is of another model: it holds {len(found)} keys and values, {shown(holds)}, and this one "
            f"reads {len(self._reads)}, {FLOATS}[{encoded.batch}, S, {sizes.width}]"
        )

    def step(self, state: State, tokens: Int64, parents: Int64 | None) -> Float32:
        """See Decoder.step. Raises InputError when the cache has no room for T more positions."""
        return self._stepped(state, tokens, parents).logits()

    def best(self, state: State, tokens: Int64, parents: Int64 | None) -> Best:
        """See GivesBest.best; of graphs that offer any. Raises InputError as step does."""
        return self._stepped(state, tokens, parents).best()

    def _stepped(self, state: State, tokens: Int64, parents: Int64 | None) -> _Buffers:
        rows, length = tokens.shape
        if rows != state.rows or length < 1:
            raise InputError(f"tokens have shape {list(tokens.shape)}; for this state it must be [{state.rows}, T]")
        if state.position + length > state.capacity:
            raise InputError(
                f"the decoder's cache has room for {state.capacity} positions and {state.position} are taken, so "
                f"{length} more do not fit; ask for a larger max_length, of at most {self._sizes.max_positions}"
            )
        refuse_broken_off(state)
        state.stepping = True
        memory, count = _memory(state), 1 if self._one_token else length
        for first in range(0, length, count):
            memory.run(state.position, tokens[:, first : first + count], None if first else parents)
            state.position += count
        state.stepping = False
        return memory

    def attentions(self, state: State) -> Float32:
        """See Decoder.attentions. Computed of queries and keys, since the fused operator never writes them down."""
        return _memory(state).attentions()

    def shares(self, state: State) -> Float32:
        """See Decoder.shares: the mean over layers and heads."""
        return _memory(state).shares()

    def narrow(self, state: State, inputs: Int64) -> CachedState:
        """See Decoder.narrow. Copies what is in the caches, and the inputs' cross-attention K/V."""
        memory = _memory(state)
        encoded, beams = memory.narrowed(inputs)
        narrow = self.start(encoded, beams, state.capacity, attentions=memory.shape.attentions)
        narrow._buffers.go_on(memory, rows_of(inputs, beams), state.position)
        narrow.position = state.position
        return narrow

    def _put(self, buffers: _Buffers) -> None:
        """Take back the memory of a state that is gone.

        A finalizer may run at any moment, also in a thread that holds the lock, so it waits for nothing: what it cannot
        put away now is put away by whoever comes next.
        """
        if buffers.stepping:  # a step was broken off, and who knows what still writes there
            return
        buffers.end()
        self._returned.put(buffers)
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    def _collect(self) -> None:
        """What was returned becomes idle; the oldest go where there is too much. Called with the lock."""
        while not self._returned.empty():
            self._idle.append(self._returned.get())
        while len(self._idle) > self._IDLE or sum(each.bytes for each in self._idle) > self._IDLE_BYTES:
            del self._idle[0]

    def _take(self, shape: _Shape) -> _Buffers | None:
        """Idle memory of this shape, the most recently used first."""
        with self._lock:
            self._collect()
            for buffers in reversed(self._idle):
                if buffers.shape == shape:
                    self._idle.remove(buffers)
                    return buffers
        return None


def binding_of(graph: Graph, in_place: bool) -> Bound:
    """What binds the graph on its device. in_place: whether a device keeps caches right in one memory, if it is known
    only by trial."""
    if graph.device.is_cpu:
        return Bound(graph)
    if graph.device.copies:
        return Resident(graph, *graph.device.copies)
    return BoundOnDevice(graph, in_place)


def _memory(state: State) -> _Buffers:
    assert isinstance(state, CachedState)  # one that start has made
    return state._buffers


class _Buffers:
    """Memory of one state, and the binding of the decoder graph to it.

    A step writes into the arrays below and runs; on the CPU nothing is bound again except the tokens when T changes. Of
    other devices fuseline.graphs.bound tells.
    """

    def __init__(self, graph: Graph, shape: _Shape, sizes: DecoderSizes, in_place: bool) -> None:
        self.shape = shape
        self.stepping = False  # from the beginning of a step until it returns
        self._sizes = sizes
        session = graph.session
        self._binding = binding_of(graph, in_place)
        self._own_rows = np.arange(shape.rows, dtype=np.int64)[:, None]
        self._position = np.zeros(1, np.int64)  # int64[1]
        self._table = np.zeros((shape.rows, shape.capacity), np.int64)  # int64[R, C]
        self._logits = np.zeros((shape.rows, sizes.vocab_size), np.float32)  # float32[R, V]
        self._encoded: Encoded | None = None
        self._steers = {tensor.name for tensor in session.get_inputs()} & {LENGTHS, STARTS, WEIGHTS}
        self._steering: dict[str, npt.NDArray[Any]] = {}  # which positions count, by name, as the graph reads it
        inputs = {tensor.name: tensor for tensor in session.get_inputs()}
        self._types = {name: (each.type, len(each.shape)) for name, each in inputs.items() if is_cross_attention(name)}
        queries = {each.type for each in session.get_outputs() if each.name.startswith(QUERY.format(""))}
        self._kind_of_queries = np.float16 if HALVES in queries else np.float32
        self._empty = np.zeros(0, np.float32)
        self._nothing = shared(self._empty)
        self._kept: dict[str, npt.NDArray[Any]] = {}  # by name, what the graph reads in another form than it is given
        self._binding.changing(POSITION, self._position)
        self._binding.changing(BEAM_TABLE, self._table)
        self._bind_tokens(1)
        self._binding.result(LOGITS, self._logits)
        if BEST_TOKENS in {each.name for each in session.get_outputs()}:
            count = best_of(sizes.vocab_size)
            self._best_logits = np.zeros((shape.rows, count), np.float32)
            self._best_tokens = np.zeros((shape.rows, count), np.int64)
            self._log_sum = np.zeros(shape.rows, np.float32)
            arrays: list[npt.NDArray[Any]] = [self._best_logits, self._best_tokens, self._log_sum]
            for name, array in zip(BEST, arrays, strict=True):
                self._binding.result(name, array)
        for layer in range(sizes.layers):
            for past, present in zip(kv_names(PAST, layer, SELF), kv_names(PRESENT, layer, SELF), strict=True):
                kind: type[np.generic] = np.float16 if inputs[past].type == HALVES else np.float32
                self._binding.cache(past, present, (shape.capacity, shape.rows, sizes.width), kind)

    def begin(self, encoded: Encoded) -> None:
        """Forget the last call and read these inputs."""
        self._encoded = encoded  # the binding does not keep its values alive
        self._steering = {name: _steering(name, encoded) for name in self._steers}
        for name, array in self._steering.items():
            self._binding.changing(name, array)
        self._table[:] = self._own_rows
        for name, value in encoded.values.items():
            self._binding.input(name, self._as_read(name, value))

    def end(self) -> None:
        """Let go of the photos, which whoever encoded them may have dropped already."""
        self._encoded = None
        for name in self._types:
            self._binding.input(name, self._nothing)

    @property
    def bytes(self) -> int:
        """How much memory this is."""
        arrays: list[npt.NDArray[Any]] = [
            self._logits,
            self._queries,
            self._shares,
            self._table,
            *self._kept.values(),
        ]
        return self._binding.bytes + sum(array.nbytes for array in arrays)

    def _as_read(self, name: str, value: OrtValue) -> OrtValue:
        """An input's key or value in the type that the graph reads: of a fused graph halves lie by heads."""
        kind, rank = self._types[name]
        if (kind, rank) == (value.data_type(), len(value.shape())):
            return value
        given, sizes = fetched(value), self._sizes
        by_heads = (len(given), sizes.heads, given.shape[1], sizes.head_size)
        shape = given.shape if rank == 3 else by_heads
        kept = self._kept.get(name)
        if kept is None or kept.shape != shape:  # the next caption has its own in the same memory
            kept = self._kept[name] = np.empty(shape, np.float16 if kind == HALVES else np.float32)
        if rank == 4:
            to_halves(given.astype(np.float32, copy=False), kept)
        else:
            with np.errstate(over="ignore"):  # which gives infinity, as to_halves does
                kept[:] = given
        return shared(kept)

    def narrowed(self, inputs: Int64) -> tuple[Encoded, int]:
        """What the decoder reads of these inputs, and rows an input."""
        from onnxruntime import OrtValue

        assert self._encoded is not None  # since begin
        encoded = self._encoded
        values = {name: OrtValue.ortvalue_from_numpy(fetched(value)[inputs]) for name, value in encoded.values.items()}
        lengths = None if encoded.lengths is None else encoded.lengths[inputs]
        weights = None if encoded.weights is None else encoded.weights[inputs]
        some = Encoded(len(inputs), values, lengths, encoded.starts, weights, sources=encoded.sources)
        return some, self.shape.rows // encoded.batch

    def go_on(self, other: _Buffers, rows: Int64, position: int) -> None:
        """Take over the first positions of another's rows, int64[R]."""
        self._binding.fill(theirs[:position, rows] for theirs in other._binding.caches())
        # A hypothesis lies in rows of its own photo, and these are all here.
        self._table[:, :position] = np.searchsorted(rows, other._table[rows, :position])

    def run(self, position: int, tokens: Int64, parents: Int64 | None) -> None:
        """One step. tokens: int64[R, T], parents: int64[R] or None."""
        self.stepping = True
        if tokens.shape[1] != self._tokens.shape[1]:
            self._bind_tokens(tokens.shape[1])
        self._tokens[:] = tokens
        self._position[0] = position
        if parents is not None:
            # Columns from position on stay the rows themselves: that is where this step's tokens are written.
            self._table[:, :position] = self._table[parents, :position]
        self._binding.tell((INPUT_IDS, POSITION, BEAM_TABLE))
        self._binding.run(tokens.size)
        self.stepping = False

    def logits(self) -> Float32:
        """The bound logits of the last step, float32[R, V]."""
        self._binding.read([LOGITS, *self._watched])
        return self._logits

    def best(self) -> Best:
        """The best of them."""
        self._binding.read(BEST)
        return Best(self._best_logits - self._log_sum[:, None], self._best_tokens)

    def attentions(self) -> Float32:
        """float32[L, R, H, S] of the last token of every row."""
        assert self._encoded is not None  # since begin
        sizes, rows = self._sizes, self.shape.rows
        heads, size = sizes.heads, sizes.head_size
        photos, beyond = self._encoded.batch, _beyond(self._encoded)
        last = self._queries.reshape(sizes.layers, rows, -1, sizes.width)[:, :, -1].astype(np.float32, copy=False)
        weights = []
        for layer, scale in enumerate(sizes.cross_attention_scales):
            key_BSE = fetched(self._encoded.values[kv_names(PAST, layer, CROSS)[0]])
            key_BHDS = key_BSE.reshape(photos, -1, heads, size).transpose(0, 2, 3, 1)
            query_BHGD = last[layer].reshape(photos, -1, heads, size).transpose(0, 2, 1, 3)
            scores_BHGS = np.float32(scale) * (query_BHGD @ key_BHDS)
            if beyond is not None:
                scores_BHGS = np.where(beyond[:, None, None], NEVER, scores_BHGS)
            scores = scores_BHGS.transpose(0, 2, 1, 3).reshape(rows * heads, -1)
            weights.append(self._weights(scores, layer).reshape(rows, heads, -1))
        return np.stack(weights)

    def _weights(self, scores: Float32, layer: int) -> Float32:
        """float32[R x H, S]: the softmax of the scores; of several sources that of each, times the source's share."""
        assert self._encoded is not None
        starts = self._encoded.starts
        if starts is None:
            return np.exp(log_softmax(scores))
        shares = self._last(self._shares[layer]).reshape(len(scores), -1)
        weights = np.zeros_like(scores)
        for source, (first, end) in enumerate(itertools.pairwise(starts)):
            there = shares[:, source] > 0  # elsewhere no position counts
            if not there.any():
                continue
            weights[there, first:end] = np.exp(log_softmax(scores[there, first:end])) * shares[there, source, None]
        return weights

    def shares(self) -> Float32:
        """float32[R, M] of the last token of every row: the mean over layers and heads."""
        layers, _, heads, sources = self._shares.shape
        last = self._shares.reshape(layers, self.shape.rows, -1, heads, sources)[:, :, -1]
        mean: Float32 = np.add.reduce(last, axis=(0, 2)) / np.float32(layers * heads)
        return mean

    def _last(self, values: Float32) -> Float32:
        """Of float32[R x T, ...] those of the last tokens, float32[R, ...]."""
        return values.reshape(self.shape.rows, -1, *values.shape[1:])[:, -1]

    def _bind_tokens(self, length: int) -> None:
        """Memory for so many tokens a row, and for their queries."""
        self._tokens = np.zeros((self.shape.rows, length), np.int64)  # int64[R, T]
        self._binding.changing(INPUT_IDS, self._tokens)
        watched = self._sizes.layers if self.shape.attentions else 0
        self._watched: list[str] = []  # which results are read beside logits
        self._queries = np.zeros(
            (watched, self._tokens.size, self._sizes.width), self._kind_of_queries
        )  # [L, R x T, E]
        for layer, query in enumerate(self._queries):
            self._watch(QUERY.format(layer), query)
        fused = self._sizes.layers if self.shape.sources > 1 else 0
        shape = (fused, self._tokens.size, self._sizes.heads, self.shape.sources)
        self._shares = np.zeros(shape, np.float32)  # float32[L, R x T, H, M]
        for layer, share in enumerate(self._shares):
            self._watch(SHARE.format(layer), share)

    def _watch(self, name: str, array: npt.NDArray[Any]) -> None:
        self._watched.append(name)
        self._binding.result(name, array)


def _steering(name: str, encoded: Encoded) -> npt.NDArray[Any]:
    """What a graph reads beside keys and values; of lengths all positions where none are given."""
    if name == STARTS:
        assert encoded.starts is not None  # since _check
        return encoded.starts
    if name == WEIGHTS:
        assert encoded.weights is not None
        return np.ascontiguousarray(encoded.weights)
    if encoded.lengths is not None:
        return np.ascontiguousarray(encoded.lengths)
    value = next(iter(encoded.values.values()))
    positions = value.shape()[-2]  # also of halves that lie by heads
    return np.full((encoded.batch, 1), positions, np.int64)


def _beyond(encoded: Encoded) -> Bool | None:
    """bool[B, S]: which positions an input does not have; None where all have all."""
    if encoded.lengths is None:
        return None
    positions = np.arange(next(iter(encoded.values.values())).shape()[1])
    if encoded.starts is None:
        beyond: Bool = positions >= encoded.lengths
        return beyond
    source = np.searchsorted(encoded.starts[1:], positions, side="right")
    return positions - encoded.starts[source] >= encoded.lengths[:, source]
