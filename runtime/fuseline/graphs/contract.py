"""The step contract between graphs and search: what is encoded, a decoder's steps, and their state.

Dimensions: `B` inputs of a call, `R` rows = B x num_beams (rows of one input together), `T` tokens of this step, `C`
cache capacity in positions, `S` encoder positions, `E` width of the cache, `V` vocabulary, `L` layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np

from ..arrays import Float32, Int64
from ..errors import InputError
from ..folders.tensors import CROSS

if TYPE_CHECKING:
    from onnxruntime import OrtValue

NO_ATTENTIONS = (
    "output_attentions needs a decoder graph that gives its cross-attention queries, and this one does not; export the "
    "model with this version of fuseline"
)
NO_ONE_QUERY = (
    "output_attentions needs a decoder that asks all its sources the same, and this one reads them one after the other "
    "(serial or gated fusion); source_attention says how much each source gave"
)
NO_CROSS_ATTENTION = "output_attentions are those of cross-attention, and this model has none: it has no sources"


@dataclass(frozen=True)
class Encoded:
    """What the decoder reads of B inputs: cross-attention K/V, float32[B, S, E] each, by the graphs' names.

    A decoder that reads halves, float16[B, H, S, D], makes them itself, so that any variant's encoder goes with any
    variant's decoder. sources: what the positions come from, one after the other. Without
    sources there are no values, and B says how many texts are to be written.
    """

    batch: int
    values: Mapping[str, OrtValue]
    lengths: Int64 | None = None
    """int64[B, M]: how many positions of each source each input has, 0 where it is absent; None of one source: all"""
    starts: Int64 | None = None
    """int64[M + 1]: where each source's positions begin and where the last one's end; None of one source"""
    weights: Float32 | None = None
    """float32[B, M]: how much each source counts, 1 the most that an input has, 0 where it is absent; None of one
    source"""
    input_ids: Int64 | None = None
    """int64[B, S]: the tokens that were read, of a source that reads tokens"""
    sources: tuple[str, ...] = (CROSS,)

    @property
    def tokens(self) -> list[Int64]:
        """The tokens of each input without its padding, int64[S]; none of a source that reads no tokens."""
        if self.input_ids is None:
            return []
        lengths = [self.input_ids.shape[1]] * self.batch if self.lengths is None else self.lengths[:, 0].tolist()
        return [row[:length] for row, length in zip(self.input_ids, lengths, strict=True)]


class Decoder(Protocol):
    """A decoder never sees a score; a search never sees a cache."""

    def start(self, encoded: Encoded, num_beams: int, max_length: int, *, attentions: bool = False) -> State:
        """A fresh state of R = encoded.batch x num_beams rows with room for max_length positions.

        attentions: whether `attentions` will be asked for; only of decoders that have it.
        """
        ...

    def step(self, state: State, tokens: Int64, parents: Int64 | None) -> Float32:
        """Append tokens and look one position ahead.

        tokens: int64[R, T], T > 1 only for a prompt. parents: int64[R], the row that each row continues (None: itself).
        Returns logits, float32[R, V], of the last token; they are valid until the next step of the same state.
        """
        ...

    def attentions(self, state: State) -> Float32:
        """The cross-attention weights of the last step's last tokens, float32[L, R, H, S]."""
        ...

    def shares(self, state: State) -> Float32:
        """How much of what the last step's last tokens read each of M sources gave, float32[R, M]; only where what is
        encoded has several."""
        ...

    def narrow(self, state: State, inputs: Int64) -> State:
        """A state that goes on with some of the inputs only, int64[b], ascending; the given one is not used again."""
        ...


def gives_scores(decoder: Decoder) -> bool:
    """Whether what its steps return is added up as it is. Of most decoders it is not: a search takes the logarithm of
    its softmax. A decoder says so by an attribute of this name."""
    return bool(getattr(decoder, "gives_scores", False))


class Best(NamedTuple):
    """The K likeliest next tokens of each row, best first."""

    logprobs: Float32  # float32[R, K]
    tokens: Int64  # int64[R, K]


class GivesBest(Protocol):
    """A decoder that tells the likeliest next tokens without all logits, which stay on its device. offers: K."""

    offers: int

    def best(self, state: State, tokens: Int64, parents: Int64 | None) -> Best:
        """As Decoder.step."""
        ...


def gives_best(decoder: object) -> GivesBest | None:
    """The decoder, if it is one of these."""
    return cast(GivesBest, decoder) if getattr(decoder, "offers", 0) else None


def narrows(decoder: Decoder) -> bool:
    """Whether it pays to give up inputs that are finished. Not of a decoder that says so by an attribute of this name:
    one whose caches would go from its device and back."""
    return bool(getattr(decoder, "narrows", True))


class State:
    """One hypothesis set in progress: which rows, how far, and the memory it lives in. A search only passes it on."""

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows = rows
        self.capacity = capacity
        self.position = 0
        self.stepping = False  # from the beginning of a step until it returns


def refuse_broken_off(state: State) -> None:
    """Raises InputError for a state whose last step did not return."""
    if state.stepping:
        raise InputError("a step of this caption failed or was broken off, so it cannot go on; start it again")


def rows_of(inputs: Int64, num_beams: int) -> Int64:
    """The rows of these inputs, int64[b x num_beams]."""
    return (inputs[:, None] * num_beams + np.arange(num_beams)).ravel()
