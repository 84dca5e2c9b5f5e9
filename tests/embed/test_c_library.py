"""fuseline.h beside Model.generate and beside a host of the graphs in Python; and the example.

The library is built with CMake, installed, found as a package, and run under AddressSanitizer with LeakSanitizer and
under UndefinedBehaviorSanitizer.
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
if shutil.which("cmake") is None or shutil.which("cc") is None:
    pytest.skip("needs cmake and a C compiler", allow_module_level=True)

import onnxruntime

import fuseline
from fuseline.export import embed
from fuseline.kernels import library_info
from tests.embedded import Host

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path(fuseline.__file__).parent / "models" / "flickr8k-lite1"
# -O0 compiles fastest. The kernels have sanitizers of their own, in .ci/kernels, so their library is loaded as it is.
FLAGS = "-O0 -g1 -Werror -fno-sanitize-recover=all -fsanitize=address,undefined"
LIBRARIES = [pytest.param(True, id="kernels"), pytest.param(False, id="bodies")]


def run(*command: str | Path, **variables: str) -> str:
    """What a command writes to standard output; it must end well and write nothing to standard error."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
    return done.stdout


@dataclass(frozen=True)
class Built:
    """An installed library with its test program and example, an embedded model, and a photo."""

    programs: Path
    folder: Path
    photo: Path

    def run(self, program: str, *arguments: str | Path, kernels: bool = True) -> str:
        (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")
        # Older sanitizers cannot live with as many random bits in addresses as newer kernels use.
        as_is = (
            ["setarch", "-R"] if subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode == 0 else []
        )
        variables = {"FUSELINE_ONNXRUNTIME": str(library), "KERNELS": str(library_info().path or "") if kernels else ""}
        return run(*as_is, self.programs / program / program, *arguments, **variables)

    def calls(self, what: str, *arguments: str | Path, kernels: bool = True) -> list[str]:
        """The lines that tests/embed/calls.c prints."""
        return self.run("calls", what, self.folder, self.photo, *arguments, kernels=kernels).splitlines()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp("embed")
    common = ["-DCMAKE_BUILD_TYPE=None", f"-DCMAKE_C_FLAGS={FLAGS}"]
    cxx = [f"-DCMAKE_CXX_FLAGS={FLAGS}", f"-DCMAKE_INSTALL_PREFIX={place / 'installed'}", "-DFUSELINE_LINK_KERNELS=OFF"]
    run("cmake", "-S", ROOT / "embed", "-B", place / "library", *common, *cxx)
    run("cmake", "--build", place / "library", "--parallel", str(os.cpu_count()), "--target", "install")
    found = f"-DCMAKE_PREFIX_PATH={place / 'installed'}"
    for source, name in ((ROOT / "examples/c", "caption"), (ROOT / "tests/embed", "calls")):
        run("cmake", "-S", source, "-B", place / name, found, *common)
        run("cmake", "--build", place / name)
    embed(MODEL, place / "model")
    Image.open(ROOT / "examples/cat.jpg").convert("RGB").save(place / "photo.ppm")
    return Built(place, place / "model", place / "photo.ppm")


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


DESCRIPTION, WORDS = "fuseline-embed.json", "words.json"
UNEVEN = '{"first": null, "later": ["a"], "begins": [], "clean_up": []}'


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (DESCRIPTION, None, "cannot be read"),
        (DESCRIPTION, '{"format": [1, ', "is not good JSON"),
        (DESCRIPTION, "[" * 100_000, "is not good JSON"),
        (DESCRIPTION, '{"format": 2}', "a newer one"),
        (DESCRIPTION, '{"format": "1"}', "another kind"),
        (
            DESCRIPTION,
            '{"format": 1, "graphs": {"start": {"inputs": []}, "step": {"inputs": []}}}',
            "the option num_beams",
        ),
        ("weights.bin", "few", "has 3 bytes instead of"),
        ("step.onnx", None, "cannot be read"),
        ("start.onnx", "nothing of the same size", "onnxruntime: "),
        (WORDS, UNEVEN, "tables of several lengths"),
    ],
)
def test_a_damaged_folder_is_refused_in_a_sentence(
    built: Built, tmp_path: Path, name: str, content: str | None, sentence: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(built.folder, folder)
    if content is None:
        (folder / name).unlink()
    elif name == "start.onnx":
        (folder / name).write_bytes(bytes((folder / name).stat().st_size))
    else:
        (folder / name).write_text(content)
    assert sentence in built.run("calls", "open", folder)


def test_the_example_says_what_the_command_says(built: Built) -> None:
    said = built.run("caption", built.folder, built.photo, kernels=False)
    assert said == built.calls("best", "1", kernels=False)[0].split("|")[2] + "\n"
