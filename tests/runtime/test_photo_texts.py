"""Texts that are photos in base64, paths below ~, and what only looks like one of these: against transformers."""

from __future__ import annotations

import base64
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from transformers.image_utils import load_image as reference_load_image

from fuseline.inputs.images import load_image
from fuseline.inputs.photos import text as texts
from tests.runtime.test_images_bad import encoded, refusal

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")


def in_base64(file_format: str, size: tuple[int, int] = (64, 48)) -> str:
    return base64.b64encode(encoded(file_format, size)).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "lines of 76": lambda text: "\n".join(textwrap.wrap(text, 76)) + "\n",
    "data URL": lambda text: f"data:image/png;base64,{text}",
    "data URL without its type": lambda text: f"data:image/,{text}",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("file_format", FORMATS)
def test_base64_is_the_photo_that_transformers_reads(file_format: str, form: str) -> None:
    text = FORMS[form](in_base64(file_format))
    np.testing.assert_array_equal(np.asarray(load_image(text)), np.asarray(reference_load_image(text)))


@pytest.mark.parametrize("file_format", FORMATS)
def test_of_the_smallest_photos(file_format: str) -> None:
    text = in_base64(file_format, (1, 1))
    np.testing.assert_array_equal(np.asarray(load_image(text)), np.asarray(reference_load_image(text)))


def test_the_alphabet_of_urls() -> None:
    data = encoded("PNG")
    text = base64.urlsafe_b64encode(data).decode()
    assert set("-_") <= set(text)
    np.testing.assert_array_equal(np.asarray(load_image(text)), np.asarray(load_image(data)))


def test_a_file_that_is_called_like_base64_is_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = in_base64("PNG", (1, 1))[:120].replace("/", "a")
    pathlib.Path(name).write_bytes(encoded("JPEG"))
    assert load_image(name).size == (64, 48)


WHOLE = in_base64("JPEG")
REFUSED: dict[str, tuple[str, str]] = {
    "cut": (WHOLE[:1001], "the base64 text of 1,001 characters: this is no whole base64"),
    "cut to whole bytes": (WHOLE[:2000], "the base64 text of 2,000 characters: the image is damaged or cut off"),
    "odd characters": (f"{WHOLE[:900]}\0\x1b[2J!{WHOLE[900:]}", "this is no whole base64"),
    "not ASCII": (f"{WHOLE[:900]}\u00e9{WHOLE[900:]}", "this is no whole base64"),
    "no photo": (base64.b64encode(b"secret " * 99).decode(), "this is not an image that can be read"),
    "a document": (base64.b64encode(b"%PDF-1.7 " + bytes(999)).decode(), "this is a PDF document"),
    "long": ("secret. " * 9999, "a text of 79,992 characters is no path, and no photo in base64"),
    "data URL without a comma": ("data:image/png;base64", "the data: URL of 21 characters: it has no comma"),
    "data URL of nothing": ("data:image/png;base64,", "the file is empty"),
    "data URL of text": ("data:,secret secret!", "the data: URL of 20 characters: this is no whole base64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_how_long_a_text_is_and_never_what_is_in_it(name: str) -> None:
    text, sentence = REFUSED[name]
    message = refusal(text)
    assert sentence in message
    assert "secret" not in message
    assert text[:20] not in message.replace("give data:image/png;base64,...", "")


def test_more_bytes_than_any_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_BYTES", 1000)
    assert "more than 1,000 bytes are no photo" in refusal(WHOLE)


@pytest.mark.parametrize("name", ["cat.jpg", "photos/cat", "a" * 127, "ab/" * 40 + "c", "~nobody-of-that-name/cat.jpg"])
def test_names_of_missing_files_are_not_taken_for_base64(name: str) -> None:
    assert refusal(name) == f"{name}: there is no such file; give the path of a photo"


# --- the home folder ---


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_a_path_in_the_home_folder(kind: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home/cat.png").write_bytes(encoded("PNG", (5, 4)))
    assert load_image(kind("~/cat.png")).size == (5, 4)
    (tmp_path / "~").mkdir()
    (tmp_path / "~/cat.png").write_bytes(encoded("PNG", (9, 8)))  # what is there under that very name goes first
    assert load_image(kind("~/cat.png")).size == (9, 8)
    assert refusal(kind("~/dog.png")) == "~/dog.png: there is no such file; give the path of a photo"


# --- arrays of other packages ---


def test_what_makes_itself_an_array() -> None:
    torch = pytest.importorskip("torch")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(load_image(torch.from_numpy(pixels))), pixels)
    assert "an array of shape [3, 224, 224] is no photo" in refusal(torch.zeros(3, 224, 224))
    assert "a Tensor does not become an array; give a numpy array" in refusal(torch.zeros(6, 8, 3, requires_grad=True))


# --- what is asked for in vain ---


@pytest.mark.parametrize("value", [1, "yes", None], ids=repr)
def test_downloads_are_allowed_by_true_alone(value: Any) -> None:
    with pytest.raises(Exception, match="allow_downloads must be True or False, not "):
        load_image("cat.jpg", allow_downloads=value)


@pytest.mark.parametrize("value", [0, -1, "5", True, float("nan"), float("inf"), 10**9], ids=repr)
def test_a_timeout_is_seconds(value: Any) -> None:
    with pytest.raises(Exception, match="timeout must be seconds above 0"):
        load_image("cat.jpg", timeout=value)


def test_what_downloads_is_loaded_only_then() -> None:
    code = """
import sys
from fuseline.images import load_image
for source in ("https://example.org/cat.jpg", "cat.jpg", "data:image/png;base64,AAAA"):
    try: load_image(source)
    except Exception: pass
print(sorted({"urllib.request", "http.client", "ssl"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
