"""Beam search: the answer of transformers 4.57 for the same options (generation/utils.py, `_beam_search`).

At every step each photo has num_beams open hypotheses and a pool of at most num_beams finished ones. All continuations
of the open ones are ranked: those among the first num_beams that end go to the pool, the best that do not stay open.
Beam sampling draws the continuations that are ranked.
Photos share nothing but the decoder's steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fuseline.kernels import top_candidates

from ..processors import Lengths, Processor, log_softmax, processors, read_only, stopping
from .sample import Sampler
from .steps import Bool, Float32, Found, Int64, Steps, end_table, length_divisors

if TYPE_CHECKING:
    from ..generation import GenerationConfig

# The beams of a photo all begin with the same prompt, so all but the first begin out of reach.
_OUT_OF_REACH = np.float32(-1e9)


class _Candidates(NamedTuple):
    """Continuations of each photo's hypotheses, best first, or in the order in which they were drawn."""

    scores: Float32  # float32[B, K], sums of log-probabilities
    tokens: Int64  # int64[B, K]
    rows: Int64  # int64[B, K], the row of the hypothesis that is continued


class _Pool:
    """The finished hypotheses of one photo, best first; closed once nothing better is awaited."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.closed = False
        self.entries: list[tuple[float, Int64]] = []  # score and tokens

    @property
    def full(self) -> bool:
        return len(self.entries) == self.size

    def add(self, finished: list[tuple[float, Int64]]) -> None:
        """Keep the best that are within reach; of equal ones the older."""
        reached = self.entries + [entry for entry in finished if entry[0] >= _OUT_OF_REACH]
        self.entries = sorted(reached, key=lambda entry: -entry[0])[: self.size]

    def close_if_settled(self, best_possible: float, early_stopping: bool | str) -> None:
        """Close when no open hypothesis may beat the worst finished one; with True as soon as full.

        As long as there are too few finished ones, any within reach beats the missing.
        """
        worst = self.entries[-1][0] if self.full else float(_OUT_OF_REACH)
        if (self.full and early_stopping is True) or not best_possible > worst:
            self.closed = True


def beam_search(steps: Steps, prompt: Int64, config: GenerationConfig, max_length: int) -> Found:
    """The num_return_sequences best sequences of each photo, best first.

    prompt: int64[B, T]; max_length: longest sequence in tokens, prompt included, > T.
    """
    photos, start = prompt.shape
    beams = config.num_beams
    divisors = length_divisors(max_length - start, config.length_penalty)
    process, stops = processors(config, Lengths(start, max_length)), stopping(config)
    sampler = Sampler(config.seed, photos) if config.do_sample else None
    pools = [_Pool(beams) for _ in range(photos)]
    history = np.empty((photos * beams, max_length), np.int64)
    scores = np.full((photos, beams), _OUT_OF_REACH)
    scores[:, 0] = 0
    tokens, parents, ends = np.repeat(prompt, beams, axis=0), None, None
    history[:, :start] = tokens
    for length in range(start + 1, max_length + 1):
        logits = steps(tokens, parents)
        if ends is None:
            ends = end_table(config.ends, logits.shape[1])
        keep = max(2, 1 + len(config.ends)) * beams
        if sampler is None:
            candidates = _continuations(_offers(logits, keep, process, history[:, : length - 1]), scores, keep)
        else:
            candidates = _drawn(_processed(logits, process, history[:, : length - 1]), scores, keep, sampler)
        ending = ends[candidates.tokens] if length < max_length else np.ones(candidates.tokens.shape, np.bool_)
        if stops is not None:
            ending |= stops(_continued(candidates, history[:, : length - 1])).reshape(ending.shape)
        any_ending = bool(ending.any())
        if any_ending:
            _collect(pools, candidates, ending, history[:, : length - 1], divisors[length - start])
        scores, chosen, parents = _still_open(candidates, ending if any_ending or sampler else None, beams)
        _close(pools, scores[:, 0], divisors, length - start, config)
        if all(pool.closed for pool in pools) or (any_ending and ending.all()):
            break
        history = history[parents]
        history[:, length - 1] = chosen
        tokens = chosen[:, None]
    return _best_of(pools, prompt, config)


def _offers(logits: Float32, keep: int, process: Processor | None, history: Int64) -> tuple[Float32, Int64]:
    """The `keep` best next tokens of each row, or all: log-probabilities float32[R, K] and tokens int64[R, K].

    logits: float32[R, V]; history: int64[R, tokens so far]. Of equal tokens the lower first.
    """
    offered = min(keep, logits.shape[1])
    if process is None:
        values, indices, logsumexp = top_candidates(logits, offered)
        return values - logsumexp[:, None], indices
    values, indices, _ = top_candidates(_processed(logits, process, history), offered)
    return values, indices


def _processed(logits: Float32, process: Processor | None, history: Int64) -> Float32:
    """Log-probabilities float32[R, V], processed where there is something to do. history: int64[R, tokens so far]."""
    scores = log_softmax(logits)
    return scores if process is None else process(read_only(history), scores)


def _drawn(log_probabilities: Float32, scores: Float32, keep: int, sampler: Sampler) -> _Candidates:
    """`keep` continuations of each photo, drawn without replacement by the softmax of their scores, in that order.

    log_probabilities: float32[R, V]; scores: float32[B, num_beams] so far.
    """
    (photos, beams), vocab_size = scores.shape, log_probabilities.shape[1]
    with np.errstate(over="ignore"):  # a replaced -inf is the lowest float32 already
        sums = (log_probabilities + scores.reshape(-1, 1)).reshape(photos, beams * vocab_size)
    places = sampler.several(sums, min(keep, sums.shape[1]))
    rows = places // vocab_size + (np.arange(photos) * beams)[:, None]
    return _Candidates(np.take_along_axis(sums, places, axis=1), places % vocab_size, rows)


def _continuations(offers: tuple[Float32, Int64], scores: Float32, keep: int) -> _Candidates:
    """The `keep` best continuations of each photo. offers: those of each row; scores: float32[B, num_beams] so far.

    All of them may continue one row, so each row offers as many. Equal ones: the lower row first, then the lower token.
    """
    (values, indices), (photos, beams) = offers, scores.shape
    offered = values.shape[1]
    with np.errstate(over="ignore"):  # a replaced -inf is the lowest float32 already
        sums = values + scores.reshape(-1, 1)
    order = np.argsort(-sums.reshape(photos, beams * offered), axis=1, kind="stable")[:, :keep]
    picked = order + (np.arange(photos) * (beams * offered))[:, None]
    return _Candidates(sums.ravel()[picked], indices.ravel()[picked], picked // offered)


def _continued(candidates: _Candidates, history: Int64) -> Int64:
    """The sequences that the candidates make, int64[B x K, T + 1]; history: int64[R, T]."""
    return read_only(np.column_stack([history[candidates.rows.ravel()], candidates.tokens.ravel()]))


def _still_open(candidates: _Candidates, ending: Bool | None, beams: int) -> tuple[Float32, Int64, Int64]:
    """The best `beams` candidates of each photo, those that end out of reach: they stay only for want of others.

    Returns scores float32[B, num_beams], tokens int64[R] and the rows they continue, int64[R].
    ending: bool[B, K], None where no candidate ends and the best are first.
    """
    if ending is None:
        first = candidates.scores[:, :beams], candidates.tokens[:, :beams], candidates.rows[:, :beams]
    else:
        reachable = candidates.scores + np.where(ending, _OUT_OF_REACH, np.float32(0))
        best = np.argsort(-reachable, axis=1, kind="stable")[:, :beams]
        first = (
            np.take_along_axis(reachable, best, axis=1),
            np.take_along_axis(candidates.tokens, best, axis=1),
            np.take_along_axis(candidates.rows, best, axis=1),
        )
    scores, tokens, rows = first
    return scores, tokens.ravel(), rows.ravel()


def _collect(pools: list[_Pool], candidates: _Candidates, ending: Bool, history: Int64, divisor: np.float32) -> None:
    """Put what ends among the best num_beams candidates of a photo into its pool. history: int64[R, tokens so far]."""
    for photo, pool in enumerate(pools):
        ranks = np.flatnonzero(ending[photo, : pool.size])
        if pool.closed or not ranks.size:
            continue
        scores = (candidates.scores[photo, ranks] / divisor).tolist()
        rows = candidates.rows[photo, ranks].tolist()
        tokens = candidates.tokens[photo, ranks].tolist()
        pool.add([(scores[i], np.append(history[rows[i]], tokens[i])) for i in range(len(scores))])


def _close(pools: list[_Pool], best: Float32, divisors: Float32, generated: int, config: GenerationConfig) -> None:
    """Close the pools that no open hypothesis may improve. best: float32[B], the best open score of each photo.

    What may still come is judged at the present length, the approximation that early_stopping=False stands for; "never"
    takes the longest length instead where length_penalty favours longer sequences.
    """
    if not any(pool.full for pool in pools) and best.min() > _OUT_OF_REACH:
        return
    hopeful = config.early_stopping == "never" and config.length_penalty > 0
    possible = best / divisors[-1 if hopeful else generated]
    for pool, best_possible in zip(pools, possible.tolist(), strict=True):
        pool.close_if_settled(best_possible, config.early_stopping)


def _best_of(pools: list[_Pool], prompt: Int64, config: GenerationConfig) -> Found:
    """The sequences to return, padded to the longest of them; for a missing one its prompt alone, out of reach."""
    wanted = config.num_return_sequences
    entries = []
    for pool, begun in zip(pools, prompt, strict=True):
        entries += (pool.entries + [(float(_OUT_OF_REACH), begun)] * wanted)[:wanted]
    # transformers takes a pad token of 0 for none here and pads with the first end token instead. Without end tokens
    # all sequences have the same length.
    fill = (config.pad or config.ends[0]) if config.ends else -1
    sequences = np.full((len(entries), max(len(tokens) for _, tokens in entries)), fill, np.int64)
    for row, (_, tokens) in zip(sequences, entries, strict=True):
        row[: len(tokens)] = tokens
    return Found(sequences, np.array([score for score, _ in entries], np.float32))
