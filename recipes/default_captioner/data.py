"""Photos with captions: what lies in folders, and the cached views of it.

A data set is a folder with `captions.jsonl`, one object a line: {"file": "images/NAME.jpg", "captions": [strings],
"split": "train" | "val"}; or COCO's own folder with `annotations/captions_train2017.json`, `train2017/` and the same of
val. Things with their names are a folder with `labels.jsonl`: {"file": ..., "label": "cup", "split": "train" | "dev"}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseline.errors import InputError
from fuseline.export.quality.scores import words_of

CAPTIONS = 5
FEATURE_STEP = 6 / 255  # features end in ReLU6 and are kept in 8 bits
COCO_ANNOTATIONS = "annotations/captions_{split}2017.json"
WORDS_OF_KINDS = Path(__file__).parent / "objects_words.json"


@dataclass(frozen=True)
class Photo:
    """One photo: its file, five captions as lists of lower-case words, and the names of its kind, if it has one."""

    file: Path
    captions: list[list[str]]
    names: tuple[str, ...] = ()


def read_captions(data: Path, split: str | None) -> list[Photo]:
    """The photos of a split, or of all (None), in the file's order. Raises InputError for a folder of neither kind, or
    one without such photos."""
    coco = data / COCO_ANNOTATIONS.format(split=split)
    entries = list(_coco(coco, data / f"{split}2017") if coco.exists() else _lines(data, split))
    _check([file for file, _ in entries], data, split)
    return [Photo(file, five([words_of(caption) for caption in captions])) for file, captions in entries]


def held_out(data: Path) -> dict[str, Any]:
    """Of a folder of either kind, the arguments of fuseline.export.evaluate for the photos of `val`."""
    coco = data / COCO_ANNOTATIONS.format(split="val")
    if coco.exists():
        return {"data": coco, "photos": data / "val2017", "name": "COCO val2017"}
    return {"data": data / "captions.jsonl", "split": "val", "name": f"{data.resolve().name} val"}


def read_kinds(data: Path, split: str) -> list[Photo]:
    """Photos of things: sentences about their kind are their captions. Raises InputError as read_captions does, and for
    a label without sentences."""
    words = json.loads(WORDS_OF_KINDS.read_text(encoding="utf-8"))
    photos = []
    for entry in _objects(data / "labels.jsonl", "label"):
        if entry.get("split") == split:
            if entry["label"] not in words:
                raise InputError(f"{data}: nothing is known of {entry['label']!r}; write it into {WORDS_OF_KINDS.name}")
            kind = words[entry["label"]]
            captions = [sentence.split() for sentence in kind["sentences"]]
            first = len(photos) % len(captions)  # which of them are left out changes from photo to photo
            captions = five(captions[first:] + captions[:first])
            photos.append(Photo(data / entry["file"], captions, tuple(kind["names"])))
    _check([photo.file for photo in photos], data, split)
    return photos


def five(captions: list[list[str]]) -> list[list[str]]:
    """The first five; where there are fewer, some come twice."""
    return [captions[i % len(captions)] for i in range(CAPTIONS)]


def named(photos: Sequence[Photo], texts: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each text has a name of its photo's thing."""
    return np.array([any(f" {n} " in f" {t} " for n in p.names) for p, t in zip(photos, texts, strict=True)])


def _check(files: Sequence[Path], data: Path, split: str | None) -> None:
    of_split = "" if split is None else f' with "split": "{split}"'
    if not files:
        raise InputError(f"{data} has no photos{of_split}; it takes some to train with (train) and some to measure by")
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{data}: {len(missing)} of {len(files)} photos{of_split} are not there, as {missing[0]}")


def _objects(path: Path, what: str) -> Iterator[Any]:
    if not path.is_file():
        raise InputError(f"{path} is not there; it has a photo a line, as the recipe's README says")
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                entry["file"], entry[what]
            except (ValueError, KeyError, TypeError):
                raise InputError(f'{path}, line {number}: it must be an object with "file" and "{what}"') from None
            yield entry


def _lines(data: Path, split: str | None) -> Iterator[tuple[Path, list[str]]]:
    for entry in _objects(data / "captions.jsonl", "captions"):
        if split in (None, entry.get("split")):
            yield data / entry["file"], entry["captions"]


def _coco(annotations: Path, photos: Path) -> Iterator[tuple[Path, list[str]]]:
    found = json.loads(annotations.read_text(encoding="utf-8"))
    captions: dict[int, list[str]] = {}
    for entry in found["annotations"]:
        captions.setdefault(entry["image_id"], []).append(entry["caption"])
    for image in found["images"]:
        if image["id"] in captions:
            yield photos / image["file_name"], captions[image["id"]]


@dataclass(frozen=True)
class Views:
    """What `prepare` keeps of the photos of a set, mapped from disk: float16[photos, views, C, rows, columns] of the
    encoder's frozen front, and float16[photos, views, 1000] of ImageNet's classes, as logits."""

    front: NDArray[np.float16]
    logits: NDArray[np.float16]

    @classmethod
    def load(cls, work: Path, name: str) -> Views:
        front, logits = (np.load(work / f"{part}_{name}.npy", mmap_mode="r") for part in ("front", "logits"))
        return cls(front, logits)
