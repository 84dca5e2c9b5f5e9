"""How sure a model is of what it says: a number made of the log-probabilities of a text's tokens.

A folder may say how in fuseline.json, see docs/design.md. Which numbers it takes was fitted to texts that people have
judged, by fuseline.export.quality.calibrate. Dimensions: `T` tokens of a text, its end token among them, `F` features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

# What a confidence may be made of: numbers of the log-probabilities of a text's tokens, float64[T], T > 0.
FEATURES: Mapping[str, Callable[[Float64], float]] = {
    "mean_log_prob": lambda log_probs: float(log_probs.mean()),
    "min_log_prob": lambda log_probs: float(log_probs.min()),
    "sum_log_prob": lambda log_probs: float(log_probs.sum()),
    "tokens": lambda log_probs: float(len(log_probs)),
    "first_log_prob": lambda log_probs: float(log_probs[0]),
    # of one token the lowest
    "second_lowest_log_prob": lambda log_probs: float(np.sort(log_probs)[:2][-1]),
}


@dataclass(frozen=True)
class Confidence:
    """1 / (1 + exp(-(intercept + sum of weight x feature))) of a text. weights: by the features' names in FEATURES;
    unsure_below: from 0 to 1, the confidence below which a text is said to be unsure."""

    intercept: float
    weights: Mapping[str, float]
    unsure_below: float

    def of(self, log_probs: Float64) -> float:
        """From 0 to 1; 0 of a text without tokens. log_probs: float64[T], as in features_of."""
        if not len(log_probs):
            return 0.0
        weighed = (weight * FEATURES[name](log_probs) for name, weight in self.weights.items() if weight)
        return float(logistic(self.intercept + sum(weighed)))


def features_of(log_probs: Float64) -> Float64:
    """The features of a text, float64[F], in the order of FEATURES.

    log_probs: float64[T], T > 0, what the model itself says of the tokens after the prompt, the end token among them:
    an entry of Generation.model_logprobs.
    """
    return np.array([feature(log_probs) for feature in FEATURES.values()])


def logistic(scores: npt.ArrayLike) -> Float64:
    """1 / (1 + exp(-score)) of each, also of scores that are far from 0; 0 of NaN, which comes of tokens of probability
    0."""
    given = np.asarray(scores, np.float64)
    small = np.exp(-np.abs(given))
    return np.where(np.isnan(given), 0.0, np.where(given >= 0, 1.0, small) / (1.0 + small))
