"""What the decoder itself finds of the tokens that a search follows, whatever options make of its scores.

Dimensions: `R` rows, `V` vocabulary, `K` candidates of a step, `T` tokens of a sequence, prompt included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fuseline.kernels import top_candidates

from ..arrays import Float32, Int64
from .steps import Hypothesis

Float64 = npt.NDArray[np.float64]


class ModelLogprobs:
    """The log-probabilities of every step's candidates, kept where they are wanted.

    Of a step only what may become part of a sequence is kept: its logits would be R x V numbers, and the decoder is
    never asked again.
    """

    def __init__(self, wanted: bool) -> None:
        self._kept: list[dict[tuple[int, int], float]] | None = [] if wanted else None

    def __bool__(self) -> bool:
        return self._kept is not None

    def put(self, step: int, logits: Float32, rows: Int64, tokens: Int64) -> None:
        """Keep those of a step, the first being 0, and forget what a step that was broken off had left.

        logits: float32[R, V], as the decoder gave them; rows, tokens: int64[K], each candidate's row and token.
        """
        if self._kept is None:
            return
        with np.errstate(invalid="ignore"):  # a row of nothing but -inf has none, which is NaN
            found = logits[rows, tokens].astype(np.float64) - top_candidates(logits, 1)[2][rows]
        self._kept[step:] = [dict(zip(zip(rows.tolist(), tokens.tolist(), strict=True), found.tolist(), strict=True))]

    def of(self, found: Sequence[Hypothesis]) -> tuple[Float64, ...] | None:
        """float64[T - prompt] of each sequence; None where none were wanted."""
        return None if self._kept is None else tuple(self._of_one(each, self._kept) for each in found)

    def _of_one(self, sequence: Hypothesis, kept: list[dict[tuple[int, int], float]]) -> Float64:
        rows = sequence.rows.tolist()
        tokens = sequence.tokens[len(sequence.tokens) - len(rows) :].tolist()
        return np.array([kept[step][each] for step, each in enumerate(zip(rows, tokens, strict=True))], np.float64)
