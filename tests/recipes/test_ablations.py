"""What the captioner that ships takes from photo and hint, of a few photos: the same texts as its pipeline's."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import fuseline
from fuseline.export.quality.scores import caption_metrics, words_of
from recipes.default_captioner.ablations import CONTENT, HINTED, OTHER, ablations, shares_by_kind
from recipes.default_captioner.data import Photo

CAT = Path(__file__).parents[2] / "examples" / "cat.jpg"
CAPTIONS = {
    "cat": ["a cat looks at the camera", "a close up of a cat", "a brown cat", "a cat on a sofa", "the face of a cat"],
    "grass": ["green grass in a field", "a green lawn", "a field of grass", "grass", "a green wall"],
    "night": ["a dark night sky", "a black sky", "nothing but black", "a dark wall", "the night"],
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    folder = tmp_path_factory.mktemp("photos")
    Image.new("RGB", (64, 64), "green").save(folder / "grass.png")
    Image.new("RGB", (64, 64), "black").save(folder / "night.png")
    files = {"cat": CAT, "grass": folder / "grass.png", "night": folder / "night.png"}
    return [Photo(files[name], [words_of(each) for each in captions]) for name, captions in CAPTIONS.items()]


def test_each_condition_is_what_the_pipeline_says(photos: list[Photo]) -> None:
    captioner = fuseline.pipeline("image-to-text", threads=1)
    found = ablations(captioner.model, photos, "some")
    references = [[" ".join(words) for words in photo.captions[1:]] for photo in photos]
    hints = ["cat looks", "green grass", "dark night"]
    for condition, hint in (("photo", [None] * 3), ("photo and two right words", hints)):
        texts = [
            each[0]["generated_text"] for each in captioner([str(photo.file) for photo in photos], fast=None, hint=hint)
        ]
        wanted = caption_metrics(references, texts)
        assert found[condition] == {name: round(wanted[name].value(), 4) for name in ("CIDEr", "BLEU-4")}
    assert len({*map(str, found.values())}) > 4  # the conditions are not one another's


def test_shares_are_of_all_words(photos: list[Photo]) -> None:
    captioner = fuseline.pipeline("image-to-text", threads=1)
    found = shares_by_kind(captioner.model, photos, "some")
    assert {*found} <= {HINTED, CONTENT, OTHER} and HINTED in found
    assert sum(each["of the words"] for each in found.values()) == pytest.approx(1, abs=1e-3)
    told = [
        captioner(str(photo.file), hint=hint)[0]
        for photo, hint in zip(photos, ["cat looks", "green grass", "dark night"], strict=True)
    ]
    shares = [
        word["shares"]["hint"]
        for each, hint in zip(told, ["cat looks", "green grass", "dark night"], strict=True)
        for word in each["words"]
        if word["text"].strip() in hint.split()
    ]
    assert found[HINTED]["share of the hint"] == pytest.approx(sum(shares) / len(shares), abs=2e-2)
