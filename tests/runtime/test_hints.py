"""A hint beside the photo: a few words that a model with a source of that name reads, for all photos or one a photo."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseline import InputError, Model, ensemble, pipeline
from fuseline.inputs.named import is_blank, tidy
from fuseline.pipelines.image_to_text import ImageToText
from tests import tiny
from tests.fused_folders import hinted

COLOURS = ("red", "blue", "green", "white", "grey")
HINTS = ["word5", None, "word9 word12 word7 word20", "", "word30 word31"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.from_pretrained(hinted(tmp_path_factory.mktemp("hinted")), threads=1)


@pytest.fixture(scope="module")
def caption(model: Model) -> ImageToText:
    return pipeline("image-to-text", model, max_new_tokens=8, generate_kwargs={"num_beams": 2})


@pytest.fixture(scope="module")
def photos() -> list[Any]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)) for _ in COLOURS]


def text(said: list[dict[str, Any]]) -> str:
    (only,) = said
    return str(only["generated_text"])


def without_tokens(model: Model, photo: Any, hint: str | None) -> str:
    """What the model says of a photo with and without a hint, by its parts."""
    inputs = {"image": model.image_processor([photo])}
    if hint:
        inputs["hint"] = model.inputs_of("hint")([hint])
    made = model.generate(inputs, max_new_tokens=8, num_beams=2)
    return model.decode(made.sequences)[0]


@pytest.fixture(scope="module")
def expected(model: Model, photos: list[Any]) -> list[str]:
    """With the hints of HINTS; they change what is said."""
    said = [without_tokens(model, photo, hint) for photo, hint in zip(photos, HINTS, strict=True)]
    alone = [without_tokens(model, photo, None) for photo in photos]
    assert [one == other for one, other in zip(said, alone, strict=True)] == [False, True, False, True, False]
    return said


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_hint_for_all_photos(caption: ImageToText, model: Model, photos: list[Any], batch_size: int) -> None:
    said = caption(photos, hint="word5 word9", batch_size=batch_size)
    assert [text(each) for each in said] == [without_tokens(model, photo, "word5 word9") for photo in photos]
    assert said == caption(photos, sources={"hint": "word5 word9"}, batch_size=batch_size)
    assert said[0] == caption(photos[0], hint="word5 word9") == caption(photos[0], hint=["word5 word9"])
    assert all({"image", "hint"} == set(word["shares"]) for each in said for word in each[0]["words"])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_hint_a_photo(caption: ImageToText, photos: list[Any], expected: list[str], batch_size: int) -> None:
    for hint in (HINTS, tuple(HINTS), iter(HINTS), np.array(HINTS, object)):
        found = caption(photos, hint=hint, batch_size=batch_size)
        assert [text(each) for each in found] == expected
    by_source = caption(photos, sources={"hint": HINTS}, batch_size=batch_size)
    assert [text(each) for each in by_source] == expected
    streamed = caption(iter(photos), hint=HINTS, batch_size=batch_size)
    assert isinstance(streamed, Iterator) and [text(each) for each in streamed] == expected
    both = caption(iter(photos), hint=iter(HINTS), batch_size=batch_size)
    assert [text(each) for each in both] == expected
    endless = caption(iter(photos), hint=repeat("word5"), batch_size=batch_size)
    assert text(next(iter(endless))) == expected[0]
    nothing = caption(photos, hint=[None] * 5, batch_size=batch_size)
    assert nothing == caption(photos, batch_size=batch_size)
    assert all("words" in each[0] for each in caption(photos, hint="word5", batch_size=batch_size))
    assert [set(each[0]) for each in nothing] == [{"generated_text"}] * 5
    assert ["words" in each[0] for each in found] == [bool(hint) for hint in HINTS]


def test_a_hint_with_text_in_pieces(caption: ImageToText, photos: list[Any], expected: list[str]) -> None:
    assert "".join(caption(photos[2], hint=HINTS[2], stream=True)) == expected[2]
    assert "".join(caption(photos[2], hint=[HINTS[2]], stream=True)) == expected[2]


def test_a_hint_of_all_calls_gives_way_to_that_of_one(model: Model, photos: list[Any], expected: list[str]) -> None:
    options: dict[str, Any] = {"max_new_tokens": 8, "generate_kwargs": {"num_beams": 2}}
    with_hint = pipeline("image-to-text", model, hint="word5", **options)
    assert text(with_hint(photos[0])) == expected[0]
    assert text(with_hint(photos[2], hint=HINTS[2])) == expected[2]
    assert text(with_hint(photos[2], sources={"hint": HINTS[2]})) == expected[2]
    assert text(with_hint(photos[1], hint="")) == expected[1] == text(with_hint(photos[1], hint=[None]))
    assert text(with_hint(photos[1], sources={"hint": None})) == expected[1]


@pytest.mark.parametrize("blank", [None, "", "  ", "\n\t", "\u00a0", "\u200b\ufeff", [None], [""]])
def test_a_hint_of_nothing_is_none(caption: ImageToText, photos: list[Any], expected: list[str], blank: Any) -> None:
    assert text(caption(photos[1], hint=blank)) == expected[1]
    assert text(caption(photos[1], sources={"hint": blank})) == expected[1]


def test_hints_are_made_tidy(caption: ImageToText, photos: list[Any], expected: list[str]) -> None:
    assert text(caption(photos[2], hint="\n word9   word12\tword7 word20 ")) == expected[2]
    assert text(caption(photos[2], sources={"hint": "\nword9 word12\tword7   word20"})) == expected[2]
    assert tidy("  Zu\u0308rich,\n tram\u00a04 ") == "Zürich, tram 4"
    assert not any(map(is_blank, ("\u200b.", "\U0001f600", "\ud800")))
    said = caption(photos[2], hint="\U0001f600 \x00 \x1b[31m \u202eword9")  # no token of their own: the unknown one
    assert text(said)


@pytest.mark.parametrize(
    ("hint", "count", "sentence"),
    [
        (["word5"], 2, "hint has 1 entry, and there are 2 photos; give one for all, or one a photo, with None where"),
        (["word5"] * 3, 2, "hint has 3 entries, and there are 2 photos; give one for all"),
        ([], 1, "hint has 0 entries, and there is 1 photo; give one for all"),
        (iter(["word5"]), 2, "photo 2: hint ends after 1 entry; give one for all, or one a photo"),
        (5, 1, "hint must be a text, or a list with one a photo, not 5"),
        (np.array("word5"), 1, "hint must be a text, or a list with one a photo, not "),
        (b"word5", 1, "hint must be a text, or a list with one a photo, not b'word5'"),
        (iter(["word5", 7]), 2, "photo 2: a hint must be a text, or None where there is none, not 7"),
        (["word5", 7], 2, "photo 2: a hint must be a text, or None where there is none, not 7"),
        ("word5 " * 41, 1, "source hint: it has 41 tokens, and 40 fit; give a shorter text"),
        (["word5", "word5 " * 41], 2, "photo 2: source hint: it has 41 tokens, and 40 fit; give a shorter text"),
        ("\udcff", 1, "source hint: it "),
    ],
)
def test_hints_that_cannot_be_read_are_refused(
    caption: ImageToText, photos: list[Any], hint: Any, count: int, sentence: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}"):
        caption(photos[:count] if count > 1 else photos[0], hint=hint)


@pytest.mark.parametrize(("hints", "sentence"), [(1, "photo 2: hint ends after 1 entry"), (3, "hint has 3 entries")])
def test_a_wrong_number_for_photos_that_come_one_by_one(
    caption: ImageToText, photos: list[Any], hints: int, sentence: str
) -> None:
    """What can be said of the photos is said before."""
    found = caption(iter(photos[:2]), hint=["word5"] * hints)
    assert isinstance(found, Iterator) and next(found)
    with pytest.raises(InputError, match=sentence):
        list(found)


def test_a_hint_is_given_once(caption: ImageToText, photos: list[Any]) -> None:
    with pytest.raises(InputError, match="the hint is given twice, as hint= and in sources="):
        caption(photos[0], hint="word5", sources={"hint": "word5"})


def test_a_model_without_a_hint_says_what_it_has(tmp_path: Path, photos: list[Any]) -> None:
    plain = Model.from_pretrained(tiny.tiny_folder(tmp_path, 0), threads=1)
    sentence = r"this model takes no hint: it has no source of texts called hint; its source: encoder \(photos\)"
    with pytest.raises(InputError, match=sentence):
        pipeline("image-to-text", plain)(photos[0], hint="a tram")
    with pytest.raises(InputError, match=sentence):
        pipeline("image-to-text", plain, hint="a tram")
    with pytest.raises(InputError, match="hint of a pipeline must be a text"):
        pipeline("image-to-text", plain, hint=["a tram"])  # type: ignore[call-overload]
    assert pipeline("image-to-text", plain)(photos[0], hint="") == pipeline("image-to-text", plain)(photos[0])


def test_inputs_of_the_source_take_none(model: Model, photos: list[Any], expected: list[str]) -> None:
    hints = [hint or None for hint in HINTS]
    made = model.inputs_of("hint")(hints)
    assert made["attention_mask"].sum(axis=1).tolist() == [1, 0, 4, 0, 2]
    inputs = {"image": model.image_processor(photos), "hint": made}
    assert model.decode(model.generate(inputs, max_new_tokens=8, num_beams=2).sequences) == expected
    with pytest.raises(InputError, match="inputs are made of a text or a list of texts"):
        model.inputs_of("hint")([None, 5])


def test_an_ensemble_takes_a_hint_a_photo(model: Model, photos: list[Any], expected: list[str]) -> None:
    both = pipeline("image-to-text", ensemble([model, model]), max_new_tokens=8, generate_kwargs={"num_beams": 2})
    assert [text(each) for each in both(photos, hint=HINTS, batch_size=3)] == expected


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuseline", "caption", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_takes_a_hint(model: Model, photos: list[Any], tmp_path: Path) -> None:
    files = [str(tmp_path / f"{number}.png") for number in range(2)]
    for photo, file in zip(photos, files, strict=False):
        photo.save(file)
    options = ["--model", str(model.folder.path), "--threads", "1", "--num-beams", "2", "--max-length", "9"]
    expected = [without_tokens(model, photo, "word5 word9") for photo in photos[:2]]
    alone = [without_tokens(model, photo, None) for photo in photos[:2]]
    lines = program(*options, "--hint", " word5  word9", *files).stdout.splitlines()
    assert lines == [f"{file}: {said}" for file, said in zip(files, expected, strict=True)]
    for given in (["--hint", "word5 word9"], ["--source", "hint=word5 word9"]):
        heat = ["--heat-map", str(tmp_path / "looked.png")]
        records = list(map(json.loads, program(*options, "--json", *given, *heat, *files).stdout.splitlines()))
        assert [each["text"] for each in records] == expected
        assert all(each["hint"] == "word5 word9" and each["words"] and each["heat_map"] for each in records)
    assert program(*options, "--stream", "--hint", "word5 word9", files[0]).stdout == f"{expected[0]}\n"
    (blank,) = map(json.loads, program(*options, "--json", "--hint", " ", files[0]).stdout.splitlines())
    assert blank["text"] == alone[0] and "hint" not in blank
    (blank,) = map(json.loads, program(*options, "--json", "--source", "hint= ", files[0]).stdout.splitlines())
    assert blank["text"] == alone[0] and "hint" not in blank and "words" not in blank
    for wrong, sentence in (
        (["--hint", "word5", "--source", "hint=word5"], "--hint and --source hint= are the same; give one of them"),
        (["--hint", "w5", "--hint", "w9"], "--hint is there twice; give all words at once: --hint 'w5, w9'"),
        (["--hint", "word5 " * 41], "source hint: it has 41 tokens, and 40 fit; give a shorter text"),
    ):
        refused = program(*options, *wrong, files[0])
        assert refused.returncode == 2 and sentence in refused.stderr and refused.stderr.count("\n") == 1
    without = program("--model", str(tiny.tiny_folder(tmp_path / "without", 0)), "--hint", "a tram", files[0])
    assert without.returncode == 2 and "this model takes no hint" in without.stderr
