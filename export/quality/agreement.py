"""How far a variant agrees with the floats it was made of, on photos, texts or clips for which nobody wrote anything.

Both read the same texts, those of the floats, and their distributions of every next token are compared. Dimensions: `B`
inputs, `T` tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.folders.tensors import PHOTOGRAPH, SPEECH, TEXT
from fuseline.graphs.contract import Encoded
from fuseline.graphs.sources import count_of
from fuseline.model import Model

from .reading import Inputs, Reading

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NextTokens:
    """inputs: how many photos, texts or clips, of which `kind` says which; tokens: the share of positions where both
    would say the same token next; divergence: of the two distributions there, Kullback-Leibler, in nats, mean; beam:
    the share of whole texts that are equal, with the model's own beams.
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
    base: Model, others: Sequence[Model], batches: Sequence[Inputs], reading: Reading | None = None
) -> list[NextTokens]:
    """Compare each of the others with base on batches of what their encoders read. reading: how texts are made and
    begin (default: as the model's own options say)."""
    same, apart, equal = ([0.0] * len(others) for _ in range(3))
    config = (base.generation_config if reading is None else reading.config(base)).override(num_return_sequences=1)
    count = positions = 0
    for inputs in batches:
        encoded = base.encode(inputs)
        prompt = None if reading is None else reading.prompt(base, encoded)
        sequences = base.generate(encoded, prompt, generation_config=config).sequences
        expected = _log_probabilities(base, encoded, sequences)
        counts = _said(base, sequences, 1 if prompt is None else prompt.shape[1])
        count, positions = count + count_of(inputs), positions + int(counts.sum())
        for index, other in enumerate(others):
            encoded = other.encode(inputs)
            found = _log_probabilities(other, encoded, sequences)
            same[index] += float((found.argmax(-1) == expected.argmax(-1))[counts].sum())
            apart[index] += float((np.exp(expected) * (expected - found)).sum(-1)[counts].sum())
            texts = other.decode(other.generate(encoded, prompt, generation_config=config).sequences)
            equal[index] += sum(a == b for a, b in zip(base.decode(sequences), texts, strict=True))
    kinds = {PHOTOGRAPH: "photos", TEXT: "texts", SPEECH: "clips"}
    kind = kinds[base.folder.source.reads] if base.folder.fusion is None else "inputs"
    return [
        NextTokens(count, positions, same[index] / positions, apart[index] / positions, equal[index] / count, kind)
        for index in range(len(others))
    ]


def _said(model: Model, sequences: npt.NDArray[np.int64], begun: int) -> npt.NDArray[np.bool_]:
    """bool[B, T - 1]: the positions that a text was still being said at, its end included. begun: tokens before it."""
    ends = np.isin(sequences[:, 1:], model.generation_config.ends)
    counts: npt.NDArray[np.bool_] = (ends.cumsum(axis=1) - ends) == 0
    counts[:, : begun - 1] = False
    return counts


def _log_probabilities(model: Model, encoded: Encoded, sequences: npt.NDArray[np.int64]) -> Floats:
    """float64[B, T - 1, V]: of what follows each token but the last."""
    decoder = model.decoder
    state = decoder.start(encoded, 1, sequences.shape[1])
    steps = []
    for position in range(sequences.shape[1] - 1):
        logits = decoder.step(state, np.ascontiguousarray(sequences[:, position : position + 1]), None)
        shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
        steps.append(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
    return np.stack(steps, axis=1)
