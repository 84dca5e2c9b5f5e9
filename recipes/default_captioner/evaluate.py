"""Captions of a whole split by fuseline's own pipeline, and their scores."""

from __future__ import annotations

from pathlib import Path

import fuseline

from .data import Photo
from .metrics import caption_metrics
from .progress import track


def evaluate(folder: Path, variant: str, data: Path, photos: list[Photo]) -> tuple[dict[str, float], list[str]]:
    """BLEU-1..4 and CIDEr of a variant with beam 4, and the captions in the photos' order."""
    captioner = fuseline.pipeline("image-to-text", model=folder, variant=variant)
    paths = (data / photo.file for photo in photos)
    results = captioner(paths, generate_kwargs={"num_beams": 4})
    captions = [result[0]["generated_text"] for result in track(results, f"captions by {variant}", len(photos))]
    return caption_metrics(photos, captions), captions
