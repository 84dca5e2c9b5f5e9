"""Sampling: tokens drawn by their probability, one a row, or for beams several a photo without replacement.

The drawing is a function of uniform numbers, which each photo takes from a generator of its own: with a seed a photo
gets the same text whatever photos are beside it. What changes the probabilities is in fuseline.generation.processors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float32, Int64
from ..errors import InputError

Float64 = npt.NDArray[np.float64]


class Sampler:
    """The random numbers of one search. seed: of every photo's generator; a Generator serves all photos in turn."""

    def __init__(self, seed: int | np.random.Generator | None, photos: int) -> None:
        self._generators = [np.random.default_rng(seed) for _ in range(photos)]

    def one_each(self, scores: Float32) -> Int64:
        """A token of every row, int64[R], by the softmax of scores float32[R, V]."""
        each = len(scores) // len(self._generators)
        return draw_one(scores, np.concatenate([generator.random(each) for generator in self._generators]))

    def several(self, scores: Float32, count: int) -> Int64:
        """`count` different places of every photo, int64[B, count], by the softmax of scores float32[B, M]."""
        return draw_several(scores, count, np.stack([g.random(scores.shape[1]) for g in self._generators]))


def draw_one(scores: Float32, uniforms: Float64) -> Int64:
    """The token at which the cumulated probability passes the uniform number. uniforms: float64[R], from 0 to below 1.

    scores: float32[R, V]. Raises InputError where a row has nothing to draw from.
    """
    _check(scores)
    cumulated = np.cumsum(np.exp((scores - scores.max(axis=1, keepdims=True)).astype(np.float64)), axis=1)
    total = cumulated[:, -1:]
    passed = (cumulated <= uniforms[:, None] * total).sum(axis=1)
    tokens: Int64 = np.minimum(passed, (cumulated < total).sum(axis=1))  # rounding never passes the last possible one
    return tokens


def draw_several(scores: Float32, count: int, uniforms: Float64) -> Int64:
    """`count` different places in the order in which they are drawn, int64[B, count]; uniforms: float64[B, M].

    scores: float32[B, M]. An exponential variable a place, divided by its probability: the smallest are the draw
    (Efraimidis and Spirakis 2006, as torch.multinomial does it). Raises InputError where there is nothing to draw from.
    """
    _check(scores)
    waiting = np.maximum(-np.log1p(-uniforms), np.finfo(np.float64).tiny)
    keys = np.log(waiting) - scores
    first = np.argpartition(keys, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(keys, first, axis=1), axis=1, kind="stable")
    places: Int64 = np.take_along_axis(first, order, axis=1)
    return places


def _check(scores: Float32) -> None:
    if not np.isfinite(scores.max(axis=1)).all():
        raise InputError(
            "there is no token to sample: the scores are all -inf, or some are NaN or infinite; "
            "allow at least one token, or set remove_invalid_values"
        )
