"""What the captioner takes from its two sources: either of them left out, or that of another photo; and who gave what.

python -m recipes.default_captioner.ablations FOLDER --data flickr8k --score coco --first 300

Every text is compared with four captions; the words of a hint are of the fifth.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fuseline
from fuseline.images import load_image
from fuseline.outputs.shares import shares_of_words

from .data import Photo, read_captions
from .measure import hints_of, say, scores
from .progress import track
from .words import content_words

HINTED, CONTENT, OTHER = "words of the hint", "other content words", "other words"


def ablations(model: fuseline.Model, photos: Sequence[Photo], name: str) -> dict[str, dict[str, float]]:
    """CIDEr and BLEU-4 of each condition."""
    files: list[Path | None] = [photo.file for photo in photos]
    hints = hints_of(photos)
    right, wrong = hints["right"], hints["wrong"]
    first = [hint and hint.split()[0] for hint in right]
    others, nothing = [*files[1:], files[0]], [None] * len(files)
    conditions: dict[str, tuple[Sequence[Path | None], Sequence[str | None] | None]] = {
        "photo": (files, None),
        "photo and two right words": (files, right),
        "photo and two words of another photo": (files, wrong),
        "two right words and another photo": (others, right),
        "another photo": (others, None),
        "two right words": (nothing, [hint or "photo" for hint in right]),
        "photo and one right word": (files, first),
        "photo and one right word twice": (files, [word and f"{word} {word}" for word in first]),
    }
    return {
        what: scores(photos, say(model, images, words, f"{name}, {what}").texts, 1)
        for what, (images, words) in conditions.items()
    }


def shares_by_kind(model: fuseline.Model, photos: Sequence[Photo], name: str) -> dict[str, dict[str, float]]:
    """With two right words: how many of the words that are said are of each kind, and the mean share of the hint in
    them; the photo has the rest."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for photo, hint in zip(track(photos, f"{name}, shares", len(photos)), hints_of(photos)["right"], strict=True):
        if hint is None:
            continue
        image = model.inputs_of("image")([load_image(photo.file)])
        said = model.generate({"image": image, "hint": model.inputs_of("hint")([hint])})
        for word in shares_of_words(said, model.decode):
            text = word["text"].strip()
            kind = HINTED if text in hint.split() else CONTENT if content_words([text]) else OTHER
            found[kind].append(word["shares"]["hint"])
    total = sum(map(len, found.values()))
    return {
        kind: {"of the words": round(len(each) / total, 4), "share of the hint": round(float(np.mean(each)), 4)}
        for kind, each in sorted(found.items())
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recipes.default_captioner.ablations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, help="the captioner's folder")
    add("--data", type=Path, required=True, help="folder with captions.jsonl, of which `val` is measured")
    add("--score", type=Path, action="append", default=[], help="a folder with captions, all of which are measured")
    add("--first", type=int, metavar="N", help="measure the first N photos of `val` (default: all)")
    options = parser.parse_args()
    try:
        run(options)
    except fuseline.Error as error:
        parser.exit(2, f"{error}\n")


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    model = fuseline.Model.from_pretrained(options.folder)
    figures: dict[str, Any] = {}
    sets = {"val": read_captions(options.data, "val")[: options.first]}
    for name, photos in (sets | {other.name: read_captions(other, None) for other in options.score}).items():
        figures[name] = {"scores": ablations(model, photos, name), "shares": shares_by_kind(model, photos, name)}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
