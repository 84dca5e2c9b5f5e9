"""Captions as words and ids, and the cached views of the photos.

The data set is a folder with `captions.jsonl`, one object a line:
{"file": "images/NAME.jpg", "captions": [five strings], "split": "train" | "val" | "extra"}.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseline.export.quality.scores import words_of

from .captioner import BOS, EOS, PAD, SPECIAL, UNK

# Words of fewer training captions are <unk>: they could not be learned from three examples.
MIN_COUNT = 4
MAX_WORDS = 20


@dataclass(frozen=True)
class Photo:
    """One photo with its captions, each a list of lower-case words."""

    file: str
    captions: list[list[str]]


def read_split(data: Path, split: str) -> list[Photo]:
    """The photos of a split in the file's order."""
    photos = []
    with open(data / "captions.jsonl", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["split"] == split:
                photos.append(Photo(entry["file"], [words_of(caption) for caption in entry["captions"]]))
    return photos


def build_vocabulary(photos: list[Photo]) -> list[str]:
    """Special tokens, then the words by falling count (ties alphabetical)."""
    counts = Counter(word for photo in photos for caption in photo.captions for word in caption)
    kept = [word for word, count in counts.items() if count >= MIN_COUNT]
    return [*SPECIAL, *sorted(kept, key=lambda word: (-counts[word], word))]


def caption_ids(photos: list[Photo], vocabulary: list[str]) -> NDArray[np.int64]:
    """int64[photos, 5, MAX_WORDS + 2]: <s> words </s>, padded."""
    index = {word: i for i, word in enumerate(vocabulary)}
    ids = np.full((len(photos), 5, MAX_WORDS + 2), PAD, np.int64)
    for p, photo in enumerate(photos):
        for c, caption in enumerate(photo.captions):
            row = [BOS, *(index.get(word, UNK) for word in caption[:MAX_WORDS]), EOS]
            ids[p, c, : len(row)] = row
    return ids


def load_views(work: Path, split: str) -> NDArray[np.float16]:
    """float16[photos, views, 112, rows, columns], mapped from disk, as `prepare` wrote them."""
    views: NDArray[np.float16] = np.load(work / f"views_{split}.npy", mmap_mode="r")
    return views
