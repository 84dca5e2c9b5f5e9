"""Training photos made unfamiliar, so that it does not help to know their captions by heart.

After a few epochs the captioner knows much of its 6,000 photos by heart. A hint then tells it nothing, so it is not
learned to be read, and what is learned of photos is less than what could be. So photos are mixed (Zhang et al.,
"mixup", 1710.09412), channels and positions are left out, and with a hint often a similar photo stands for the
photo: what is seen is roughly right then, as with photos that are new, and the hint tells what is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .captioner import Noise
from .data import Photo

SIMILAR = 10  # photos that may stand for one
TOGETHER = 1024  # photos that are compared with all at once: COCO has 118,000
STANDS = (0.6, 1.0)  # how much of a photo is of the one that stands for it
MIXED = (0.5, 1.0)  # how much of a photo is its own where another is mixed into it
COVERED = (0.3, 0.9)  # share of its positions that a covered photo lacks
COVERED_WITHOUT_HINT = 0.4  # of these shares, where no hint tells what is covered


def similar_photos(logits: NDArray[np.float16], photos: Sequence[Photo]) -> NDArray[np.int64]:
    """int64[photos, SIMILAR], the likest first, by what the classifier says: logits [photos, 1000]; of fewer photos all
    others. Things are like things of other kinds alone."""
    vectors = logits.astype(np.float32)
    vectors -= vectors.mean(0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)  # of a set of one photo it is 0
    kinds = np.unique([" ".join(photo.names) for photo in photos], return_inverse=True)[1]
    apart = bool(kinds.max() > 0)
    wanted = min(SIMILAR, len(photos) - 1)
    found = np.empty((len(photos), wanted), np.int64)
    for start in range(0, len(photos), TOGETHER):
        rows = np.arange(start, min(start + TOGETHER, len(photos)))
        alike = vectors[rows] @ vectors.T
        alike[np.arange(len(rows)), rows] = -np.inf
        if apart:
            alike[kinds[rows, None] == kinds] = -np.inf
        nearest = np.argpartition(-alike, wanted, axis=1)[:, :wanted]
        order = np.argsort(-np.take_along_axis(alike, nearest, 1), axis=1)
        found[rows] = np.take_along_axis(nearest, order, 1)
    return found


def unfamiliar(features: Tensor, hinted: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """features float32[B, P, C], hinted bool[B] -> the features changed, and which positions are there, bool[B, P]."""
    count, positions, width = features.shape
    own = torch.where(torch.rand(count) < noise.mixed, torch.empty(count).uniform_(*MIXED), torch.ones(count))
    own = own.view(-1, 1, 1)
    features = own * features + (1 - own) * features[torch.randperm(count)]
    features = features * ((torch.rand(count, 1, width) >= noise.channels) / (1 - noise.channels))
    lacking = torch.empty(count).uniform_(*COVERED) * (torch.rand(count) < noise.covered)
    lacking = torch.where(hinted, lacking, COVERED_WITHOUT_HINT * lacking)
    return features, torch.rand(count, positions) >= lacking.unsqueeze(1)
