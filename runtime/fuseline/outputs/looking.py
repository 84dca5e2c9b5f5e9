"""Where a model looked when it said each word: cross-attention of heads and layers as one row of weights a word.

**The rule.** Each head of each layer counts by how far its attention is from even: 1 - H / log S, with H the entropy of
its weights over the S positions, in the step that gave the token. A head that looks everywhere counts 0, one that looks
at one position 1. The entropy is what Clark et al. measure how broad a head's attention is with ("What Does BERT Look
At?", 2019, arXiv 1906.04341, section 3.2); that the heads that look at few positions are those that matter is a finding
of Voita et al. ("Analyzing Multi-Head Self-Attention", 2019, arXiv 1905.09418). A word's weights are the mean of those
of its tokens.

Attention says what was read, and not why a word was chosen (Jain and Wallace, "Attention is not Explanation", 2019).

Dimensions: `T` generated tokens, `L` layers, `H` heads, `S` encoder positions, `W` words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import Float32
from ..errors import InputError, written
from ..generation.result import Generation
from .words import Decode, words_of


@dataclass(frozen=True, eq=False)
class Looking:
    """A text, and how much each of its words looked at each position of what was read.

    words: those of the text that were generated: what a prompt brought has looked nowhere. weights: float32[W, S], each
    row sums to 1.
    """

    text: str
    words: tuple[str, ...]
    weights: Float32

    def record(self) -> dict[str, Any]:
        """As JSON has it: {"text": ..., "words": [{"text": ..., "weights": [S numbers]}, ...]}."""
        rows = zip(self.words, self.weights.tolist(), strict=True)
        return {"text": self.text, "words": [{"text": word, "weights": weights} for word, weights in rows]}


def looking(generation: Generation, decode: Decode, index: int = 0) -> Looking:
    """Of one sequence of a generation that was made with output_attentions.

    decode: Model.decode. index: of the sequence, among B x num_return_sequences. Raises InputError for a generation
    without attentions, and an index that it does not have.
    """
    seen = generation.cross_attentions
    if seen is None:
        raise InputError(
            "this generation has no cross-attentions, which say where the model looked; generate with "
            "output_attentions=True"
        )
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(seen):
        raise InputError(f"index must be that of a sequence, from 0 to {len(seen) - 1}, not {written(index)}")
    by_token = in_one(seen[index])
    text, found = steps_of_words(generation, decode, index)
    rows = [(word, by_token[steps].mean(axis=0)) for word, steps in found if by_token[steps].any()]
    weights = np.array([row for _, row in rows], np.float32).reshape(len(rows), seen.shape[-1])
    return Looking(text, tuple(word for word, _ in rows), weights)


def steps_of_words(generation: Generation, decode: Decode, index: int) -> tuple[str, list[tuple[str, list[int]]]]:
    """The text of one sequence, and its words, each with the steps that gave its tokens, from 0 to T - 1.

    What is known of each step, such as the share of each source in it, is known of a word as the mean over these. Words
    of the prompt have no steps and are left out.
    """
    tokens = generation.sequences[index].tolist()
    prompt = len(tokens) - generation.token_logprobs.shape[1]
    text, found = words_of(tokens, decode)
    said = [(word.text, [place - prompt for place in word.tokens if place >= prompt]) for word in found]
    return text, [(word, steps) for word, steps in said if steps]


def in_one(attentions: Float32) -> Float32:
    """Heads and layers as one, by the rule above: float32[T, L, H, S] -> float32[T, S], each row of which sums to 1, or
    is 0 where no head looked anywhere, as after the end."""
    steps, layers, heads, positions = attentions.shape
    weights = attentions.reshape(steps, layers * heads, positions)
    focus = np.ones(weights.shape[:2], np.float32)
    if positions > 1:
        logs = np.log(np.where(weights > 0, weights, 1))
        focus = np.maximum(1 + (weights * logs).sum(axis=-1) / math.log(positions), 0)
        focus[focus.sum(axis=-1) < 1e-6] = 1  # all heads look everywhere
    mixed = (focus[..., np.newaxis] * weights).sum(axis=1)
    return shares(mixed)


def shares(weights: npt.NDArray[np.floating[Any]]) -> Float32:
    """Rows that sum to 1 over their last dimension; a row of zeros stays."""
    total = weights.sum(axis=-1, keepdims=True, dtype=np.float64)
    return (weights / np.where(total > 0, total, 1)).astype(np.float32)


def over_spans(weights: Float32, spans: Sequence[Sequence[int]]) -> Float32:
    """What was looked at as N spans of positions, such as the words of a text: float32[W, S] -> float32[W, N].

    spans: the positions of each. Positions of none, such as the end token's, are left out, and rows sum to 1 again.
    """
    sums = [weights[:, list(span)].sum(axis=1) for span in spans]
    return shares(np.stack(sums, axis=1) if sums else np.zeros((len(weights), 0), np.float32))
