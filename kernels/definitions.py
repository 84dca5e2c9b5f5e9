"""The kernels in numpy: what the library must compute, and what runs where there is no library.

Dimensions: `B` inputs of a call (photos, texts), `R` rows, `V` vocabulary, `K` candidates of a row or of an input.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float16 = npt.NDArray[np.float16]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]  # left, upper, right, lower


def top_candidates(logits: Float32, k: int) -> tuple[Float32, Int64, Float32]:
    """The k largest logits of each row, largest first, and the logarithm of the sum of the exponentials of each row.

    logits: float32[R, V]; 1 <= k <= V. Returns values float32[R, K], indices int64[R, K] and logsumexp float32[R].
    Of equal logits the lower index comes first. A NaN counts as -inf, so that a broken logit is chosen last and never
    spoils its row; a row of nothing but -inf has logsumexp -inf, a row with +inf has +inf.
    """
    clean = np.where(np.isnan(logits), np.float32(-np.inf), logits)
    indices = np.empty((len(clean), k), np.int64)
    for row, found in zip(clean, indices, strict=True):
        # Sorting only what can be among them; a partition alone leaves open which of several equal ones it takes.
        worst = np.partition(row, row.size - k)[row.size - k]
        possible = np.flatnonzero(row >= worst)
        found[:] = possible[np.argsort(-row[possible], kind="stable")[:k]]
    values = np.take_along_axis(clean, indices, axis=1)
    return values, indices, _logsumexp(clean, values[:, 0])


def beam_candidates(
    logits: Float32, scores: Float32, keep: int, normalized: bool
) -> tuple[Float32, Float32, Int64, Int64]:
    """The best continuations of each input's hypotheses: their sums, log-probabilities, tokens and rows, each [B, K].

    logits: float32[R, V], rows of one input together, log-probabilities already where `normalized`. scores:
    float32[B, beams], the sums so far. All may continue one row, so each offers min(keep, V), and K is at most `keep`.
    The best come first, of equal ones the lower row, then its larger logit; NaN is worse than any number.
    """
    (inputs, beams), offered = scores.shape, min(keep, logits.shape[1])
    values, indices, logsumexp = top_candidates(logits, offered)
    with np.errstate(over="ignore", invalid="ignore"):  # the lowest float32 stands for -inf; inf - inf is NaN
        logprobs = values if normalized else values - logsumexp[:, None]
        sums = logprobs + scores.reshape(-1, 1)
    order = np.argsort(-sums.reshape(inputs, beams * offered), axis=1, kind="stable")[:, :keep]
    picked = order + np.arange(0, inputs * beams * offered, beams * offered)[:, None]
    return sums.ravel()[picked], logprobs.ravel()[picked], indices.ravel()[picked], picked // offered


def to_halves(floats: Float32, halves: Float16) -> None:
    """float32[B, S, H x D] as float16[B, H, S, D]: the nearest, of two equally near ones the even, or infinity."""
    inputs, heads, positions, size = halves.shape
    with np.errstate(over="ignore"):
        halves[...] = floats.reshape(inputs, positions, heads, size).transpose(0, 2, 1, 3)


def _logsumexp(logits: Float32, largest: Float32) -> Float32:
    """float32[R], computed in float64. logits: float32[R, V] without NaN; largest: float32[R], the largest of a row."""
    shift = np.where(np.isfinite(largest), largest, 0).astype(np.float64)
    # The logarithm of an empty sum is -inf; beside a +inf nothing else counts, also if its exponential is too large.
    with np.errstate(divide="ignore", over="ignore"):
        sums = np.exp(logits - shift[:, None]).sum(axis=1)
        logsumexp: Float32 = (np.log(sums) + shift).astype(np.float32)
    return logsumexp
