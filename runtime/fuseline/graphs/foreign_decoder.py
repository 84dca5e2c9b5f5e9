"""The step contract over decoder graphs of other tools: with a cache that each step returns longer, or with none.

A merged graph and a pair of graphs run alike: one graph for the first step, one for the later ones. A graph alone
computes all positions at every step. Dimensions: `B` photos, `R` rows = B x num_beams (rows of one photo together), `T`
tokens of this step, `P` positions before it, `S` encoder positions, `H` heads, `D` head size, `V` vocabulary.
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
from .contract import NO_ATTENTIONS, Encoded, State, refuse_broken_off, rows_of

if TYPE_CHECKING:
    from onnxruntime import OrtValue

    from .running import Graph

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class StepGraph:
    """One decoder graph. past and present: the caches, by the names of the past; inputs: the rest."""

    graph: Graph
    inputs: Mapping[str, Tensor]
    past: Mapping[str, Tensor]
    present: Mapping[str, Tensor]

    @property
    def path(self) -> object:
        """The graph's file."""
        return self.graph.path


class ForeignState(State):
    """Tokens, caches and hidden states of R rows.

    In the first step there are B rows where all beams of a photo begin alike, which is what searches do.
    """

    def __init__(self, hidden: Array, num_beams: int, capacity: int) -> None:
        """hidden: float[B, S, E], the encoder's output."""
        super().__init__(len(hidden) * num_beams, capacity)
        self.num_beams = num_beams
        self.tokens = np.empty((self.rows, 0), np.int64)  # int64[R, P + T]
        self.caches: dict[str, OrtValue] = {}  # by name, float[R, H, P, D], of cross-attention float[R, H, S, D]
        self.hidden = hidden  # float[B, S, E]; float[R, S, E] after the first step if the later ones read it


class ForeignDecoder:
    """Runs the graph of the first step once, then that of the later steps. Safe to share: a state belongs to a thread.

    Cross-attention K/V come from the first step and stay as they are; only self-attention K/V follow the beams.
    """

    def __init__(self, first: StepGraph, later: StepGraph | None, sizes: DecoderSizes) -> None:
        """later: None to compute all positions anew at every step."""
        self._first = first
        self._later = later
        self._sizes = sizes

    def start(self, encoded: Encoded, num_beams: int, max_length: int, *, attentions: bool = False) -> ForeignState:
        """See Decoder.start; these graphs give no attentions.

        encoded holds one tensor, the encoder's last hidden state, float[B, S, E].
        """
        if num_beams < 1 or max_length < 1:
            raise InputError(f"num_beams and max_length must be at least 1, not {num_beams} and {max_length}")
        if attentions:
            raise InputError(NO_ATTENTIONS)
        hidden = self._hidden(encoded)
        return ForeignState(hidden.numpy(), num_beams, min(max_length, self._sizes.max_positions))

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
        """See Decoder.attentions; start has refused it."""
        raise InputError(NO_ATTENTIONS)

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
        kept = ForeignState(state.hidden[inputs if len(state.hidden) < state.rows else rows], beams, state.capacity)
        kept.rows, kept.position, kept.tokens = len(rows), state.position, state.tokens[rows]
        kept.caches = {name: _value(cache.numpy()[rows]) for name, cache in state.caches.items()}
        return kept

    def _began(self, state: ForeignState, tokens: Int64) -> Float32:
        """The first step; with one row a photo where its beams begin alike. Their caches are repeated afterwards."""
        state.tokens = tokens
        photos, beams = len(state.hidden), state.num_beams
        of_photos = tokens.reshape(photos, beams, -1)
        alike = bool((of_photos == of_photos[:, :1]).all())
        repeats = beams if alike else 1
        hidden = state.hidden if alike else state.hidden.repeat(beams, axis=0)
        fresh = of_photos[:, 0] if alike else tokens
        wanted = [] if self._later is None else list(self._later.past)
        feeds = _feeds(self._first, _Given(fresh, hidden, 0))
        for name, tensor in self._first.past.items():  # a merged graph reads empty ones and takes no notice
            shape = len(fresh), self._sizes.heads, 0, self._sizes.head_size
            feeds[name] = _value(np.zeros(shape, tensor.type))
        logits, caches = _run(self._first, feeds, wanted, fresh.size)
        if repeats > 1:
            caches = {name: _value(cache.numpy().repeat(repeats, axis=0)) for name, cache in caches.items()}
        state.caches = caches
        if "encoder_hidden_states" in (self._later or self._first).inputs:
            state.hidden = state.hidden.repeat(beams, axis=0)
        return logits.repeat(repeats, axis=0)

    def _continued(self, state: ForeignState, tokens: Int64, parents: Int64 | None) -> Float32:
        moved = parents is not None and not np.array_equal(parents, np.arange(state.rows))
        kept = state.tokens[parents] if moved else state.tokens
        state.tokens = np.concatenate([kept, tokens], axis=1)
        if self._later is None:
            feeds = _feeds(self._first, _Given(state.tokens, state.hidden, 0))
            return _run(self._first, feeds, [], state.tokens.size)[0]
        own = [name for name in self._later.past if not is_cross_attention(name)]
        if moved:
            for name in own:
                state.caches[name] = _value(state.caches[name].numpy().take(parents, axis=0))
        feeds = _feeds(self._later, _Given(tokens, state.hidden, state.position)) | state.caches
        logits, caches = _run(self._later, feeds, own, tokens.size)
        state.caches |= caches
        return logits


@dataclass(frozen=True)
class _Given:
    """What one run is about: tokens int64[R, T], hidden float[R, S, E], and P, the positions in the caches.

    A graph that does not read the hidden states may be told of the photos' own, float[B, S, E].
    """

    tokens: Int64
    hidden: Array
    past: int

    @property
    def positions(self) -> Int64:
        """int64[T]."""
        return np.arange(self.past, self.past + self.tokens.shape[1])


def _ones(rows: int, columns: int) -> Array:
    return np.ones((rows, columns), np.int64)


# How every input but the caches is made. All rows are of one length, so no mask hides anything.
_MAKERS: Mapping[str, Callable[[_Given], Array]] = {
    "input_ids": lambda step: step.tokens,
    "encoder_hidden_states": lambda step: step.hidden,
    "encoder_attention_mask": lambda step: _ones(len(step.tokens), step.hidden.shape[1]),
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
    graph: StepGraph, feeds: dict[str, OrtValue], wanted: list[str], size: int
) -> tuple[Float32, dict[str, OrtValue]]:
    """Logits of the last token, float32[R, V], and the wanted caches, by the names of the past."""
    names = ["logits", *(graph.present[name].name for name in wanted)]
    logits, *caches = graph.graph.run(names, feeds, size)
    found = logits.numpy()
    if found.ndim != 3 or not found.shape[1]:
        raise FolderError(f"{graph.path} gave logits of shape {list(found.shape)}, not [R, T, V]")
    last = np.ascontiguousarray(found[:, -1], dtype=np.float32)
    return last, dict(zip(wanted, caches, strict=True))


def _value(array: Array) -> OrtValue:
    from onnxruntime import OrtValue

    return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
