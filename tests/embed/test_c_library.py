"""fuseline.h beside Model.generate and beside a host of the graphs in Python; and the example.

The programs run under sanitizers (tests/embed/built.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

pytest.importorskip("onnx")
import fuseline
from fuseline.export import embed, export
from fuseline.kernels import library_info
from tests.embed.built import ROOT, Programs, run, variables
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


@dataclass(frozen=True)
class Voice:
    """An embedded model of speech, and a sound in a file of floats."""

    folder: Path
    samples: Path
    sound: npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    pytest.importorskip("torch")
    from tests import small_whisper, speech_models

    place = tmp_path_factory.mktemp("voice")
    small_whisper.exported(place)
    embed(place / "folder", place / "model")
    (sound,) = speech_models.clips(1)
    sound.tofile(place / "samples")
    return Voice(place / "model", place / "samples", sound)


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded model that reads texts."""
    pytest.importorskip("torch")
    from tests import text_models

    place = tmp_path_factory.mktemp("translator")
    export(text_models.write_checkpoint(text_models.text_model("t5", 0), place / "source"), place / "folder")
    embed(place / "folder", place / "model")
    return place / "model"


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
    theirs, ours = [tuple(line.split("|")) for line in lines], [each for each in told if each != ("", "")]
    assert "".join(certain for certain, _ in theirs) == result.split("|")[2] == "".join(certain for certain, _ in ours)
    # Between beams that are equally good the last bits of 8-bit sums decide, which shows in what may change still.
    assert len(theirs) == len(ours)
    assert sum(one != other for one, other in zip(theirs, ours, strict=True)) <= len(ours) // 4


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


# What refuses a field, where its own name is not in the sentence.
OF_FIELDS = {
    "ids": r"(hint|input)_ids|ids must be NULL",
    "stride": "stride|no photo",
    "width": "width",
    "height": "height",
}


@pytest.mark.parametrize("reads", ["photo", "speech", "text"])
def test_absurd_values_are_answered_or_refused_by_name(
    reads: str, built: Built, request: pytest.FixtureRequest
) -> None:
    """Never in onnxruntime's words: the smallest and the largest number, 0, not a number, in every field."""
    if reads == "photo":
        arguments = built.folder, built.photo, "0"
    elif reads == "speech":
        voice = request.getfixturevalue("voice")
        arguments = voice.folder, voice.samples, "0"
    else:
        arguments = request.getfixturevalue("translator"), "-", "0", "9", "10", "11"
    lines = built.run("calls", "absurd", *arguments).splitlines()
    said = [line.split("|") for line in lines]
    assert len(said) > 70
    for name, sentence in said:
        assert sentence == "answered" or re.search(OF_FIELDS.get(name, name), sentence), (name, sentence)
    refused = {name for name, sentence in said if sentence != "answered"}
    unread = set() if reads == "photo" else {"width", "height", "stride"}
    assert {name for name, _ in said} - refused == unread


@pytest.mark.parametrize("said", [(), ("auto", "transcribe"), ("de", "translate")], ids=" ".join)
@pytest.mark.parametrize("kernels", LIBRARIES)
def test_speech_is_read(built: Built, voice: Voice, kernels: bool, said: tuple[str, ...]) -> None:
    """The tokens and scores of the graph in one call; the language is heard where none is said."""
    command = "calls", "speech", voice.folder, voice.samples, "0", *said
    line, last = built.run(*command, kernels=kernels).splitlines()
    known = json.loads((voice.folder / "fuseline-embed.json").read_text())["speech"]
    names = zip(("language", "task"), ("languages", "tasks"), said, strict=False)
    tokens = {name: known[kind].get(word, -1) for name, kind, word in names}
    expected = Host(voice.folder, library_info().path if kernels else None).at_once(samples=voice.sound, **tokens)
    score, spoken, _ = line.split("|", 2)
    assert last == "finished 1"
    assert [int(token) for token in spoken.split()] == expected["sequences"][0].tolist()
    np.testing.assert_allclose(float(score), expected["sequences_scores"][0], rtol=1e-5)


def test_the_example_transcribes(built: Built, voice: Voice, tmp_path: Path) -> None:
    """What the tokens of a call with the same samples say; a model of speech reads no other rate."""
    whole = (voice.sound * 32767).astype("<i2")
    (whole / np.float32(32768)).astype(np.float32).tofile(tmp_path / "samples")
    for rate in (16_000, 22_050):
        with wave.open(str(tmp_path / f"{rate}.wav"), "wb") as file:
            file.setparams((1, 2, rate, len(whole), "NONE", ""))
            file.writeframes(whole.tobytes())
    result = built.run("calls", "speech", voice.folder, tmp_path / "samples")
    expected = result.split("|", 2)[2].removesuffix("finished 1\n")
    assert built.run("transcribe", voice.folder, tmp_path / "16000.wav") == expected
    command = built.programs.command("transcribe", voice.folder, tmp_path / "22050.wav")
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "22050.wav is no WAV of 16,000 samples a second" in done.stderr


@pytest.mark.parametrize("name", ["fuseline-embed.json", "fuseline-embed.bin", "step.onnx", "weights.bin"])
def test_a_file_that_is_not_there_is_named(built: Built, tmp_path: Path, name: str) -> None:
    """With its path."""
    shutil.copytree(built.folder, tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    assert built.run("calls", "open", tmp_path / "model").startswith(f"{tmp_path / 'model' / name} cannot be read")


def test_a_description_of_another_model_is_damage(built: Built, tmp_path: Path) -> None:
    """It is handed out as it is, with limits and terms."""
    shutil.copytree(built.folder, tmp_path / "model")
    (tmp_path / "model" / "fuseline-embed.json").write_text("{}")
    said = built.run("calls", "open", tmp_path / "model")
    assert said.startswith(f"{tmp_path / 'model' / 'fuseline-embed.json'} is damaged: it has 2 bytes instead of ")


def test_a_folder_without_a_name_is_refused(built: Built) -> None:
    assert built.run("calls", "open", "") == 'folder is empty; "." is the current one\n'


def test_nothing_is_reported(built: Built, tmp_path: Path) -> None:
    """onnxruntime from 1.32 on keeps in the user's folders what it means to report, which fuseline.h forbids it."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "ORT_DISABLE_TELEMETRY": ""}
    command = built.programs.command("caption", built.folder, built.photo)
    assert run(*command, **variables(kernels=True), **home)
    assert list(tmp_path.iterdir()) == []


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
