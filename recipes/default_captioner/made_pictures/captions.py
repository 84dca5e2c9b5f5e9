"""Captions from patterns: every pattern stands for several sentences.

`a [blank|plain] [page|sheet of paper]` is four captions. `a` becomes `an` where a vowel follows.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product

import numpy as np

FEWEST_WORDS, MOST_WORDS = 4, 12
# Above it a pattern was meant as two.
MOST_SENTENCES = 2000


def five_captions(patterns: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    """Five different captions of the patterns; ValueError if they hold fewer."""
    captions = sentences(patterns)
    if len(captions) < 5:
        raise ValueError(f"{patterns} hold only {len(captions)} captions of {FEWEST_WORDS} to {MOST_WORDS} words")
    return [captions[i] for i in rng.choice(len(captions), 5, replace=False)]


@lru_cache(maxsize=4096)
def sentences(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """All captions of fit length, sorted."""
    captions = {caption for pattern in patterns for caption in _expanded(pattern)}
    return tuple(sorted(c for c in captions if FEWEST_WORDS <= len(c.split()) <= MOST_WORDS))


def _expanded(pattern: str) -> list[str]:
    parts = [part.split("|") for part in re.split(r"[\[\]]", pattern)]
    if np.prod([len(part) for part in parts]) > MOST_SENTENCES:
        raise ValueError(f"{pattern!r} stands for more than {MOST_SENTENCES} captions")
    return [_with_articles(" ".join("".join(choice).split())) for choice in product(*parts)]


def _with_articles(caption: str) -> str:
    return re.sub(r"\ba (?=[aeiou])", "an ", caption)
