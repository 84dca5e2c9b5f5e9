"""The captioner that ships: it is whole, small enough, as good as its card says, and says something sensible."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

import fuseline
from fuseline.folders.open import find

PEOPLE = {"man", "woman", "person", "people", "girl", "boy", "child", "lady"}


@pytest.fixture(scope="module")
def captioner() -> fuseline.pipelines.image_to_text.ImageToText:
    return fuseline.pipeline("image-to-text")


def test_it_is_small_and_its_measured_quality_is_what_was_asked_for() -> None:
    folder = find(None)
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 12e6
    about = json.loads((folder / "fuseline.json").read_text())
    assert list(about["variants"]) == ["int8"]
    quality = about["quality"]["int8"]
    assert quality["inputs"] == 1000
    assert quality["BLEU-4"] >= 0.22
    assert quality["CIDEr"] >= 0.58
    card = (folder / "MODEL_CARD.md").read_text()
    for figure in (quality["BLEU-4"], quality["CIDEr"]):
        assert f"{figure:.3f}" in card


def test_it_sees_the_astronaut(captioner) -> None:
    [caption] = captioner(skimage.data.astronaut())
    words = caption["generated_text"].split()
    assert PEOPLE & set(words)
    assert "dog" not in words


def test_it_knows_everyday_things(captioner) -> None:
    for name, words in (
        ("coffee", {"cup", "coffee"}),
        ("chelsea", {"cat", "wildcat"}),
        ("page", {"page", "newspaper", "text"}),
    ):
        [caption] = captioner(getattr(skimage.data, name)())
        assert words & set(caption["generated_text"].split()), (name, caption)
        assert caption["confidence"] > 0.4


def test_a_hint_is_taken_where_it_fits(captioner) -> None:
    without, hinted = (captioner(skimage.data.rocket(), hint=hint)[0] for hint in (None, "rocket launch"))
    assert "rocket" in hinted["generated_text"].split() and "rocket" not in without["generated_text"].split()
    assert any(word["shares"]["hint"] > 0 for word in hinted["words"]) and "words" not in without


@pytest.mark.parametrize("hint", ["\N{GRINNING FACE}", "\u732b", "!?"])
def test_a_hint_of_which_it_knows_no_sign_is_refused(captioner, hint: str) -> None:
    with pytest.raises(fuseline.InputError, match="and the model knows no sign of it; leave it out"):
        captioner(skimage.data.chelsea(), hint=hint)
    assert "words" in captioner(skimage.data.chelsea(), hint=f"{hint} cat")[0]


def test_what_shows_nothing_is_told_as_what_it_is(captioner) -> None:
    blank = Image.new("RGB", (400, 300), (250, 250, 250))
    assert {"blank", "background", "page", "paper"} & set(captioner(blank)[0]["generated_text"].split())


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_a_caption_is_a_plain_sentence_and_always_the_same(captioner, name: str) -> None:
    photo = getattr(skimage.data, name)()
    [caption] = captioner(photo)
    words = caption["generated_text"].split()
    assert 4 <= len(words) <= 20
    assert all(word.strip("'-").replace("'", "").replace("-", "").isalnum() for word in words)
    assert captioner(Image.fromarray(photo)) == [caption]


def test_photos_together_are_captioned_as_they_are_alone(captioner) -> None:
    photos = [getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea", "rocket")]
    assert captioner(photos, batch_size=4) == [captioner(photo) for photo in photos]


def test_odd_photos_get_a_caption(captioner, tmp_path: Path) -> None:
    for size, mode in (((1, 1), "RGB"), ((1, 5000), "RGB"), ((40, 30), "CMYK"), ((30, 40), "LA"), ((9, 9), "P")):
        path = tmp_path / f"{mode}{size[0]}.tif"
        Image.new(mode, size).save(path)
        assert captioner(path)[0]["generated_text"]
