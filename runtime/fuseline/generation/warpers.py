"""Warpers: the processors that count only in sampling, which exclude improbable tokens or change how probable they are.

Each does what the class of transformers 4.57 named beside it does (generation/logits_process.py); the table of all
processors is in processors.py. `keep` is how many tokens are left at least. Dimensions: `R` rows, `V` vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import NEVER, Bool, Float32, Int64, log_softmax


class Temperature(NamedTuple):
    """Divide the scores (TemperatureLogitsWarper)."""

    temperature: float

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        return scores / np.float32(self.temperature)


class TopK(NamedTuple):
    """Only the k best, and what equals the last of them (TopKLogitsWarper)."""

    k: int

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        scores[scores < _kth_best(scores, self.k)] = NEVER
        return scores


class TopP(NamedTuple):
    """Only the most probable that together have probability p (TopPLogitsWarper; https://arxiv.org/abs/1904.09751)."""

    p: float
    keep: int

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        worst_first = np.argsort(scores, axis=1, kind="stable")
        out = _cumulated(np.take_along_axis(_softmax(scores), worst_first, axis=1)) <= np.float32(1 - self.p)
        out[:, -self.keep :] = False
        return _without(scores, out, worst_first)


class MinP(NamedTuple):
    """Only what has this share of the greatest probability (MinPLogitsWarper; https://arxiv.org/abs/2407.01082)."""

    share: float
    keep: int

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        probabilities = _softmax(scores)
        best_first = np.argsort(-scores, axis=1, kind="stable")
        low = probabilities < np.float32(self.share) * probabilities.max(axis=1, keepdims=True)
        out = np.take_along_axis(low, best_first, axis=1)
        out[:, : self.keep] = False
        return _without(scores, out, best_first)


class TypicalP(NamedTuple):
    """Only the tokens nearest to the expected information that together have probability p.

    TypicalLogitsWarper; https://arxiv.org/abs/2202.00666.
    """

    p: float
    keep: int

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        probabilities = _softmax(scores)
        distances = np.abs(-log_softmax(scores) - _entropy(scores))
        nearest = np.argsort(distances, axis=1, kind="stable")
        sorted_distances = np.take_along_axis(distances, nearest, axis=1)
        cumulated = _cumulated(np.take_along_axis(probabilities, nearest, axis=1))
        last = np.minimum((cumulated < np.float32(self.p)).sum(axis=1), scores.shape[1] - 1)
        out = sorted_distances > np.take_along_axis(sorted_distances, last[:, None], axis=1)
        out[:, : self.keep] = False
        return _without(scores, out, nearest)


class EpsilonCutoff(NamedTuple):
    """Only tokens of at least this probability (EpsilonLogitsWarper; https://arxiv.org/abs/2210.15191)."""

    epsilon: float
    keep: int

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        low = _softmax(scores) < np.float32(self.epsilon)
        scores[low & (scores < _kth_best(scores, self.keep))] = NEVER
        return scores


class EtaCutoff(NamedTuple):
    """Only tokens of probability min(epsilon, sqrt(epsilon) exp(-entropy)) or more.

    EtaLogitsWarper; https://arxiv.org/abs/2210.15191.
    """

    epsilon: float
    keep: int

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        epsilon = np.float32(self.epsilon)
        low = _softmax(scores) < np.minimum(epsilon, np.sqrt(epsilon) * np.exp(-_entropy(scores)))
        scores[low & (scores < _kth_best(scores, self.keep))] = NEVER
        return scores


def _kth_best(scores: Float32, k: int) -> Float32:
    """float32[R, 1]: the k-th largest score of each row, or the smallest where there are fewer."""
    place = max(scores.shape[1] - k, 0)
    kth: Float32 = np.partition(scores, place, axis=1)[:, place : place + 1]
    return kth


def _softmax(scores: Float32) -> Float32:
    return np.exp(log_softmax(scores))


def _entropy(scores: Float32) -> Float32:
    """float32[R, 1], in nats; a token with probability 0 adds nothing."""
    logarithms = log_softmax(scores)
    products = np.where(
        np.isneginf(logarithms), 0, np.exp(logarithms) * np.where(np.isneginf(logarithms), 0, logarithms)
    )
    entropy: Float32 = -products.sum(axis=1, keepdims=True, dtype=np.float32)
    return entropy


def _cumulated(probabilities: Float32) -> Float32:
    """Summed in float64 and rounded, as torch does it."""
    return np.cumsum(probabilities, axis=1, dtype=np.float64).astype(np.float32)


def _without(scores: Float32, out: Bool, order: Int64) -> Float32:
    """The scores with -inf where `out`, bool[R, V], is true; its columns are in `order`, int64[R, V]."""
    rows, places = np.nonzero(out)
    scores[rows, order[rows, places]] = NEVER
    return scores
