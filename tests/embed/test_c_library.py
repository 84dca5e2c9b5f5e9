"""fuseline.h beside Model.generate and beside a host of the graphs in Python; and the example.

The programs run under sanitizers (tests/embed/built.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")
import fuseline
from fuseline.export import embed
from fuseline.kernels import library_info
from tests.embed.built import ROOT, Programs
from tests.embedded import Host

MODEL = Path(fuseline.__file__).parent / "models" / "flickr8k-lite1"
LIBRARIES = [pytest.param(True, id="kernels"), pytest.param(False, id="bodies")]


@dataclass(frozen=True)
class Built:
    """The programs, an embedded model, and a photo."""

    programs: Programs
    folder: Path
    photo: Path

    def run(self, program: str, *arguments: str | Path, kernels: bool = True) -> str:
        return self.programs.run(program, *arguments, kernels=kernels)

    def calls(self, what: str, *arguments: str | Path, kernels: bool = True) -> list[str]:
        """The lines that tests/embed/calls.c prints."""
        return self.run("calls", what, self.folder, self.photo, *arguments, kernels=kernels).splitlines()


@pytest.fixture(scope="module")
def built(c_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp("embedded")
    embed(MODEL, place / "model")
    Image.open(ROOT / "examples/cat.jpg").convert("RGB").save(place / "photo.ppm")
    return Built(c_programs, place / "model", place / "photo.ppm")


@pytest.fixture(scope="module")
def model() -> fuseline.Model:
    return fuseline.Model.from_pretrained(MODEL, threads=1)


@pytest.mark.parametrize("kernels", LIBRARIES)
def test_the_best_texts_tokens_and_scores_are_those_of_the_graph_in_one_call(built: Built, kernels: bool) -> None:
    host = Host(built.folder, library_info().path if kernels else None)
    expected = host.at_once(image=np.asarray(Image.open(built.photo)), num_return_sequences=3)
    *lines, last = built.calls("best", "3", kernels=kernels)
    assert last == "finished 1"
    scores, tokens, texts = zip(*(line.split("|") for line in lines), strict=True)
    assert [[int(token) for token in each.split()] for each in tokens] == expected["sequences"].tolist()
    assert list(texts) == expected["text"].tolist()
    np.testing.assert_allclose([float(score) for score in scores], expected["sequences_scores"], rtol=1e-6)


def test_the_texts_are_those_of_generate(built: Built, model: fuseline.Model) -> None:
    pixels = model.inputs([Image.open(built.photo)])
    generation = model.generate(pixels, num_return_sequences=3)
    *lines, _ = built.calls("best", "3")
    assert [line.split("|")[2] for line in lines] == model.decode(generation.sequences)


def test_a_text_beside_the_photo_is_read(built: Built) -> None:
    hint = [4, 13, 6]
    expected = Host(built.folder, library_info().path).at_once(
        image=np.asarray(Image.open(built.photo)), hint_ids=[hint]
    )
    line, _ = built.calls("best", "1", *map(str, hint))
    assert line.split("|")[2] == expected["text"][0]
    assert line != built.calls("best", "1")[0]


def test_pieces_are_those_of_stream(built: Built, model: fuseline.Model) -> None:
    events = list(model.stream(model.inputs([Image.open(built.photo)])))
    told = [(event.text, event.tentative) for event in events]
    *lines, result, last = built.calls("stream", "-1")
    assert last == "finished 1"
    assert [tuple(line.split("|")) for line in lines] == [each for each in told if each != ("", "")]
    assert "".join(line.split("|")[0] for line in lines) == result.split("|")[2]


def test_a_callback_stops_the_call_with_the_best_so_far(built: Built) -> None:
    first, second, result, last = built.calls("stream", "2")
    assert last == "finished 0"
    assert result.split("|")[2] == "".join(second.split("|"))
    assert len(second) > len(first)


@pytest.mark.parametrize("what", ["memory", "apart"])
def test_files_in_memory_and_rows_apart_change_nothing(built: Built, what: str) -> None:
    assert built.calls(what) == built.calls("best", "1")


@pytest.mark.parametrize("what", ["threads", "cancel", "nulls", "bad"])
def test_what_the_program_checks_itself(built: Built, what: str) -> None:
    """threads: calls at once on one model; cancel: from another thread; nulls: each is refused; bad: values that the
    graphs and the library refuse."""
    assert built.calls(what) == []


@pytest.mark.parametrize("kernels", LIBRARIES)
def test_speech_is_read(built: Built, kernels: bool, tmp_path: Path) -> None:
    """The tokens and scores of the graph in one call; the language is heard."""
    pytest.importorskip("torch")
    from tests import small_whisper, speech_models

    small_whisper.exported(tmp_path)
    embed(tmp_path / "folder", tmp_path / "out")
    (sound,) = speech_models.clips(1)
    sound.tofile(tmp_path / "samples")
    command = "calls", "speech", tmp_path / "out", tmp_path / "samples"
    line, last = built.run(*command, kernels=kernels).splitlines()
    expected = Host(tmp_path / "out", library_info().path if kernels else None).at_once(samples=sound)
    score, tokens, _ = line.split("|", 2)
    assert last == "finished 1"
    assert [int(token) for token in tokens.split()] == expected["sequences"][0].tolist()
    np.testing.assert_allclose(float(score), expected["sequences_scores"][0], rtol=1e-5)


@pytest.mark.parametrize("name", ["fuseline-embed.json", "step.onnx", "weights.bin", "words.json"])
def test_a_file_that_is_not_there_is_named(built: Built, tmp_path: Path, name: str) -> None:
    """With its path."""
    shutil.copytree(built.folder, tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    assert built.run("calls", "open", tmp_path / "model").startswith(f"{tmp_path / 'model' / name} cannot be read")


def test_the_example_says_what_the_command_says(built: Built, tmp_path: Path) -> None:
    """Of a photo with comments, as GIMP writes them."""
    header, size, most, pixels = built.photo.read_bytes().split(b"\n", 3)
    photo = tmp_path / "photo.ppm"
    photo.write_bytes(b"\n".join((header, b"# made by hand", size + b" # 3", most, pixels)))
    assert built.run("caption", built.folder, photo) == built.calls("best", "1")[0].split("|")[2] + "\n"


PPM = "is no PPM of 8 bits (P6): `convert photo.jpg photo.ppm` makes one"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not there"),
        (b"", PPM),
        (b"P5 2 2 255\n1234", PPM),
        (b"P6 2 2 65535\n123456789012", PPM),
        (b"P6 0 2 255\n", PPM),
        (b"P6 2 99999999999999999999 255\n", PPM),
        (b"P6 2 -2 255\n", PPM),
        (b"P6 # and no more", PPM),
        (b"P6 2 2 255\n12345678901", "ends before its last pixel"),
    ],
)
def test_the_example_says_what_is_wrong_with_a_photo(
    built: Built, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    """In a sentence, and ends with status 1."""
    photo = tmp_path / "photo.ppm"
    if content is not None:
        photo.write_bytes(content)
    done = subprocess.run(
        built.programs.command("caption", built.folder, photo), capture_output=True, text=True, env=os.environ
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"caption: {photo} {sentence}\n")
