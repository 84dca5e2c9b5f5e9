"""Beam search: the answer of transformers 4.57 for the same options (generation/utils.py, `_beam_search`).

At every step each photo has num_beams open hypotheses and a pool of at most num_beams finished ones. All continuations
of the open ones are ranked: those among the first num_beams that end go to the pool, the best that do not stay open.
Beam sampling draws the continuations that are ranked.
Photos share nothing but the decoder's steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from fuseline.kernels import beam_candidates

from ..arrays import Bool, Float32, Int64, Processor, log_softmax, read_only
from ..generation.processors import Lengths, processors
from ..graphs.contract import Best
from .endings import REASONS, Int8
from .model_logprobs import ModelLogprobs
from .pool import OUT_OF_REACH, Pool, shared_prefix
from .sample import Sampler
from .steps import Hypothesis, Log, Prefix, Task, length_divisors, shifts


class Candidates(NamedTuple):
    """Continuations of each photo's hypotheses, best first, or in the order in which they were drawn."""

    scores: Float32  # float32[B, K], sums of log-probabilities
    logprobs: Float32  # float32[B, K], of the last token
    tokens: Int64  # int64[B, K]
    rows: Int64  # int64[B, K], the row of the hypothesis that is continued

    def picked(self, places: Int64) -> Candidates:
        """Those in these places, int64[B, k], of each photo."""
        photos, offered = self.scores.shape
        flat = places + np.arange(0, photos * offered, offered)[:, None]
        scores, logprobs, tokens, rows = self
        return Candidates(scores.ravel()[flat], logprobs.ravel()[flat], tokens.ravel()[flat], rows.ravel()[flat])


class Open(NamedTuple):
    """The open hypotheses of B photos, rows of one photo together, as far as they go. N new tokens at most."""

    history: Int64  # int64[R, longest], of which `length` tokens are there
    logprobs: Float32  # float32[R, N]
    origins: Int64  # int64[R, N], the row that was continued with each token
    scores: Float32  # float32[B, beams], sums of the log-probabilities
    parents: Int64 | None  # int64[R], the row of the last step that each continues
    length: int


class Beams:
    """`size` hypotheses of each photo and the pools of the finished ones, without the decoder.

    A step makes new Beams, which a search puts in the place of these at its end, in one go: a step that is broken off,
    at whatever place, has changed nothing.
    """

    def __init__(self, task: Task, size: int) -> None:
        self._task, self._size, self._config = task, size, task.config
        photos, new = len(task.prompt), task.longest - task.start
        self._divisors = length_divisors(new, task.config.length_penalty)
        history = np.empty((photos * size, task.longest), np.int64)
        history[:, : task.start] = np.repeat(task.prompt, size, axis=0)
        # The beams of a photo all begin with the same prompt, so all but the first begin out of reach.
        scores = np.full((photos, size), OUT_OF_REACH)
        scores[:, 0] = 0
        empty = np.zeros((photos * size, new), np.float32), np.zeros((photos * size, new), np.int64)
        self.open = Open(history, *empty, scores, None, task.start)
        self.pools = [Pool(size) for _ in range(photos)]
        self.over = False  # whether there is nothing to go on with

    def _with(self, **changed: Any) -> Self:
        """The same but for what a step changes."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__, **changed)
        return made

    @property
    def count(self) -> int:
        """Steps so far; the last of all adds no token to those that are open."""
        return self.open.length - self._task.start + self.over

    @property
    def sequences(self) -> Int64:
        """int64[R, tokens so far]."""
        return self.open.history[:, : self.open.length]

    @property
    def last(self) -> Int64:
        """What the decoder is to see next, int64[R, T]: the prompt, or the last token of each row."""
        at = self.open
        return at.history[:, : at.length] if at.parents is None else at.history[:, at.length - 1 : at.length]

    @property
    def closed(self) -> Bool:
        """bool[B]: the photos for which nothing better is awaited."""
        return np.array([pool.closed for pool in self.pools])

    def extended(self, candidates: Candidates, ranked: bool = True) -> Self:
        """These with the best candidates, those that end in the pools.

        ranked: whether the candidates are in the order of their scores.
        """
        length = self.open.length + 1
        why = self._task.endings(candidates.tokens, length, lambda: self._continued(candidates))
        any_ending = bool(why.any())
        pools = self._collected(candidates, why) if any_ending else self.pools
        chosen = _still_open(candidates, why != 0 if any_ending or not ranked else None, self._size)
        pools = self._closed(pools, chosen.scores[:, 0])
        closed = np.array([pool.closed for pool in pools])
        if closed.all() or (any_ending and why[~closed].all()):
            return self._with(pools=pools, over=True)
        return self._with(pools=pools, open=self._gone_on(chosen))

    def _continued(self, candidates: Candidates) -> Int64:
        """The sequences that the candidates make, int64[B x K, T + 1]."""
        return read_only(np.column_stack([self.sequences[candidates.rows.ravel()], candidates.tokens.ravel()]))

    def _gone_on(self, chosen: Candidates) -> Open:
        """The open hypotheses with the chosen candidates, float32[B, beams] ..., as their last tokens."""
        at, parents = self.open, chosen.rows.ravel()
        history, logprobs, origins = at.history[parents], at.logprobs[parents], at.origins[parents]
        place = at.length - self._task.start
        history[:, at.length] = chosen.tokens.ravel()
        logprobs[:, place] = chosen.logprobs.ravel()
        origins[:, place] = parents
        return Open(history, logprobs, origins, chosen.scores, parents, at.length + 1)

    def _collected(self, candidates: Candidates, why: Int8) -> list[Pool]:
        """The pools with what ends among the best candidates of a photo. why: int8[B, K], reasons, 0 for none."""
        at, place = self.open, self.open.length - self._task.start
        divisor = self._divisors[place + 1]
        pools = []
        for photo, pool in enumerate(self.pools):
            finished = []
            for rank in [] if pool.closed else np.flatnonzero(why[photo, : self._size]).tolist():
                score, logprob, token, row = (each[photo, rank] for each in candidates)
                sequence = at.history[row, : at.length + 1].copy()
                logprobs, origins = at.logprobs[row, : place + 1].copy(), at.origins[row, : place + 1].copy()
                sequence[-1], logprobs[-1], origins[-1] = token, logprob, row
                reason = REASONS[why[photo, rank]]
                finished.append(Hypothesis(sequence, logprobs, origins, float(score / divisor), reason))
            pools.append(pool.with_(finished) if finished else pool)
        return pools

    def _closed(self, pools: list[Pool], best: Float32) -> list[Pool]:
        """The pools, closed where hypotheses of these scores, float32[B], may not improve them.

        What may still come is judged at the present length, the approximation that early_stopping=False stands for;
        "never" takes the longest length instead where length_penalty favours longer sequences.
        """
        if not any(pool.full for pool in pools) and best.min() > OUT_OF_REACH:
            return pools
        hopeful = self._config.early_stopping == "never" and self._config.length_penalty > 0
        possible = best / self._divisors[-1 if hopeful else self.open.length + 1 - self._task.start]
        early = self._config.early_stopping
        return [pool.closed_if_settled(most, early) for pool, most in zip(pools, possible.tolist(), strict=True)]

    def hypotheses(self, photo: int) -> list[Hypothesis]:
        """The open hypotheses of a photo that are possible at all, best first; none once its pool is closed."""
        if self.pools[photo].closed:
            return []
        at, place = self.open, self.open.length - self._task.start
        return [
            Hypothesis(
                at.history[row, : at.length],
                at.logprobs[row, :place],
                at.origins[row, :place],
                float(at.scores[photo, beam] / self._divisors[place]),
                "",
            )
            for beam, row in enumerate(range(photo * self._size, (photo + 1) * self._size))
            if at.scores[photo, beam] > -np.inf
        ]


class BeamSearch:
    """The num_return_sequences best sequences of each photo, best first."""

    def __init__(self, task: Task) -> None:
        config = task.config
        self._task, self._beams = task, Beams(task, config.num_beams)
        self._process = processors(config, Lengths(task.start, task.longest, task.inputs))
        self._sampler = Sampler(config.seed, len(task.prompt)) if config.do_sample else None
        self._keep = max(2, 1 + len(config.ends)) * config.num_beams
        self.scores, self.shifts = Log(config.output_scores), Log(config.output_confidences)
        self.model_logprobs = ModelLogprobs(config.keeps_model_logprobs)
        whole = self._process is not None or self._sampler is not None or self.scores or self.shifts
        self._by_best = not whole and task.steps.offers >= self._keep

    @property
    def count(self) -> int:
        """Steps so far."""
        return self._beams.count

    def advance(self) -> bool:
        """One token more for every hypothesis; whether there is something to go on with."""
        beams = self._beams
        if self._by_best:
            best = self._task.steps.best(beams.last, beams.open.parents)
            self._beams = beams.extended(_of_best(best, beams.open.scores, self._keep))
            return not self._beams.over
        logits = self._task.steps(beams.count, beams.last, beams.open.parents, ~beams.closed)
        candidates = self._candidates(logits)
        self.model_logprobs.put(beams.count, logits, candidates.rows.ravel(), candidates.tokens.ravel())
        extended = beams.extended(candidates, ranked=self._sampler is None)
        self._beams = extended
        return not extended.over

    def _candidates(self, logits: Float32) -> Candidates:
        """What may come next of each photo. logits: float32[R, V]."""
        at, given = self._beams.open, self._task.steps.normalized
        if self._process is None and self._sampler is None and not self.scores and not self.shifts:
            return Candidates(*beam_candidates(logits, at.scores, self._keep, normalized=given))
        scores = processed(logits, self._process, self._beams.sequences, given)
        if self.scores:
            self.scores.put(self.count, scores.copy())
        if self.shifts:
            self.shifts.put(self.count, shifts(scores, self._task.config, normalized=False))
        if self._sampler is not None:
            return _drawn(scores, at.scores, self._keep, self._sampler)
        return Candidates(*beam_candidates(scores, at.scores, self._keep, normalized=True))

    def prefix(self, photo: int) -> Prefix:
        """What is known of a photo's best sequence: what all hypotheses share that may become it."""
        pool, prompt = self._beams.pools[photo], self._task.prompt[photo]
        if self._beams.over or pool.closed:
            [best] = pool.best(1, prompt)
            return Prefix(best.tokens, prompt[:0], best.reason)
        return shared_prefix([*pool.entries[:1], *self._beams.hypotheses(photo)], prompt)

    def found(self, reason: str) -> list[Hypothesis]:
        """The sequences, those of a photo together. reason: why those that are open end here."""
        found = []
        for photo, pool in enumerate(self._beams.pools):
            if not self._beams.over:
                pool = pool.with_([each._replace(reason=reason) for each in self._beams.hypotheses(photo)])
            found += pool.best(self._task.config.num_return_sequences, self._task.prompt[photo])
        return found


def _of_best(best: Best, scores: Float32, keep: int) -> Candidates:
    """What may come next by the likeliest tokens of each row, at least keep of them. scores: float32[B, num_beams]."""
    sums, logprobs, places, rows = beam_candidates(best.logprobs, scores, keep, normalized=True)
    return Candidates(sums, logprobs, best.tokens[rows, places], rows)


def processed(logits: Float32, process: Processor | None, sequences: Int64, normalized: bool) -> Float32:
    """Log-probabilities float32[R, V], processed where there is something to do. sequences: int64[R, tokens so far].

    normalized: whether the logits are what counts already, see Steps.
    """
    scores = logits.copy() if normalized else log_softmax(logits)
    return scores if process is None else process(read_only(sequences), scores)


def _drawn(log_probabilities: Float32, scores: Float32, keep: int, sampler: Sampler) -> Candidates:
    """`keep` continuations of each photo, drawn without replacement by the softmax of their scores, in that order.

    log_probabilities: float32[R, V]; scores: float32[B, num_beams] so far.
    """
    (photos, beams), vocab_size = scores.shape, log_probabilities.shape[1]
    with np.errstate(over="ignore"):  # a replaced -inf is the lowest float32 already
        sums = (log_probabilities + scores.reshape(-1, 1)).reshape(photos, beams * vocab_size)
    places = sampler.several(sums, min(keep, sums.shape[1]))
    rows = places // vocab_size + (np.arange(photos) * beams)[:, None]
    tokens = places % vocab_size
    return Candidates(np.take_along_axis(sums, places, axis=1), log_probabilities[rows, tokens], tokens, rows)


def _still_open(candidates: Candidates, ending: Bool | None, beams: int) -> Candidates:
    """The best `beams` candidates of each photo, those that end out of reach: they stay only for want of others.

    ending: bool[B, K], None where no candidate ends and the best are first.
    """
    if ending is None:
        scores, logprobs, tokens, rows = candidates
        return Candidates(scores[:, :beams], logprobs[:, :beams], tokens[:, :beams], rows[:, :beams])
    reachable = candidates.scores + np.where(ending, OUT_OF_REACH, np.float32(0))
    best = np.argsort(-reachable, axis=1, kind="stable")[:, :beams]
    return candidates._replace(scores=reachable).picked(best)
