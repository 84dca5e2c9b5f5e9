"""How probable a model finds given texts: the cross-entropy of every token, which ranks captions.

Dimensions: `N` texts, those of one photo together, `T` tokens of the longest with its end token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Float32, Int64, log_softmax
from ..errors import InputError
from ..graphs.contract import gives_scores
from ..memory import check_memory
from .steps import needed_bytes

if TYPE_CHECKING:
    from ..folders.tensors import DecoderSizes
    from ..graphs.contract import Decoder, Encoded

_NO_LABEL = -100  # transformers' mark of a place that has no token


@dataclass(frozen=True, eq=False)
class Score:
    """What Model.score returns: lower is more probable. Two of them are equal where they are the same object."""

    labels: Int64
    """int64[N, T]: the tokens of each text and its end token, then -100, as transformers takes labels"""
    cross_entropy: Float32
    """float32[N, T]: -log of the probability of each of them after the ones before, 0 where there is none"""

    @property
    def loss(self) -> Float32:
        """float32[N]: the mean over a text's tokens, the loss that such models are trained with."""
        mean: Float32 = self.cross_entropy.sum(axis=1) / (self.labels != _NO_LABEL).sum(axis=1).astype(np.float32)
        return mean


def padded_labels(texts: Sequence[Sequence[int]], end: int | None, sizes: DecoderSizes) -> Int64:
    """Labels int64[N, T] of tokenized texts. sizes: of the decoder.

    Raises InputError for a text that has no token, too many, or one that the decoder does not have, and for more texts
    than fit into memory.
    """
    ended = [list(text) if end is None else [*text, end] for text in texts]
    for number, text in enumerate(ended, start=1):
        if not 0 < len(text) <= sizes.max_positions:
            raise InputError(
                f"text {number} has {len(texts[number - 1])} tokens{'' if end is None else ' and the end token'}, and "
                f"this model's decoder takes 1 to {sizes.max_positions}"
            )
        if max(text) >= sizes.vocab_size:
            raise InputError(
                f"text {number} has the token {max(text)}, and this model's decoder has 0 to {sizes.vocab_size - 1}"
            )
    longest = max(map(len, ended))
    check_memory(
        needed_bytes(len(ended), longest, sizes), f"{len(ended)} texts of up to {longest} tokens", "score fewer at once"
    )
    labels = np.full((len(ended), longest), _NO_LABEL, np.int64)
    for row, text in zip(labels, ended, strict=True):
        row[: len(text)] = text
    return labels


def score(decoder: Decoder, encoded: Encoded, labels: Int64, start: int) -> Score:
    """The cross-entropy of the labels, int64[N, T], after the start token; N is a multiple of the photos."""
    normalized = gives_scores(decoder)
    state = decoder.start(encoded, len(labels) // encoded.batch, labels.shape[1])
    there = labels != _NO_LABEL
    known = np.where(there, labels, 0)  # what a row is fed after its end changes nothing that counts
    cross_entropy = np.zeros(labels.shape, np.float32)
    tokens = np.full((len(labels), 1), start, np.int64)
    for place in range(labels.shape[1]):
        logits = decoder.step(state, tokens, None)
        logprobs = logits if normalized else log_softmax(logits)
        tokens = known[:, place : place + 1]
        cross_entropy[:, place] = -np.take_along_axis(logprobs, tokens, axis=1)[:, 0]
    return Score(labels, np.where(there, cross_entropy, np.float32(0)))
