"""CIDEr-D of one caption against those of its photo, fast enough to be a reward.

Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation" (2015), variant D as pycocoevalcap has it: counts
clipped, a Gaussian of the difference in length, times ten. Unlike there, a caption's end is a word of it: without that
a model that is trained on the score learns to stop in the middle of a phrase.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ORDERS = 4
SIGMA = 6.0
END = "</s>"

Gram = tuple[str, ...]


@dataclass(frozen=True)
class Weighed:
    """A caption's n-grams of each order with their weights, the norms of these, and how many pairs of words it has."""

    weights: list[dict[Gram, float]]
    norms: list[float]
    pairs: int


class CiderD:
    """How rare each n-gram is among the photos whose captions are given."""

    def __init__(self, photos: Iterable[Sequence[Sequence[str]]]) -> None:
        """photos: the captions of each, as words."""
        self.photos_with: Counter[Gram] = Counter()
        count = 0
        for captions in photos:
            self.photos_with.update({gram for caption in captions for gram in _grams(caption)})
            count += 1
        self.log_photos = math.log(max(count, 1))

    def weighed(self, caption: Sequence[str]) -> Weighed:
        """Each n-gram's count times how rare it is; what no photo has is as rare as what one has."""
        counts = _grams(caption)
        weights: list[dict[Gram, float]] = [{} for _ in range(ORDERS)]
        for gram, times in counts.items():
            weights[len(gram) - 1][gram] = times * (self.log_photos - math.log(max(1, self.photos_with[gram])))
        norms = [math.sqrt(sum(weight * weight for weight in order.values())) for order in weights]
        return Weighed(weights, norms, sum(times for gram, times in counts.items() if len(gram) == 2))

    def score(self, caption: Sequence[str], references: Sequence[Weighed]) -> float:
        """The mean over the references; 0 where there is none."""
        said = self.weighed(caption)
        return 10 * sum(_likeness(said, each) for each in references) / max(len(references), 1)


def _grams(caption: Sequence[str]) -> Counter[Gram]:
    words = (*caption, END)
    return Counter(words[i : i + n] for n in range(1, ORDERS + 1) for i in range(len(words) - n + 1))


def _likeness(said: Weighed, wanted: Weighed) -> float:
    """From 0 to 1: the mean over the orders of the clipped cosine, less for a caption of another length."""
    total = 0.0
    for ours, theirs, norm, other in zip(said.weights, wanted.weights, said.norms, wanted.norms, strict=True):
        if norm and other:
            shared = sum(min(w, theirs[gram]) * theirs[gram] for gram, w in ours.items() if gram in theirs)
            total += shared / (norm * other)
    return total / ORDERS * math.exp(-((said.pairs - wanted.pairs) ** 2) / (2 * SIGMA**2))
