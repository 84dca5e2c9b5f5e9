"""BLEU and CIDEr as pycocoevalcap computes them, on lower-case words without punctuation."""

from __future__ import annotations

import contextlib
import io

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from .data import Photo, words_of


def caption_metrics(photos: list[Photo], captions: list[str]) -> dict[str, float]:
    """BLEU-1..4 and CIDEr of one caption a photo."""
    references = {i: [" ".join(caption) for caption in photo.captions] for i, photo in enumerate(photos)}
    results = {i: [" ".join(words_of(caption))] for i, caption in enumerate(captions)}
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, _ = Bleu(4).compute_score(references, results)
        cider, _ = Cider().compute_score(references, results)
    scores = {f"BLEU-{n}": round(float(value), 4) for n, value in enumerate(bleu, 1)}
    return {**scores, "CIDEr": round(float(cider), 4)}
