"""The rules of Whisper's timestamps: which tokens may come next in a text that has them.

What WhisperTimeStampLogitsProcessor of transformers 4.57 does, after the "ApplyTimestampRules" of openai's own code
(https://arxiv.org/abs/2212.04356). The table of all processors is in processors.py. Dimensions: `R` rows, `T` tokens so
far, prompt included, `V` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from fuseline.kernels import top_candidates

from ..arrays import NEVER, Float32, Int64


@dataclass(frozen=True)
class Timestamps:
    """Which tokens are timestamps, for a text that begins with one and has them in pairs: the option `timestamps`."""

    first: int
    """the token of 0.00 s: this one and all above it are timestamps, and the one before says that none follow"""
    latest: int | None = None
    """how many timestamps after 0.00 s the first of a text may be; None for any"""


@dataclass(frozen=True)
class TimestampRules:
    """Timestamps come in pairs but for the last, never go back, and come first; and where all of them together are
    likelier than any other token, one of them comes (WhisperTimeStampLogitsProcessor)."""

    asked: Timestamps
    begin: int
    """tokens of the prompt"""
    end: int
    """the end token: all below it are text"""

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        first = self.asked.first
        scores[:, first - 1] = NEVER
        if sequences.shape[1] == self.begin:
            scores[:, :first] = NEVER
            if self.asked.latest is not None:
                scores[:, first + self.asked.latest + 1 :] = NEVER
        for said, row in zip(sequences[:, self.begin :], scores, strict=True):
            self._in_order(said, row)
        together = top_candidates(scores[:, first:], 1)[2]
        scores[together > scores[:, :first].max(axis=1), :first] = NEVER
        return scores

    def _in_order(self, said: Int64, scores: Float32) -> None:
        """Exclude what would break a pair or go back. said: int64[T], the tokens of a row; scores: float32[V]."""
        first = self.asked.first
        times = said[said >= first]
        if not len(times):
            return
        last_is_one = said[-1] >= first
        closes = last_is_one and len(said) > 1 and said[-2] < first  # a stretch of text, so the next may begin here
        if closes:
            scores[: self.end] = NEVER
        elif last_is_one:
            scores[first:] = NEVER
        scores[first : times[-1] + (0 if closes else 1)] = NEVER
