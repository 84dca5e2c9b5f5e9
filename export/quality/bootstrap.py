"""Bootstrap: how far a value, or the difference between two variants, may be chance of the photos, texts or clips.

Efron, "Bootstrap Methods" (1979); differences are paired, since both variants saw the same ones (Koehn, "Statistical
Significance Tests for Machine Translation Evaluation", 2004). Dimensions as in scores.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .scores import Metric

RESAMPLES, LEVEL = 2000, 95
_TAILS = ((100 - LEVEL) / 2, (100 + LEVEL) / 2)  # percent
# So that the weights take 8 MB at a time: all 2,000 rows of 40,000 items would be 640 MB.
_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Difference:
    """A variant's value less that of the variant it is compared with. low, high: the interval of 95%."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """The interval of 95% of a value."""

    low: float
    high: float


def signed(value: float, digits: int = 4) -> str:
    """A difference for people: its sign always, but of what rounds to nothing never a minus."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def differences(metrics: Mapping[str, Metric], base: Mapping[str, Metric]) -> dict[str, Difference]:
    """Of the same figures of two variants for the same items, by name. The same inputs give the same intervals."""
    items = len(next(iter(base.values())).parts)
    found: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in base}
    for weights in _resampled(items):
        for name, metric in base.items():
            found[name].append(metrics[name].values(weights) - metric.values(weights))
    result = {}
    for name, metric in base.items():
        low, high = np.percentile(np.concatenate(found[name]), _TAILS)
        result[name] = Difference(metrics[name].value() - metric.value(), float(low), float(high))
    return result


def intervals(metrics: Mapping[str, Metric]) -> dict[str, Interval]:
    """Of the figures of one variant by name: where they would lie for other items of the same kind."""
    found: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in metrics}
    for weights in _resampled(len(next(iter(metrics.values())).parts)):
        for name, metric in metrics.items():
            found[name].append(metric.values(weights))
    return {name: Interval(*map(float, np.percentile(np.concatenate(of), _TAILS))) for name, of in found.items()}


def _resampled(items: int) -> Iterator[npt.NDArray[np.float64]]:
    """How often each item was drawn, float64[W, N], RESAMPLES rows in all; always the same ones."""
    random = np.random.default_rng(0)
    step = max(1, _AT_ONCE // items)
    for first in range(0, RESAMPLES, step):
        # Drawn as whole numbers and counted, not as probabilities: every machine draws the same.
        drawn = [random.integers(0, items, items) for _ in range(min(step, RESAMPLES - first))]
        yield np.stack([np.bincount(each, minlength=items) for each in drawn]).astype(np.float64)
