"""Made pictures: every kind, fit captions, the same from the same seed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipes.default_captioner.made_pictures import KINDS, MadePicture, drawing_of, made_pictures
from recipes.default_captioner.made_pictures.__main__ import CAPTION, CELL
from recipes.default_captioner.made_pictures.captions import five_captions, sentences

ROOT = Path(__file__).parents[2]
ROUND = len(KINDS)


@pytest.fixture(scope="module")
def pictures() -> list[MadePicture]:
    return list(made_pictures(4 * ROUND, seed=1))


def test_every_round_holds_every_kind(pictures: list[MadePicture]) -> None:
    for start in range(0, len(pictures), ROUND):
        assert {picture.kind for picture in pictures[start : start + ROUND]} == set(KINDS)


def test_pictures_are_rgb_of_320_to_900_pixels_a_side(pictures: list[MadePicture]) -> None:
    assert {picture.image.mode for picture in pictures} == {"RGB"}
    sides = [side for picture in pictures for side in picture.image.size]
    assert 320 <= min(sides) < 360
    assert 800 < max(sides) <= 900
    assert min(picture.image.width / picture.image.height for picture in pictures) < 0.6
    assert max(picture.image.width / picture.image.height for picture in pictures) > 1.7


def test_five_different_captions_of_4_to_12_lower_case_words(pictures: list[MadePicture]) -> None:
    for picture in pictures:
        assert len(set(picture.captions)) == len(picture.captions) == 5
        for caption in picture.captions:
            assert re.fullmatch(r"[a-z]+( [a-z]+){3,11}", caption), caption


def test_articles_fit_the_word_that_follows(pictures: list[MadePicture]) -> None:
    captions = [caption for picture in pictures for caption in picture.captions]
    assert not [caption for caption in captions if re.search(r"\ba [aeiou]|\ban [^aeiou]|\ban?$|\ban? an?\b", caption)]
    assert any(" an " in f" {caption}" for caption in captions)


def test_the_same_seed_makes_the_same_whatever_the_count(pictures: list[MadePicture]) -> None:
    for first, again in zip(pictures, made_pictures(ROUND, seed=1), strict=False):
        assert (first.kind, first.captions) == (again.kind, again.captions)
        assert first.image.size == again.image.size
        assert first.image.tobytes() == again.image.tobytes(), first.kind


def test_no_picture_comes_twice(pictures: list[MadePicture]) -> None:
    several = [*pictures, *made_pictures(ROUND, seed=2)]
    assert len({(picture.image.size, picture.image.tobytes()) for picture in several}) == len(several)


def test_only_blank_pages_are_nearly_of_one_colour(pictures: list[MadePicture]) -> None:
    for picture in pictures:
        spread = float(np.asarray(picture.image, np.float32).std((0, 1)).max())
        assert spread < 40 if picture.kind == "blank_page" else spread > 3, (picture.kind, spread)


def test_patterns_of_captions() -> None:
    assert sentences(("a [|orange|red] sign on a wall",)) == (
        "a red sign on a wall",
        "a sign on a wall",
        "an orange sign on a wall",
    )
    assert sentences(("[two words|four words of it]",)) == ("four words of it",)
    with pytest.raises(ValueError, match="hold only 2 captions"):
        five_captions(("a [red|blue] sign on it",), np.random.default_rng(0))


def test_drawings_of_a_photo_keep_its_size_and_differ_by_chance() -> None:
    ramp = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (150, 1))
    photo = Image.merge(
        "RGB", [Image.fromarray(ramp), Image.fromarray(ramp[:, ::-1].copy()), Image.new("L", (200, 150))]
    )
    photo.paste((250, 240, 20), (60, 40, 140, 110))
    drawn = [drawing_of(photo, np.random.default_rng(seed)) for seed in range(12)]
    assert {(image.mode, image.size) for image in drawn} == {("RGB", (200, 150))}
    assert len({image.tobytes() for image in drawn}) > 9
    assert drawing_of(photo, np.random.default_rng(3)).tobytes() == drawn[3].tobytes()
    assert photo.tobytes() not in {image.tobytes() for image in drawn}


def test_the_command_writes_a_sheet_of_the_kinds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recipes.default_captioner.made_pictures", "--sheet", str(tmp_path / "sheet.png")]
    subprocess.run([*command, "--kinds", "moon", "coins", "chat", "--each", "2"], check=True, cwd=ROOT)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * CELL, 2 * (CELL + CAPTION))
        assert len(sheet.getcolors(sheet.width * sheet.height) or []) > 100
