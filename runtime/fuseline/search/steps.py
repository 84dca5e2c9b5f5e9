"""What all searches share: what they are asked, the timed steps of a decoder, the length penalty, what they find."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InputError
from ..scores import Float32, Int64

if TYPE_CHECKING:
    from ..decoder import Decoder, Encoded
    from ..generation import GenerationConfig
    from .endings import Endings


@dataclass(frozen=True)
class Task:
    """What a search is asked. prompt: int64[B, T]; longest: tokens of the longest sequence, prompt included, > T."""

    steps: Steps
    prompt: Int64
    config: GenerationConfig
    longest: int
    endings: Endings

    @property
    def start(self) -> int:
        """How many tokens the prompt has."""
        return int(self.prompt.shape[1])


class Hypothesis(NamedTuple):
    """A sequence with the log-probabilities of its generated tokens, and the rows whose scores these were."""

    tokens: Int64  # int64[T], prompt included
    logprobs: Float32  # float32[T - prompt]
    rows: Int64  # int64[T - prompt]
    score: float
    reason: str  # why it ended, "" if it has not


@dataclass(frozen=True)
class Prefix:
    """What is known of a photo's best sequence. certain: int64[T], prompt included; tentative: what else the likeliest
    hypothesis has, int64[t]; reason: why the sequence ended, "" while it may go on."""

    certain: Int64
    tentative: Int64
    reason: str


class Steps:
    """The steps of one search: decoder, state and clock. A search waits for the decoder here and nowhere else.

    milliseconds: time in the decoder so far; count: steps so far; logits: those of all steps, where they are kept.
    """

    def __init__(self, decoder: Decoder, encoded: Encoded, each: int, max_length: int, keep_logits: bool) -> None:
        """each: rows a photo; max_length: of the longest sequence, in tokens."""
        began = perf_counter()
        self._decoder = decoder
        self._state = decoder.start(encoded, each, max_length)
        self.logits: list[Float32] | None = [] if keep_logits else None
        self.milliseconds = (perf_counter() - began) * 1000
        self.count = 0

    def __call__(self, tokens: Int64, parents: Int64 | None) -> Float32:
        """Logits float32[R, V], valid until the next call; tokens: int64[R, T], parents: int64[R], rows continued."""
        began = perf_counter()
        logits = self._decoder.step(self._state, tokens, parents)
        self.milliseconds += (perf_counter() - began) * 1000
        self.count += 1
        if self.logits is not None:
            self.logits.append(logits.copy())
        return logits


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
