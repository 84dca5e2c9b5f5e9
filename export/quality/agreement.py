"""How far a variant agrees with the floats it was made of, on photos that nobody described.

Both read the same texts, those of the floats, and their distributions of every next token are compared. Dimensions: `N`
photos, `T` tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fuseline.model import Model

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NextTokens:
    """tokens: the share of positions where both would say the same token next; divergence: of the two distributions
    there, Kullback-Leibler, in nats, mean; beam: the share of whole texts that are equal, with the model's own beams.
    """

    photos: int
    positions: int
    tokens: float
    divergence: float
    beam: float


def next_tokens(base: Model, others: Sequence[Model], batches: Sequence[npt.NDArray[np.float32]]) -> list[NextTokens]:
    """Compare each of the others with base on batches of pixel_values, float32[N, 3, height, width] each."""
    same, apart, equal = ([0.0] * len(others) for _ in range(3))
    photos = positions = 0
    for pixels in batches:
        sequences = base.generate(pixels, num_return_sequences=1).sequences
        expected, counts = _log_probabilities(base, pixels, sequences), _said(base, sequences)
        photos, positions = photos + len(pixels), positions + int(counts.sum())
        for index, other in enumerate(others):
            found = _log_probabilities(other, pixels, sequences)
            same[index] += float((found.argmax(-1) == expected.argmax(-1))[counts].sum())
            apart[index] += float((np.exp(expected) * (expected - found)).sum(-1)[counts].sum())
            texts = other.decode(other.generate(pixels, num_return_sequences=1).sequences)
            equal[index] += sum(a == b for a, b in zip(base.decode(sequences), texts, strict=True))
    return [
        NextTokens(photos, positions, same[index] / positions, apart[index] / positions, equal[index] / photos)
        for index in range(len(others))
    ]


def _said(model: Model, sequences: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """bool[N, T - 1]: the positions that a text was still being said at, its end included."""
    ends = np.isin(sequences[:, 1:], model.generation_config.ends)
    counts: npt.NDArray[np.bool_] = (ends.cumsum(axis=1) - ends) == 0
    return counts


def _log_probabilities(model: Model, pixels: npt.NDArray[np.float32], sequences: npt.NDArray[np.int64]) -> Floats:
    """float64[N, T - 1, V]: of what follows each token but the last."""
    decoder = model.decoder
    state = decoder.start(model.encode(pixels), 1, sequences.shape[1])
    steps = []
    for position in range(sequences.shape[1] - 1):
        logits = decoder.step(state, np.ascontiguousarray(sequences[:, position : position + 1]), None)
        shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
        steps.append(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
    return np.stack(steps, axis=1)
