"""The finished hypotheses of one photo, and what hypotheses have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Int64
from .steps import Hypothesis, Prefix

OUT_OF_REACH = np.float32(-1e9)
NOTHING = "no sequence"  # the reason where the options leave none


@dataclass(frozen=True, slots=True)
class Pool:
    """The finished hypotheses of one photo, best first; closed once nothing better is awaited. It never changes."""

    size: int
    takes_all: bool = False
    """what is out of reach too"""
    closed: bool = False
    entries: tuple[Hypothesis, ...] = ()

    @property
    def full(self) -> bool:
        """Whether there are as many as there may be."""
        return len(self.entries) == self.size

    def with_(self, finished: list[Hypothesis]) -> Pool:
        """The pool with the best of both that are within reach; of equal ones the older."""
        reached = [*self.entries, *(entry for entry in finished if self.takes_all or entry.score > OUT_OF_REACH)]
        best = tuple(sorted(reached, key=lambda entry: -entry.score)[: self.size])
        return Pool(self.size, self.takes_all, self.closed, best)

    def closed_if(self, settled: bool) -> Pool:
        """The pool, closed where nothing better is awaited."""
        return Pool(self.size, self.takes_all, True, self.entries) if settled and not self.closed else self

    def closed_if_settled(self, best_possible: float, early_stopping: bool | str) -> Pool:
        """The pool, closed when no open hypothesis may beat the worst finished one; with True as soon as full.

        As long as there are too few finished ones, any within reach beats the missing.
        """
        worst = self.entries[-1].score if self.full else float(OUT_OF_REACH)
        return self.closed_if((self.full and early_stopping is True) or not best_possible > worst)

    def best(self, count: int, prompt: Int64) -> list[Hypothesis]:
        """The `count` best; for a missing one the prompt alone, int64[T], out of reach."""
        none = Hypothesis(prompt, np.zeros(0, np.float32), prompt[:0], float(OUT_OF_REACH), NOTHING)
        return [*self.entries, *[none] * (count - len(self.entries))][:count]


def shared_prefix(hypotheses: Sequence[Hypothesis], prompt: Int64) -> Prefix:
    """What all of them begin with is certain, the rest of the one with the best score tentative.

    prompt: int64[T], which they begin with, for want of hypotheses.
    """
    if not hypotheses:
        return Prefix(prompt, prompt[:0], "")
    best = max(hypotheses, key=lambda each: each.score)
    shared = min(len(each.tokens) for each in hypotheses)
    for other in hypotheses:
        differing = np.flatnonzero(other.tokens[:shared] != best.tokens[:shared])
        shared = int(differing[0]) if len(differing) else shared
    return Prefix(best.tokens[:shared], best.tokens[shared:], "")
