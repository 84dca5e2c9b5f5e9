"""What all searches share: what they are asked, the timed steps of a decoder, the length penalty, what they find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fuseline.kernels import top_candidates

from ..arrays import Bool, Float32, Int64
from ..errors import InputError
from ..graphs.contract import Best, Encoded, gives_best, gives_scores, narrows

if TYPE_CHECKING:
    from ..folders.tensors import DecoderSizes
    from ..generation.config import GenerationConfig
    from ..graphs.contract import Decoder
    from .endings import Endings


MOST_LEFT = 0.5  # the share of a batch that goes on at which its rows are made fewer (benchmarks/compaction.py)


@dataclass(frozen=True)
class Task:
    """What a search is asked. prompt: int64[B, T]; longest: tokens of the longest sequence, prompt included, > T."""

    steps: Steps
    prompt: Int64
    config: GenerationConfig
    longest: int
    endings: Endings
    inputs: Sequence[Int64] = ()
    """the tokens of each input, int64[S], where the encoder reads tokens"""

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


class Log:
    """What is kept of every step, float32 arrays; a step that was broken off may have left one too many."""

    def __init__(self, wanted: bool | None) -> None:
        """wanted: whether to keep any."""
        self._kept: list[Float32] | None = [] if wanted else None

    def __bool__(self) -> bool:
        return self._kept is not None

    def put(self, step: int, array: Float32) -> None:
        """Keep what this step brought, the first being 0, and forget what a step that was broken off had left."""
        if self._kept is not None:
            self._kept[step:] = [array]

    def of(self, steps: int) -> tuple[Float32, ...] | None:
        """Those of the first steps, None where none were wanted."""
        return None if self._kept is None else tuple(self._kept[:steps])


class Steps:
    """The steps of one search: decoder, state and clock. A search waits for the decoder here and nowhere else.

    milliseconds: time in the decoder so far; logits, attentions: those of all steps, where they are kept;
    sources, starts, shares: where there are several, their names, where the positions of each begin, and float32[R, M]
    of all steps; normalized: whether the decoder's logits are scores to be added up as they are, so that no search
    takes their softmax.
    """

    def __init__(
        self, decoder: Decoder, encoded: Encoded, photos: int, each: int, max_length: int, config: GenerationConfig
    ) -> None:
        """each: rows a photo; max_length: of the longest sequence, in tokens."""
        began = perf_counter()
        self._each, self._photos = each, np.arange(photos)  # those that the state still has
        self._narrows = not config.keeps_steps and narrows(decoder)
        self._all = np.zeros((0, 0), np.float32)  # logits of all rows, once the state has fewer
        self._decoder = decoder
        self.normalized = gives_scores(decoder)
        self._state = decoder.start(encoded, each, max_length, attentions=config.output_attentions)
        self.logits, self.attentions = Log(config.output_logits), Log(config.output_attentions)
        # A search passes on whatever its decoder reads, which need not be an Encoded.
        several = isinstance(encoded, Encoded) and encoded.starts is not None
        self.sources = encoded.sources if several else ()
        self.starts = tuple(encoded.starts.tolist()) if several and encoded.starts is not None else ()
        self.shares = Log(several)
        wanted = config.keeps_steps or config.keeps_model_logprobs or several or self.normalized or self._narrows
        self._best = None if wanted else gives_best(decoder)
        self.milliseconds = (perf_counter() - began) * 1000

    def __call__(self, step: int, tokens: Int64, parents: Int64 | None, live: Bool) -> Float32:
        """Logits float32[R, V], valid until the next call; tokens: int64[R, T], parents: int64[R], rows continued.

        step: its number from 0; live: bool[B], the photos whose logits count; those of others may be 0.
        """
        began = perf_counter()
        self._narrow(live)
        if len(self._photos) == len(live):
            logits = self._decoder.step(self._state, tokens, parents)
        else:
            logits = self._step_of_some(tokens, parents)
        self.milliseconds += (perf_counter() - began) * 1000
        if self.logits:
            self.logits.put(step, logits.copy())
        if self.attentions:
            self.attentions.put(step, self._decoder.attentions(self._state))
        if self.shares:
            self.shares.put(step, self._of_all(self._decoder.shares(self._state), len(tokens)))
        return logits

    @property
    def offers(self) -> int:
        """How many of the likeliest next tokens `best` tells; 0 where all logits are wanted."""
        return 0 if self._best is None else self._best.offers

    def best(self, tokens: Int64, parents: Int64 | None) -> Best:
        """The likeliest next tokens of all rows, in the place of logits. See __call__."""
        assert self._best is not None  # since offers
        began = perf_counter()
        best = self._best.best(self._state, tokens, parents)
        self.milliseconds += (perf_counter() - began) * 1000
        return best

    def _narrow(self, live: Bool) -> None:
        """Give up the photos that are finished, once they are half of those that the decoder still computes.

        What is kept is copied, so all narrowings together copy less than what all photos have.
        """
        if not self._narrows or len(self._photos) == 1:
            return
        going_on = self._photos[live[self._photos]]
        if 0 < len(going_on) <= len(self._photos) * MOST_LEFT:
            self._state = self._decoder.narrow(self._state, np.searchsorted(self._photos, going_on))
            self._photos = going_on

    def _of_all(self, values: Float32, rows: int) -> Float32:
        """float32[R, M] of all rows of values of those that the decoder still computes; 0 for the others."""
        if len(values) == rows:
            return values
        whole = np.zeros((rows, values.shape[1]), np.float32)
        whole[self._rows()] = values
        return whole

    def _rows(self) -> Int64:
        """The rows that the decoder still computes."""
        return (self._photos[:, None] * self._each + np.arange(self._each)).ravel()

    def _step_of_some(self, tokens: Int64, parents: Int64 | None) -> Float32:
        """Logits of all rows, float32[R, V], of which the decoder still computes some."""
        rows = self._rows()
        mine = None if parents is None else np.searchsorted(rows, parents[rows])
        logits = self._decoder.step(self._state, tokens[rows], mine)
        if not self._all.size:
            self._all = np.zeros((len(tokens), logits.shape[1]), np.float32)
        self._all[rows] = logits
        return self._all


def needed_bytes(rows: int, longest: int, sizes: DecoderSizes | None, kept: int = 0, positions: int = 0) -> int:
    """About how much memory the steps of a decoder need at least, in bytes.

    rows: R; longest: tokens of the longest sequence; sizes: of the decoder, None where they are not known, and what it
    needs does not count; kept: steps whose scores are kept, twice where both scores and logits are; positions: those of
    the encoder, summed over all steps whose attentions are kept.
    """
    # Tokens, log-probabilities and origins, and the same again: a step of a beam search copies them.
    needed = 2 * rows * longest * (8 + 4 + 8)
    if sizes is None:
        return needed
    scores = rows * sizes.vocab_size * 4
    caches = 2 * sizes.layers * min(longest, sizes.max_positions) * rows * sizes.width * 4
    attentions = positions * rows * sizes.layers * sizes.heads * 4
    return needed + scores * (1 + kept) + caches + attentions


def shifts(scores: Float32, config: GenerationConfig, normalized: bool) -> Float32:
    """What makes confidences of log-probabilities: added to each after it is multiplied by the temperature. float32[R].

    scores: float32[R, V], what tokens are chosen from; normalized: whether the log-probability is that of their
    softmax, or the score itself. A confidence is the logarithm of the softmax of the scores times the temperature.
    """
    temperature = np.float32(config.temperature if config.do_sample else 1)
    if normalized and temperature == 1:
        return np.zeros(len(scores), np.float32)
    shift: Float32 = -top_candidates(scores * temperature, 1)[2]
    return shift + temperature * top_candidates(scores, 1)[2] if normalized else shift


@lru_cache(maxsize=64)
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
    divisors.flags.writeable = False  # the next search reads the same
    return divisors
