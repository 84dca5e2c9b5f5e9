"""Scores of next tokens: their types, what excludes a token, and the logarithm of the softmax.

Dimensions: `R` rows, `T` tokens so far, prompt included, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.kernels import top_candidates

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Processor = Callable[[Int64, Float32], Float32]

NEVER = np.float32(-np.inf)


def log_softmax(scores: Float32) -> Float32:
    """The logarithm of the softmax of each row, float32[R, V]; a row of nothing but -inf stays as it is."""
    logsumexp = top_candidates(scores, 1)[2]
    return scores - np.where(np.isfinite(logsumexp), logsumexp, np.float32(0))[:, None]


def as_array(value: Any) -> npt.NDArray[Any]:
    """What a caller has given or a caller's function has returned as an array; of objects where it is none."""
    try:
        return np.asarray(value)
    except (
        Exception
    ):  # lists of different lengths, whole numbers that no type of numpy holds, a tensor that is elsewhere
        return np.array(None)


def read_only(sequences: Int64) -> Int64:
    """The same numbers, which a caller's function cannot change."""
    view = sequences.view()
    view.flags.writeable = False
    return view
