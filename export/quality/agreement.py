"""How far a variant agrees with the floats it was made of, on photos or texts that nobody described or translated.

Both read the same texts, those of the floats, and their distributions of every next token are compared. Dimensions: `B`
inputs, `T` tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.generation.config import GenerationConfig
from fuseline.model import Model

from .reading import Inputs, count_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NextTokens:
    """inputs: how many photos or texts, of which `kind` says which; tokens: the share of positions where both would say
    the same token next; divergence: of the two distributions there, Kullback-Leibler, in nats, mean; beam: the share of
    whole texts that are equal, with the model's own beams.
    """

    inputs: int
    positions: int
    tokens: float
    divergence: float
    beam: float
    kind: str = "photos"

    def record(self) -> dict[str, Any]:
        """As fuseline.json has it."""
        fields = asdict(self)
        count = "photos" if fields.pop("kind") == "photos" else "inputs"
        return {count: fields.pop("inputs"), **fields}


def next_tokens(
    base: Model, others: Sequence[Model], batches: Sequence[Inputs], config: GenerationConfig | None = None
) -> list[NextTokens]:
    """Compare each of the others with base on batches of what their encoders read. config: for generate (default: the
    model's own)."""
    same, apart, equal = ([0.0] * len(others) for _ in range(3))
    config = (base.generation_config if config is None else config).override(num_return_sequences=1)
    count = positions = 0
    for inputs in batches:
        sequences = base.generate(inputs, generation_config=config).sequences
        expected, counts = _log_probabilities(base, inputs, sequences), _said(base, sequences)
        count, positions = count + count_of(inputs), positions + int(counts.sum())
        for index, other in enumerate(others):
            found = _log_probabilities(other, inputs, sequences)
            same[index] += float((found.argmax(-1) == expected.argmax(-1))[counts].sum())
            apart[index] += float((np.exp(expected) * (expected - found)).sum(-1)[counts].sum())
            texts = other.decode(other.generate(inputs, generation_config=config).sequences)
            equal[index] += sum(a == b for a, b in zip(base.decode(sequences), texts, strict=True))
    kind = "texts" if base.folder.source.reads_text else "photos"
    return [
        NextTokens(count, positions, same[index] / positions, apart[index] / positions, equal[index] / count, kind)
        for index in range(len(others))
    ]


def _said(model: Model, sequences: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """bool[B, T - 1]: the positions that a text was still being said at, its end included."""
    ends = np.isin(sequences[:, 1:], model.generation_config.ends)
    counts: npt.NDArray[np.bool_] = (ends.cumsum(axis=1) - ends) == 0
    return counts


def _log_probabilities(model: Model, inputs: Inputs, sequences: npt.NDArray[np.int64]) -> Floats:
    """float64[B, T - 1, V]: of what follows each token but the last."""
    decoder = model.decoder
    state = decoder.start(model.encode(inputs), 1, sequences.shape[1])
    steps = []
    for position in range(sequences.shape[1] - 1):
        logits = decoder.step(state, np.ascontiguousarray(sequences[:, position : position + 1]), None)
        shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
        steps.append(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
    return np.stack(steps, axis=1)
