"""The package `fuseline.kernels`: one small C++ library, and its definitions in numpy where there is no library.

Two variables of the environment are read when a kernel is first used: FUSELINE_KERNELS=off (or 0) leaves the library
alone, and FUSELINE_ISA=scalar, avx2, avx512, avx512bf16, amx, neon or neonbf16 names the instruction set that it uses.
"""

from __future__ import annotations

import operator

import numpy as np

from fuseline.errors import InputError

from .definitions import Box, Float16, Float32, Int64, UInt8
from .guard import Guard, guard_files
from .library import LibraryInfo, Portable, kernels

__all__ = [
    "Guard",
    "LibraryInfo",
    "beam_candidates",
    "guard_files",
    "library_info",
    "resized",
    "to_halves",
    "top_candidates",
    "warn_if_portable",
]


def top_candidates(logits: Float32, k: int) -> tuple[Float32, Int64, Float32]:
    """The k largest logits of each row, largest first, and the logarithm of the sum of the exponentials of each row.

    logits: float32[R, V], in any memory order. Returns values float32[R, K], indices int64[R, K] and logsumexp
    float32[R], the latter within 1e-5, and one rounding to float32, of the exact value.
    Of equal logits the lower index comes first. A NaN counts as -inf; a row of nothing but -inf has logsumexp -inf, a
    row with +inf has +inf. Raises InputError for other logits, and unless 1 <= k <= V.
    """
    _check("top_candidates takes logits as an array float32[rows, vocabulary]", logits)
    k = operator.index(k)
    if not 1 <= k <= logits.shape[1]:
        raise InputError(f"top_candidates finds at least 1 and at most all {logits.shape[1]} logits of a row, not {k}")
    return kernels().top_candidates(logits, k)


def beam_candidates(
    logits: Float32, scores: Float32, keep: int, *, normalized: bool = False
) -> tuple[Float32, Float32, Int64, Int64]:
    """The best continuations of each input's hypotheses: what a step of beam search goes on with.

    logits: float32[R, V], in any memory order, rows of one input together; normalized: whether they are
    log-probabilities already. scores: float32[B, beams], the sum of log-probabilities of each hypothesis so far,
    B x beams = R. Returns of the `keep` best, or all if there are fewer: sums float32[B, K], log-probabilities
    float32[B, K], tokens int64[B, K] and the rows continued, int64[B, K]. Of equal sums the lower row comes first, then
    its larger logit, then its lower token; NaN comes last. Raises InputError for other arrays, and for keep < 1.
    """
    _check("beam_candidates takes logits as an array float32[rows, vocabulary]", logits)
    _check("beam_candidates takes scores as an array float32[inputs, beams]", scores)
    if scores.size != len(logits) or 0 in scores.shape[1:] or not logits.shape[1]:
        raise InputError(
            f"beam_candidates takes a row of logits for each score, not logits of shape {list(logits.shape)} for "
            f"scores of shape {list(scores.shape)}"
        )
    keep = operator.index(keep)
    if keep < 1:
        raise InputError(f"beam_candidates finds at least 1 continuation, not {keep}")
    return kernels().beam_candidates(logits, scores, keep, normalized)


def to_halves(floats: Float32, halves: Float16) -> None:
    """Write an input's keys or values as cross-attention reads them: as halves, the positions of a head together.

    floats: float32[B, S, H x D]; halves: float16[B, H, S, D], written: the nearest of each number, of two equally near
    ones the even, of one too large infinity. Raises InputError unless both are contiguous and of such shapes.
    """
    _check_halves(floats, halves)
    kernels().to_halves(floats, halves)


def resized(pixels: UInt8, size: tuple[int, int], box: Box, *, cubic: bool) -> UInt8 | None:
    """A photo made larger or smaller: to the bit what Pillow makes along the rows first, then along the columns.

    pixels: uint8[height, width, 3]; size: (columns, rows) of the result, uint8[rows, columns, 3]; box: the part that is
    taken, as Pillow has it; cubic: by the filter BICUBIC, else BILINEAR. None where Pillow has to do it: there is no
    library or no memory, or sizes and box are none. Raises InputError for other pixels.
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"resized takes pixels as an array uint8[height, width, 3], not {_named(pixels)}")
    return kernels().resized(np.ascontiguousarray(pixels), size, box, cubic)


def _check_halves(floats: object, halves: object) -> None:
    """Raises InputError for what to_halves does not take."""
    if isinstance(floats, np.ndarray) and isinstance(halves, np.ndarray) and floats.ndim == 3 and halves.ndim == 4:
        inputs, heads, positions, size = halves.shape
        types = floats.dtype == np.float32 and halves.dtype == np.float16
        lie = all(each.flags.c_contiguous and each.flags.aligned for each in (floats, halves))
        fit = heads * size > 0 and floats.shape == (inputs, positions, heads * size)
        if types and lie and fit and halves.flags.writeable:
            return
    raise InputError(
        "to_halves takes contiguous arrays float32[B, S, H x D] and float16[B, H, S, D] that can be written, not "
        f"{_named(floats)} and {_named(halves)}"
    )


def _named(given: object) -> str:
    return f"{given.dtype}{list(given.shape)}" if isinstance(given, np.ndarray) else type(given).__name__


def _check(wanted: str, given: object) -> None:
    """Raises InputError unless it is float32 with two dimensions."""
    if not isinstance(given, np.ndarray) or given.dtype != np.float32 or given.ndim != 2:
        raise InputError(f"{wanted}, not {_named(given)}")


def library_info() -> LibraryInfo:
    """What the kernels run on. Raises InputError if the environment asks for what there is not."""
    return kernels().info


def warn_if_portable(stacklevel: int = 1) -> None:
    """Say as a RuntimeWarning, once in a process, that there is no kernel library and why; nothing where there is one.

    stacklevel: 1 blames the nearest line outside fuseline, 2 whoever called that, and so on. Raises InputError as
    library_info does.
    """
    used = kernels()
    if isinstance(used, Portable):
        used.notice.warn(stacklevel)
