"""The package `fuseline.kernels`: one small C++ library, and its definitions in numpy where there is no library.

Two variables of the environment are read when a kernel is first used: FUSELINE_KERNELS=off leaves the library alone,
and FUSELINE_ISA=scalar, avx2, avx512 or neon names the instruction set that it uses.
"""

from __future__ import annotations

import operator

import numpy as np

from fuseline.errors import InputError

from .definitions import Float32, Int64
from .library import LibraryInfo, kernels

__all__ = ["LibraryInfo", "library_info", "top_candidates"]


def top_candidates(logits: Float32, k: int) -> tuple[Float32, Int64, Float32]:
    """The k largest logits of each row, largest first, and the logarithm of the sum of the exponentials of each row.

    logits: float32[R, V], in any memory order. Returns values float32[R, K], indices int64[R, K] and logsumexp
    float32[R], the latter within 1e-5, and one rounding to float32, of the exact value.
    Of equal logits the lower index comes first. A NaN counts as -inf; a row of nothing but -inf has logsumexp -inf, a
    row with +inf has +inf. Raises InputError for other logits, and unless 1 <= k <= V.
    """
    if not isinstance(logits, np.ndarray) or logits.dtype != np.float32 or logits.ndim != 2:
        given = f"{logits.dtype}{list(logits.shape)}" if isinstance(logits, np.ndarray) else type(logits).__name__
        raise InputError(f"top_candidates takes logits as an array float32[rows, vocabulary], not {given}")
    k = operator.index(k)
    if not 1 <= k <= logits.shape[1]:
        raise InputError(f"top_candidates finds at least 1 and at most all {logits.shape[1]} logits of a row, not {k}")
    return kernels().top_candidates(logits, k)


def library_info() -> LibraryInfo:
    """What the kernels run on. Raises InputError if the environment asks for what there is not."""
    return kernels().info
