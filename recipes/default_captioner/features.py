"""What the trained encoder sees of every view, once; its convolutions are not trained any more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .batches import Corpus, PhotoSet
from .captioner import Captioner
from .data import FEATURE_STEP
from .progress import track
from .train import BFLOAT16

TOGETHER = 16  # photos whose views go through the network at once


def with_features(corpus: Corpus, model: Captioner, work: Path) -> Corpus:
    """The corpus with uint8[photos, views, P, 1280] for every set, in steps of FEATURE_STEP, mapped from
    features_NAME.npy in `work`; finished files are kept."""
    sets = [_seen(photos, model, work) for photos in corpus.sets]
    val = {name: _seen(photos, model, work) for name, photos in corpus.val.items()}
    return replace(corpus, sets=sets, val=val)


def _seen(photos: PhotoSet, model: Captioner, work: Path) -> PhotoSet:
    path = work / f"features_{photos.name}.npy"
    if not path.exists():
        partial = path.with_suffix(".partial.npy")
        shape = (*photos.views.front.shape[:2], *model.positions.shape[:1], model.project.in_features)
        cache = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        starts = range(0, len(cache), TOGETHER)
        for start in track(starts, f"features of {photos.name}", len(starts)):
            rows = slice(start, start + TOGETHER)
            cache[rows] = _features(model, photos.views.front[rows])
        cache.flush()
        partial.rename(path)
    return replace(photos, features=np.load(path, mmap_mode="r"))


@torch.no_grad()
def _features(model: Captioner, front: NDArray[np.float16]) -> NDArray[np.uint8]:
    """float16[photos, views, C, rows, columns] -> uint8[photos, views, P, 1280]; ReLU6 keeps them from 0 to 6."""
    seen = torch.from_numpy(front.astype(np.float32)).flatten(0, 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
        features = model.eval().features(seen)
    steps = (features.float() / FEATURE_STEP).round().clamp(0, 255).to(torch.uint8)
    return steps.view(*front.shape[:2], *steps.shape[1:]).numpy()
