"""What a captioner's folder says of photos: with right, wrong and shuffled hints, of other photos, and how sure it is.

python -m recipes.default_captioner.measure FOLDER --data flickr8k --kinds objects --score coco
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fuseline
from fuseline.export.quality.calibrate import calibrate, calibration_table
from fuseline.export.quality.scores import caption_metrics
from fuseline.export.writing.folder import write_confidence
from fuseline.folders.confidence import FEATURES, Confidence, features_of
from fuseline.images import load_image

from .data import Photo, named, read_captions, read_kinds
from .made import write_made
from .progress import track
from .words import measured_hint

BATCH = 16
# A caption that scores this CIDEr against its five references names who and what is on the photo; see the README.
GOOD_CIDER = 0.4
UNSURE_BELOW = 0.35
HELD_OUT, HELD_OUT_SEED = 220, 1000  # pictures made here that training did not see
CONFIDENCE_FEATURES = ("mean_log_prob", "min_log_prob", "second_lowest_log_prob", "first_log_prob", "tokens")


@dataclass
class Said:
    """What is said of photos: texts, the log-probabilities float64[T] of their tokens, and the share of each source in
    each of these, float32[T, 2]."""

    texts: list[str] = field(default_factory=list)
    log_probs: list[NDArray[np.float64]] = field(default_factory=list)
    shares: list[NDArray[np.float32]] = field(default_factory=list)


Judged = tuple[Said, NDArray[np.bool_]]  # what is said, and which of it is good


def say(model: fuseline.Model, photos: Sequence[Path | None], hints: Sequence[str | None] | None, what: str) -> Said:
    """Captions of photos, each with its hint; a photo that is None is absent."""
    said = Said()
    for start in track(range(0, len(photos), BATCH), what, -(-len(photos) // BATCH)):
        some = photos[start : start + BATCH]
        inputs: dict[str, Any] = {}
        if any(photo is not None for photo in some):
            inputs["image"] = model.inputs_of("image")([load_image(photo) for photo in some if photo is not None])
        if hints is not None:
            inputs["hint"] = model.inputs_of("hint")(list(hints[start : start + BATCH]))
        found = model.generate(inputs, output_model_logprobs=True)
        said.texts += model.decode(found.sequences)
        assert found.model_logprobs is not None and found.source_attention is not None
        said.log_probs += [np.asarray(each, np.float64) for each in found.model_logprobs]
        said.shares += [each[: len(p)] for each, p in zip(found.source_attention, found.model_logprobs, strict=True)]
    return said


def hints_of(photos: Sequence[Photo], seed: int = 0) -> dict[str, list[str | None]]:
    """Two content words of one caption of each photo, and the same of another photo; the caption is the first."""
    right = [" ".join(measured_hint(photo.captions[0])) or None for photo in photos]
    moved = random.Random(seed).sample(range(len(photos)), len(photos))
    wrong = [right[j if j != i else i - 1] for i, j in enumerate(moved)]
    return {"right": right, "wrong": wrong}


def scores(photos: Sequence[Photo], texts: Sequence[str], left_out: int = 0) -> dict[str, float]:
    """CIDEr and BLEU-4 against the captions, without the first `left_out` of them."""
    references = [[" ".join(words) for words in photo.captions[left_out:]] for photo in photos]
    found = caption_metrics(references, texts)
    return {name: round(found[name].value(), 4) for name in ("CIDEr", "BLEU-4")}


def measured(model: fuseline.Model, photos: Sequence[Photo], name: str) -> tuple[dict[str, Any], dict[str, Judged]]:
    """Every condition of a set with captions, and what is said without a hint, with a right and with a wrong one."""
    files: list[Path | None] = [photo.file for photo in photos]
    hints = hints_of(photos)
    others = [*files[1:], files[0]]
    plain = say(model, files, None, f"{name}, no hint")
    right, wrong = (say(model, files, hints[which], f"{name}, {which} hint") for which in ("right", "wrong"))
    rows = {
        "no hint": scores(photos, plain.texts),
        "no hint, against four captions": scores(photos, plain.texts, 1),
        "two right words": scores(photos, right.texts, 1),
        "two wrong words": scores(photos, wrong.texts),
        "right hint, another photo": scores(photos, say(model, others, hints["right"], f"{name}, other").texts, 1),
        "right hint, no photo": scores(photos, _of_hints(model, hints["right"], f"{name}, no photo").texts, 1),
    }
    share = np.mean([each[:, 1].mean() for each in right.shares])
    judged = {
        name: (plain, good_captions(photos, plain.texts)),
        f"{name}, two right words": (right, good_captions(photos, right.texts, 1)),
        f"{name}, two wrong words": (wrong, good_captions(photos, wrong.texts)),
    }
    return {**rows, "share of the hint": round(float(share), 4)}, judged


def _of_hints(model: fuseline.Model, hints: Sequence[str | None], what: str) -> Said:
    return say(model, [None] * len(hints), [hint or "photo" for hint in hints], what)


def good_captions(photos: Sequence[Photo], texts: Sequence[str], left_out: int = 0) -> NDArray[np.bool_]:
    """Those of at least GOOD_CIDER, against the captions without the first `left_out` of them."""
    references = [[" ".join(words) for words in photo.captions[left_out:]] for photo in photos]
    return caption_metrics(references, texts)["CIDEr"].parts[:, 0] >= GOOD_CIDER


def fitted(judged: Sequence[Judged]) -> dict[str, Any]:
    """How sure the model is of a text, as fuseline.json has it, fitted to every second text of each set."""
    features, good = [_columns(said)[::2] for said, _ in judged], [each[::2] for _, each in judged]
    intercept, weights = calibrate(np.concatenate(features), np.concatenate(good))
    rounded = {name: round(float(w), 4) for name, w in zip(CONFIDENCE_FEATURES, weights, strict=True)}
    return {"intercept": round(intercept, 4), "weights": rounded, "unsure_below": UNSURE_BELOW}


def sureness(confidence: dict[str, Any], judged: Judged) -> dict[str, Any]:
    """How well a confidence tells which texts are good, on those that it was not fitted to."""
    said, good = judged[0].log_probs[1::2], judged[1][1::2]
    formula = Confidence(**confidence)
    sure = np.array([formula.of(each) for each in said])
    table = calibration_table(sure, good, 5)
    bins = [
        {"from": round(each.low, 1), "texts": each.texts, "confidence": each.confidence, "good": each.good}
        for each in table.bins
        if each.texts
    ]
    unsure = sure < UNSURE_BELOW
    return {
        "bins": bins,
        "expected calibration error": table.expected_calibration_error,
        "unsure": float(unsure.mean()),
        "good of the unsure": float(good[unsure].mean()) if unsure.any() else None,
        "good of the others": float(good[~unsure].mean()) if not unsure.all() else None,
    }


def _columns(said: Said) -> NDArray[np.float64]:
    columns = [list(FEATURES).index(name) for name in CONFIDENCE_FEATURES]
    return np.stack([features_of(each) for each in said.log_probs])[:, columns]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recipes.default_captioner.measure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, help="the captioner's folder")
    add("--data", type=Path, required=True, help="folder with captions.jsonl, of which `val` is measured")
    add("--kinds", type=Path, help="folder with labels.jsonl, of which `dev` is measured")
    add("--score", type=Path, action="append", default=[], help="a folder with captions, all of which are measured")
    add("--calibrate", action="store_true", help="write how sure the model is into the folder")
    options = parser.parse_args()
    try:
        run(options)
    except fuseline.Error as error:
        parser.exit(2, f"{error}\n")


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    figures = measure(options.folder, options.data, options.kinds, options.score, options.calibrate)
    print(json.dumps(figures, indent=2))


def measure(folder: Path, data: Path, kinds: Path | None, score: Sequence[Path], write: bool) -> dict[str, Any]:
    """All figures. write: put what is fitted to `val`, the things and made pictures into the folder."""
    model = fuseline.Model.from_pretrained(folder)
    figures: dict[str, Any] = {}
    to_fit: dict[str, Judged] = {}
    val = read_captions(data, "val")
    figures["val"], judged_val = measured(model, val, "val")
    to_fit |= judged_val
    if kinds is not None:
        things = read_kinds(kinds, "dev")
        said = say(model, [thing.file for thing in things], None, "things")
        to_fit["things"] = said, named(things, said.texts)
        figures["things"] = {"named": float(to_fit["things"][1].mean())}
    with tempfile.TemporaryDirectory() as place:
        write_made(Path(place), HELD_OUT, HELD_OUT_SEED, [])
        made = read_captions(Path(place), "train")
        said = say(model, [picture.file for picture in made], None, "made pictures")
    to_fit["made"] = said, good_captions(made, said.texts)
    figures["made"] = scores(made, said.texts)
    confidence = fitted(list(to_fit.values()))
    judged = dict(to_fit)
    for other in score:
        photos = read_captions(other, None)
        figures[other.name], judged_other = measured(model, photos, other.name)
        judged |= judged_other
    figures["confidence"] = confidence
    for name, each in judged.items():
        figures.setdefault(name, {}).update(good=float(each[1].mean()), sureness=sureness(confidence, each))
    if write:
        write_confidence(folder, confidence)
    return figures


if __name__ == "__main__":
    main()
