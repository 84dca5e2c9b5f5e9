"""The step contract over decoder graphs of other tools: with a cache that each step returns longer, or with none.

A merged graph and a pair of graphs run alike: one graph for the first step, one for the later ones. A graph alone
computes all positions at every step. Dimensions: `B` inputs of a call, `R` rows = B x num_beams (rows of one input
together), `T` tokens of this step, `P` positions before it, `S` encoder positions, `H` heads, `D` head size, `V`
vocabulary, `L` layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..arrays import Float32, Int64
from ..errors import FolderError, InputError, shown
from ..folders.tensors import DecoderSizes, Tensor, is_cross_attention
from .contract import Encoded, State, refuse_broken_off, rows_of

if TYPE_CHECKING:
    from onnxruntime import OrtValue

    from .running import Graph

Array = npt.NDArray[np.generic]
SOURCE_MASK = "encoder_attention_mask"


@dataclass(frozen=True)
class StepGraph:
    """One decoder graph. past and present: the caches, by the names of the past; inputs: the rest.

    weights: the names of the cross-attention weights of all layers, none where it does not give them.
    """

    graph: Graph
    inputs: Mapping[str, Tensor]
    past: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    weights: tuple[str, ...] = ()

    @property
    def path(self) -> object:
        """The graph's file."""
        return self.graph.path


class ForeignState(State):
    """Tokens, caches and hidden states of R rows.

    In the first step there are B rows where all beams of an input begin alike, which is what searches do.
    """

    def __init__(
        self, hidden: Array, source_mask: Int64, num_beams: int, capacity: int, *, watched: bool = False
    ) -> None:
        """hidden: float[B, S, E], the encoder's output; source_mask: int64[B, M], what each input has of the most that
        it may have, positions or samples; watched: whether weights are kept."""
        super().__init__(len(hidden) * num_beams, capacity)
        self.num_beams = num_beams
        self.tokens = np.empty((self.rows, 0), np.int64)  # int64[R, P + T]
        self.caches: dict[str, OrtValue] = {}  # by name, float[R, H, P, D], of cross-attention float[R, H, S, D]
        self.hidden = hidden  # float[B, S, E]; float[R, S, E] after the first step if the later ones read it
        self.encoded: Encoded | None = None  # kept since hidden may lie in its memory, which numpy does not keep alive
        self.source_mask = source_mask
        self.watched = watched
        self.weights = np.zeros((0, self.rows, 0, 0), np.float32)  # float32[L, R, H, S] of the last step's last tokens


class ForeignDecoder:
    """Runs the graph of the first step once, then that of the later steps. Safe to share: a state belongs to a thread.

    Cross-attention K/V come from the first step and stay as they are; only self-attention K/V follow the beams.
    """

    def __init__(
        self, first: StepGraph, later: StepGraph | None, sizes: DecoderSizes, samples_a_position: int | None = None
    ) -> None:
        """later: None to compute all positions anew at every step. samples_a_position: as in Source; the graphs of a
        model that reads samples take the encoder's mask of samples, too, of which they take one a position."""
        self._first = first
        self._later = later
        self._sizes = sizes
        self._samples_a_position = samples_a_position or 1

    def start(self, encoded: Encoded, num_beams: int, max_length: int, *, attentions: bool = False) -> ForeignState:
        """See Decoder.start. Raises InputError for attentions that a graph does not give.

        encoded holds one tensor, the encoder's last hidden state, float[B, S, E].
        """
        if num_beams < 1 or max_length < 1:
            raise InputError(f"num_beams and max_length must be at least 1, not {num_beams} and {max_length}")
        hidden, capacity = self._hidden(encoded), min(max_length, self._sizes.max_positions)
        if attentions:
            self._check_weights()
        self._check_lengths(encoded)
        array = hidden.numpy()
        state = ForeignState(array, self._mask(encoded, array.shape[1]), num_beams, capacity, watched=attentions)
        state.encoded = encoded
        return state

    def _mask(self, encoded: Encoded, positions: int) -> Int64:
        """int64[B, M] of S positions."""
        mask = np.ones((encoded.batch, positions), np.int64)
        if encoded.lengths is not None:
            mask *= np.arange(positions) < encoded.lengths
        return mask.repeat(self._samples_a_position, axis=1)

    @property
    def _graphs(self) -> tuple[StepGraph, ...]:
        return (self._first,) if self._later is None else (self._first, self._later)

    def _check_weights(self) -> None:
        """Raises InputError where a graph does not give the cross-attention weights."""
        for graph in self._graphs:
            if not graph.weights:
                raise InputError(
                    "output_attentions and times of words need a decoder graph that gives its cross-attention weights, "
                    f"and {graph.path} has no outputs cross_attentions.0 to cross_attentions."
                    f"{self._sizes.layers - 1}; leave them out, or export the checkpoint with fuseline export"
                )

    def _check_lengths(self, encoded: Encoded) -> None:
        """Raises InputError for inputs of several lengths where the decoder cannot be told of them."""
        if encoded.lengths is None or (encoded.lengths == encoded.lengths[0]).all():
            return
        for graph in self._graphs:
            if SOURCE_MASK not in graph.inputs:
                raise InputError(
                    f"{graph.path} has no input {SOURCE_MASK}, so inputs of different lengths cannot go through it "
                    "together; give one at a time"
                )

    def _hidden(self, encoded: Encoded) -> OrtValue:
        """The encoder's last hidden state. Raises InputError for what another model's encoder gives."""
        found = {name: tuple(value.shape()) for name, value in encoded.values.items()}
        reader = self._first.inputs.get("encoder_hidden_states")
        width = "E" if reader is None else reader.shape[2]
        good = len(found) == 1 and all(
            len(shape) == 3 and shape[0] == encoded.batch and (isinstance(width, str) or shape[2] == width)
            for shape in found.values()
        )
        if not good:
            raise InputError(
                f"what is encoded is of another model: it holds {shown(found)}, and this one reads the encoder's last "
                f"hidden state, [{encoded.batch}, S, {width}]"
            )
        return next(iter(encoded.values.values()))

    def attentions(self, state: State) -> Float32:
        """See Decoder.attentions; of a state that was started with them."""
        assert isinstance(state, ForeignState)  # one that start has made
        return state.weights

    def step(self, state: State, tokens: Int64, parents: Int64 | None) -> Float32:
        """See Decoder.step. Raises InputError where there is no room for T more positions."""
        assert isinstance(state, ForeignState)  # one that start has made
        rows, length = tokens.shape
        if rows != state.rows or length < 1 or (length > 1 and state.position):
            right = f"[{state.rows}, {1 if state.position else 'T'}]"
            raise InputError(f"tokens have shape {list(tokens.shape)}; for this state it must be {right}")
        if state.position + length > state.capacity:
            raise InputError(
                f"this decoder's state has room for {state.capacity} positions and {state.position} are taken, so "
                f"{length} more do not fit; ask for a larger max_length, of at most {self._sizes.max_positions}"
            )
        refuse_broken_off(state)
        state.stepping = True
        logits = self._began(state, tokens) if state.position == 0 else self._continued(state, tokens, parents)
        if logits.shape != (rows, self._sizes.vocab_size):
            right = f"[{rows}, {self._sizes.vocab_size}]"
            raise FolderError(f"{self._first.path} gave logits of shape {list(logits.shape)} for a step, not {right}")
        state.stepping = False
        state.position += length
        return logits

    def shares(self, state: State) -> Float32:
        """A folder of another tool has one source."""
        raise NotImplementedError

    def narrow(self, state: State, inputs: Int64) -> ForeignState:
        """See Decoder.narrow."""
        assert isinstance(state, ForeignState)
        rows, beams = rows_of(inputs, state.num_beams), state.num_beams
        hidden = state.hidden[inputs if len(state.hidden) < state.rows else rows]
        kept = ForeignState(hidden, state.source_mask[inputs], beams, state.capacity, watched=state.watched)
        kept.weights = state.weights[:, rows]
        kept.rows, kept.position, kept.tokens = len(rows), state.position, state.tokens[rows]
        kept.caches = {name: _value(cache.numpy()[rows]) for name, cache in state.caches.items()}
        return kept

    def _began(self, state: ForeignState, tokens: Int64) -> Float32:
        """The first step; with one row an input where its beams begin alike. Their caches are repeated afterwards."""
        state.tokens = tokens
        inputs, beams = len(state.hidden), state.num_beams
        of_inputs = tokens.reshape(inputs, beams, -1)
        alike = bool((of_inputs == of_inputs[:, :1]).all())
        repeats = beams if alike else 1
        hidden = state.hidden if alike else state.hidden.repeat(beams, axis=0)
        fresh = of_inputs[:, 0] if alike else tokens
        wanted = [] if self._later is None else list(self._later.past)
        feeds = _feeds(self._first, _Given(fresh, hidden, 0, state.source_mask))
        for name, tensor in self._first.past.items():  # a merged graph reads empty ones and takes no notice
            shape = len(fresh), self._sizes.heads, 0, self._sizes.head_size
            feeds[name] = _value(np.zeros(shape, tensor.type))
        logits, caches, weights = _run(self._first, feeds, wanted, fresh.size, state.watched)
        if repeats > 1:
            caches = {name: _value(cache.numpy().repeat(repeats, axis=0)) for name, cache in caches.items()}
        state.caches, state.weights = caches, weights.repeat(repeats, axis=1)
        if "encoder_hidden_states" in (self._later or self._first).inputs:
            state.hidden = state.hidden.repeat(beams, axis=0)
        return logits.repeat(repeats, axis=0)

    def _continued(self, state: ForeignState, tokens: Int64, parents: Int64 | None) -> Float32:
        moved = parents is not None and not np.array_equal(parents, np.arange(state.rows))
        kept = state.tokens[parents] if moved else state.tokens
        state.tokens = np.concatenate([kept, tokens], axis=1)
        if self._later is None:
            feeds = _feeds(self._first, _Given(state.tokens, state.hidden, 0, state.source_mask))
            logits, _, state.weights = _run(self._first, feeds, [], state.tokens.size, state.watched)
            return logits
        own = [name for name in self._later.past if not is_cross_attention(name)]
        if moved:
            for name in own:
                state.caches[name] = _value(state.caches[name].numpy().take(parents, axis=0))
        feeds = _feeds(self._later, _Given(tokens, state.hidden, state.position, state.source_mask)) | state.caches
        logits, caches, state.weights = _run(self._later, feeds, own, tokens.size, state.watched)
        state.caches |= caches
        return logits


@dataclass(frozen=True)
class _Given:
    """What one run is about: tokens int64[R, T], hidden float[R, S, E], and P, the positions in the caches.

    A graph that does not read the hidden states may be told of the inputs' own, float[B, S, E]. source_mask:
    int64[B, M], as in ForeignState.
    """

    tokens: Int64
    hidden: Array
    past: int
    source_mask: Int64

    @property
    def positions(self) -> Int64:
        """int64[T]."""
        return np.arange(self.past, self.past + self.tokens.shape[1])


def _ones(rows: int, columns: int) -> Array:
    return np.ones((rows, columns), np.int64)


# How every input but the caches is made. All rows are of one length, so no mask of theirs hides anything.
_MAKERS: Mapping[str, Callable[[_Given], Array]] = {
    "input_ids": lambda step: step.tokens,
    "encoder_hidden_states": lambda step: step.hidden,
    SOURCE_MASK: lambda step: step.source_mask.repeat(len(step.tokens) // len(step.source_mask), axis=0),
    "attention_mask": lambda step: _ones(len(step.tokens), step.past + step.tokens.shape[1]),
    "decoder_attention_mask": lambda step: _ones(len(step.tokens), step.past + step.tokens.shape[1]),
    "position_ids": lambda step: np.tile(step.positions, (len(step.tokens), 1)),
    "cache_position": lambda step: step.positions,
    "token_type_ids": lambda step: np.zeros_like(step.tokens),
    "use_cache_branch": lambda step: np.array([step.past > 0]),
}


def _feeds(graph: StepGraph, step: _Given) -> dict[str, OrtValue]:
    """The graph's inputs without its caches."""
    return {name: _value(_MAKERS[name](step).astype(tensor.type, copy=False)) for name, tensor in graph.inputs.items()}


def _run(
    graph: StepGraph, feeds: dict[str, OrtValue], wanted: list[str], size: int, watched: bool
) -> tuple[Float32, dict[str, OrtValue], Float32]:
    """Logits of the last token, float32[R, V], the wanted caches, by the names of the past, and where it looked.

    watched: whether the cross-attention weights are wanted, float32[L, R, H, S]; else L is 0.
    """
    names = ["logits", *(graph.present[name].name for name in wanted)]
    logits, *others = graph.graph.run([*names, *(graph.weights if watched else ())], feeds, size)
    caches, weights = others[: len(wanted)], others[len(wanted) :]
    found = logits.numpy()
    if found.ndim != 3 or not found.shape[1]:
        raise FolderError(f"{graph.path} gave logits of shape {list(found.shape)}, not [R, T, V]")
    last = np.ascontiguousarray(found[:, -1], dtype=np.float32)
    looked = np.stack([each.numpy()[:, :, -1] for each in weights]) if weights else np.zeros((0, len(last), 0, 0))
    return last, dict(zip(wanted, caches, strict=True)), looked.astype(np.float32, copy=False)


def _value(array: Array) -> OrtValue:
    from onnxruntime import OrtValue

    return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
