"""Search without beams: at every step the most probable token, or one drawn by its probability.

The answer of transformers' generate with num_beams=1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fuseline.kernels import top_candidates

from ..arrays import Bool, Float32, Int64, read_only
from ..generation.processors import Lengths, processors
from .endings import REASONS, Int8
from .model_logprobs import ModelLogprobs
from .sample import Sampler
from .steps import Hypothesis, Log, Prefix, Task, length_divisors, shifts


class Reached(NamedTuple):
    """How far a search has come. A step puts a new one in place at its end, in one go: one that is broken off, at
    whatever place, has changed nothing that counts."""

    length: int  # tokens that the longest sequence has
    lengths: Int64  # int64[R]
    why: Int8  # int8[R], why each has ended, 0 where it goes on
    tokens: Int64  # int64[R, T], what the decoder is to see next


class GreedySearch:
    """One sequence a photo, or num_return_sequences drawn ones.

    The score is the one that beam search gives the same sequence; with processors it is made of the log-probabilities
    after them, those of transformers' compute_transition_scores with normalize_logits.
    """

    def __init__(self, task: Task) -> None:
        config = task.config
        self._task = task
        self._each = config.num_return_sequences
        self._sampler = Sampler(config.seed, len(task.prompt)) if config.do_sample else None
        self._process = processors(config, Lengths(task.start, task.longest, task.inputs))
        self._divisors = length_divisors(task.longest - task.start, config.length_penalty)
        self._pad = -1 if config.pad is None else config.pad  # without end tokens nothing is ever padded
        prompt = np.repeat(task.prompt, self._each, axis=0)
        self._history = np.full((len(prompt), task.longest), self._pad, np.int64)
        self._history[:, : task.start] = prompt
        self._logprobs = np.zeros((len(prompt), task.longest - task.start), np.float32)
        lengths, why = np.full(len(prompt), task.start), np.zeros(len(prompt), np.int8)
        self._at = Reached(task.start, lengths, why, prompt)
        self.scores, self.shifts = Log(config.output_scores), Log(config.output_confidences)
        self.model_logprobs = ModelLogprobs(config.keeps_model_logprobs)
        whole = self._process is not None or self._sampler is not None or self.scores or self.shifts
        self._by_best = not whole and task.steps.offers > 0

    @property
    def count(self) -> int:
        """Steps so far."""
        return self._at.length - self._task.start

    def advance(self) -> bool:
        """One token more for every sequence; whether one goes on."""
        at, place = self._at, self.count
        length = at.length
        # Without end tokens transformers pads nothing, and a photo that a criterion has stopped goes on until all have.
        live = at.why == 0 if self._task.config.ends else np.ones(len(at.why), np.bool_)
        if self._by_best:
            found = self._task.steps.best(at.tokens, None)
            return self._gone_on(live, found.tokens[:, 0], found.logprobs[:, 0])
        given = self._task.steps(place, at.tokens, None, np.asarray(live.reshape(-1, self._each).any(axis=1)))
        logits = given
        if self._process is not None:
            logits = self._process(read_only(self._history[:, :length]), logits.copy())
        if self.scores:
            self.scores.put(place, logits.copy())
        if self.shifts:
            self.shifts.put(place, shifts(logits, self._task.config, normalized=not self._task.steps.normalized))
        best, logprobs = self._chosen(logits)
        self.model_logprobs.put(place, given, np.arange(len(best)), best)
        return self._gone_on(live, best, logprobs)

    def _gone_on(self, live: Bool, best: Int64, logprobs: Float32) -> bool:
        """See advance. live, best, logprobs: [R], which go on, and with what."""
        at, place, length = self._at, self.count, self._at.length
        # A finished photo keeps its row here; what comes of it changes nothing any more.
        chosen = np.where(live, best, self._pad)
        self._history[:, length] = chosen
        self._logprobs[:, place] = np.where(live, logprobs, np.float32(0))
        ending = self._task.endings(best, length + 1, lambda: read_only(self._history[:, : length + 1]))
        why = np.where(at.why == 0, ending, at.why)
        self._at = Reached(length + 1, at.lengths + live, why, chosen[:, None])
        return not why.all()

    def _chosen(self, logits: Float32) -> tuple[Int64, Float32]:
        """A token for every row and its log-probability, or its score where that counts; -inf where every logit of the
        row is."""
        values, indices, logsumexp = top_candidates(logits, 1)
        best, best_logits = indices[:, 0], values[:, 0]
        if self._sampler is not None:
            best = self._sampler.one_each(logits)
            best_logits = np.take_along_axis(logits, best[:, None], axis=1)[:, 0]
        if self._task.steps.normalized:
            return best, best_logits
        finite = np.where(np.isfinite(logsumexp), logsumexp, np.float32(0))
        return best, np.where(np.isneginf(best_logits), best_logits, best_logits - finite)

    def prefix(self, photo: int) -> Prefix:
        """What is known of a photo's first sequence: without beams every token is certain."""
        found = self._hypothesis(photo * self._each, "")
        over = self._task.config.ends or self._at.why.all()
        return Prefix(found.tokens, found.tokens[:0], found.reason if over else "")

    def found(self, reason: str) -> list[Hypothesis]:
        """The sequences, those of a photo together. reason: why those that go on end here."""
        return [self._hypothesis(row, reason) for row in range(len(self._history))]

    def _hypothesis(self, row: int, reason: str) -> Hypothesis:
        length, start = self._at.lengths[row], self._task.start
        logprobs = self._logprobs[row, : length - start]
        score = logprobs.sum() / self._divisors[length - start]
        tokens = self._history[row, :length]
        return Hypothesis(
            tokens, logprobs, np.full(len(logprobs), row), float(score), REASONS[self._at.why[row]] or reason
        )
