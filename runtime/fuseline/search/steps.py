"""What greedy and beam search share: the timed steps of a decoder, the end tokens, the length penalty, the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InputError

if TYPE_CHECKING:
    from ..decoder import Decoder, Encoded

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """What a search found: sequences int64[N, T], padded, and their scores float32[N]; N = B x num_return_sequences."""

    sequences: Int64
    scores: Float32


class Steps:
    """The steps of one search: decoder, state and clock. A search waits for the decoder here and nowhere else.

    milliseconds: time in the decoder so far; count: steps so far.
    """

    def __init__(self, decoder: Decoder, encoded: Encoded, num_beams: int, max_length: int) -> None:
        began = perf_counter()
        self._decoder = decoder
        self._state = decoder.start(encoded, num_beams, max_length)
        self.milliseconds = (perf_counter() - began) * 1000
        self.count = 0

    def __call__(self, tokens: Int64, parents: Int64 | None) -> Float32:
        """Logits float32[R, V], valid until the next call; tokens: int64[R, T], parents: int64[R], rows continued."""
        began = perf_counter()
        logits = self._decoder.step(self._state, tokens, parents)
        self.milliseconds += (perf_counter() - began) * 1000
        self.count += 1
        return logits


def end_table(ends: Sequence[int], vocab_size: int) -> Bool:
    """bool[>= V]: whether a token ends a sequence; a look-up costs a fraction of np.isin for a few tokens."""
    table = np.zeros(max(vocab_size, *ends, 0) + 1, np.bool_)
    table[list(ends)] = True
    return table


def length_divisors(max_new_tokens: int, length_penalty: float) -> Float32:
    """float32[max_new_tokens + 1]: n ** length_penalty, which divides the score of n generated tokens; 1 for n = 0.

    Raises InputError where a power is too large or too small for float32.
    """
    with np.errstate(over="ignore", under="ignore"):
        powers = np.maximum(np.arange(max_new_tokens + 1, dtype=np.float64), 1.0) ** length_penalty
        divisors = powers.astype(np.float32)
    if not np.all(np.isfinite(divisors) & (divisors > 0)):
        raise InputError(
            f"length_penalty={length_penalty} is too far from 0 for sequences of {max_new_tokens} new tokens"
        )
    return divisors
