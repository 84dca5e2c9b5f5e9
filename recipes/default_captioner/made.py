"""Pictures that are no photos, made here and kept in the work folder: pages, screens, charts, drawings, textures."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .data import CAPTIONS, Photo, read_captions
from .made_pictures import drawing_of, made_pictures, silhouette_of
from .progress import track

PICTURES, DRAWINGS, SILHOUETTES, SEED = 960, 240, 80, 1
_DRAWN = (
    "a drawing of {}",
    "a pencil drawing of {}",
    "a black and white drawing of {}",
    "a sketch of {}",
    "a picture of {} drawn on paper",
    "an illustration of {}",
    "a drawing of {} on a white background",
)
_SILHOUETTE = (
    "a silhouette of {}",
    "a black silhouette of {}",
    "the black shape of {} on a white background",
    "a black and white picture of {}",
    "the outline of {} in black",
    "a black drawing of {} on a white background",
)


def made_photos(work: Path, things: list[Photo]) -> list[Photo]:
    """What lies in work/made, or is made there. things: photos of kinds, some of which are drawn."""
    folder = work / "made"
    if not folder.exists():
        partial = work / "made.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write_made(partial, PICTURES, SEED, things)
        partial.rename(folder)
    return read_captions(folder, "train")


def write_made(folder: Path, count: int, seed: int, things: list[Photo]) -> None:
    """A folder of pictures with captions.jsonl, as JPEG files of different quality."""
    (folder / "images").mkdir(parents=True)
    rng = random.Random(seed)
    every = [*_made(count, seed), *_drawings(things, rng), *_silhouettes(things, rng)]
    lines = []
    for number, (image, captions) in enumerate(track(every, "pictures", len(every))):
        file = f"images/{number:05}.jpg"
        image.save(folder / file, quality=rng.randint(60, 95))
        lines.append(json.dumps({"file": file, "captions": captions, "split": "train"}))
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _made(count: int, seed: int) -> Iterator[tuple[Image.Image, list[str]]]:
    for picture in made_pictures(count, seed):
        yield picture.image, list(picture.captions)


def _drawings(things: list[Photo], rng: random.Random) -> Iterator[tuple[Image.Image, list[str]]]:
    for thing in rng.sample(things, min(DRAWINGS, len(things))):
        with Image.open(thing.file) as opened:
            image = drawing_of(opened.convert("RGB"), np.random.default_rng(rng.randrange(2**32)))
        yield image, _captions(_DRAWN, thing, rng)


def _silhouettes(things: list[Photo], rng: random.Random) -> Iterator[tuple[Image.Image, list[str]]]:
    left = SILHOUETTES
    for thing in rng.sample(things, len(things)):
        with Image.open(thing.file) as opened:
            image = silhouette_of(opened.convert("RGB"), np.random.default_rng(rng.randrange(2**32))) if left else None
        if image is not None:
            left -= 1
            yield image, _captions(_SILHOUETTE, thing, rng)


def _captions(forms: Sequence[str], thing: Photo, rng: random.Random) -> list[str]:
    name = thing.names[0]
    named = f"an {name}" if name[0] in "aeiou" else f"a {name}"
    return [form.format(named) for form in rng.sample(forms, CAPTIONS)]
