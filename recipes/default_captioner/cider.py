"""CIDEr-D of sampled captions as a reward: fast enough to be called for every batch.

Source: Vedantam, Zitnick and Parikh, "CIDEr: Consensus-based Image Description Evaluation" (2015), variant D. The end
of a caption counts as a word, so that a caption that breaks off ("a man in a") is not rewarded for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .captioner import EOS, PAD

# People hardly ever end a caption in one of these. One in a hundred that CIDEr alone teaches does ("standing on a
# red"): the n-grams before the end earn more than the end costs.
_DANGLING = """
a an the his her its their two three four some other in on at of by to with from into onto over through near behind and
or while as is are wearing holding playing red blue white black green yellow orange brown pink purple grey gray large
small big little young old
"""
DANGLING = frozenset(_DANGLING.split())
DANGLING_COST = 1.0
ORDERS = 4
SIGMA = 6.0
Gram = tuple[object, ...]


def grams(words: Sequence[object]) -> Counter[Gram]:
    """All 1- to 4-grams with their counts."""
    counts: Counter[Gram] = Counter()
    for order in range(1, ORDERS + 1):
        counts.update(zip(*(words[i:] for i in range(order)), strict=False))
    return counts


@dataclass(frozen=True)
class Vector:
    """tf-idf weights of a caption's n-grams, the norm for each order, and its length in words."""

    weights: dict[Gram, float]
    norms: list[float]
    length: int


class CiderReward:
    """CIDEr-D (0..10) against the five captions of training photos, of their tokens."""

    def __init__(self, captions: NDArray[np.int64], vocabulary: dict[str, int]) -> None:
        """captions: int64[photos, 5, T], from <s> to </s>, padded; vocabulary: the ids of tokens."""
        references = [[[int(t) for t in row[1:] if t != PAD] for row in of_photo] for of_photo in captions]
        counted = [[grams(caption) for caption in of_photo] for of_photo in references]
        seen = Counter(gram for of_photo in counted for gram in set().union(*of_photo))
        total = math.log(len(captions))
        self.idf = {gram: total - math.log(count) for gram, count in seen.items()}
        self.unseen = total
        self.dangling = {vocabulary[word] for word in DANGLING if word in vocabulary}
        self.references = [
            [self._vector(c, len(words)) for c, words in zip(counts, of_photo, strict=True)]
            for counts, of_photo in zip(counted, references, strict=True)
        ]

    def _vector(self, counts: Counter[Gram], length: int) -> Vector:
        weights = {gram: count * self.idf.get(gram, self.unseen) for gram, count in counts.items()}
        squares = [0.0] * ORDERS
        for gram, weight in weights.items():
            squares[len(gram) - 1] += weight * weight
        return Vector(weights, [math.sqrt(s) for s in squares], length)

    def score(self, photo: int, words: Sequence[object], left_out: int = -1) -> float:
        """Reward of one caption (ids, </s> included) for the photo with this index.

        left_out: the reference that a hint was taken from, which would be rewarded for being repeated.
        """
        hypothesis = self._vector(grams(words), len(words))
        total = 0.0
        references = [each for i, each in enumerate(self.references[photo]) if i != left_out]
        for reference in references:
            products = [0.0] * ORDERS
            for gram, weight in hypothesis.weights.items():
                other = reference.weights.get(gram)
                if other is not None:
                    products[len(gram) - 1] += min(weight, other) * other
            penalty = math.exp(-((hypothesis.length - reference.length) ** 2) / (2 * SIGMA**2))
            for product, norm, other_norm in zip(products, hypothesis.norms, reference.norms, strict=True):
                if norm and other_norm:
                    total += penalty * product / (norm * other_norm)
        return 10.0 * total / (ORDERS * len(references))

    def batch(
        self,
        photos: NDArray[np.int64],
        tokens: NDArray[np.int64],
        left_out: NDArray[np.int64],
        penalize_ends: bool = False,
    ) -> NDArray[np.float32]:
        """Rewards float32[B, K] of sampled tokens int64[B, K, T] (without <s>, padded after </s>).

        left_out: int64[B], see score; penalize_ends: take off DANGLING_COST where a caption ends in mid-sentence.
        """
        rewards = np.zeros(tokens.shape[:2], np.float32)
        for b, photo in enumerate(photos):
            for k, row in enumerate(tokens[b]):
                words = [int(t) for t in row if t != PAD]
                rewards[b, k] = self.score(int(photo), words, int(left_out[b]))
                if penalize_ends and len(words) > 1 and words[-1] == EOS and words[-2] in self.dangling:
                    rewards[b, k] -= DANGLING_COST
        return rewards
