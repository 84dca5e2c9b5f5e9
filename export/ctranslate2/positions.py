"""What CTranslate2 computes when it loads a model: sinusoidal positions, and what T5's distances add to scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def sinusoids(positions: int, width: int) -> Array:
    """float32[P, E] as OpenNMT has them: sines and then cosines, of positions from 1."""
    step = np.log(np.float32(10000)) / np.float32(width // 2 - 1)
    rates = np.exp(np.arange(width // 2, dtype=np.float32) * -step)
    angles_PF = np.arange(1, positions + 1, dtype=np.float32)[:, None] * rates
    return np.concatenate([np.sin(angles_PF), np.cos(angles_PF)], axis=1)


def distance_bias(bias_KH: Array, farthest: int, both: bool) -> Array:
    """T5's table of buckets as one of distances (arXiv:1910.10683). both: whether keys may follow the query."""
    distances = np.arange(-farthest, farthest + 1) if both else -np.arange(farthest + 1)
    buckets = len(bias_KH) // 2 if both else len(bias_KH)
    exact, away = buckets // 2, np.abs(distances)
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / np.float32(exact))
    far = exact + ratio / np.log(np.float32(farthest) / np.float32(exact)) * np.float32(buckets - exact)
    rows = np.where(away < exact, away, np.minimum(far.astype(np.int64), buckets - 1))
    return np.ascontiguousarray(bias_KH[rows + np.where(distances > 0, buckets, 0)].T)
