"""docs/migrating.md: the programs in it run, and those of transformers and fuseline say the same."""

from __future__ import annotations

import re
import warnings
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from fuseline import cli
from fuseline.generation.options import CHECKS
from fuseline.migrating.whisper_names import ELSEWHERE
from fuseline.pipelines.speech_reading import KEYWORDS
from fuseline.speech.options import SpeechOptions
from tests import sounds, tiny, whisper_models

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with CHECKPOINT, FOLDER, cat.jpg and dog.jpg."""
    root = tmp_path_factory.mktemp("migrating")
    checkpoint = tiny.write_checkpoint(tiny.tiny_model(0), root / "CHECKPOINT")
    hf: Any = transformers
    hf.PreTrainedTokenizerFast(
        tokenizer_file=str(checkpoint / "tokenizer.json"), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(checkpoint)
    tiny.tiny_folder(root, 0, variants=("fp32", "fp16")).rename(root / "FOLDER")
    random = np.random.default_rng(0)
    for name in ("cat.jpg", "dog.jpg"):
        pixels = random.integers(0, 256, (4, 5, 3), np.uint8).repeat(10, axis=0).repeat(10, axis=1)
        Image.fromarray(pixels).save(root / name)
    return root


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with FOLDER, a model of speech, and talk.wav."""
    root = tmp_path_factory.mktemp("speech")
    whisper_models.exported(True, root / "made").rename(root / "FOLDER")
    (root / "talk.wav").write_bytes(sounds.wav(whisper_models.sound(3.0)))
    return root


def last_value(program: str, names: dict[str, Any]) -> Any:
    """What the program's last line gives."""
    *before, last = [line.split("  #")[0].rstrip() for line in program.strip().splitlines()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec("\n".join(before), names)
        return eval(last.partition(" = ")[2] or last, names)


def of(beginning: str) -> str:
    return next(program for program in PROGRAMS if program.startswith(beginning))


def test_the_pipelines_say_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    theirs = last_value(of("from transformers import pipeline").replace("device=-1", "device=-1, use_fast=False"), {})
    assert last_value(of("from fuseline import pipeline  "), {}) == theirs and len(theirs) == 2


def test_the_models_say_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    theirs = last_value(of("from transformers import AutoTokenizer"), {"image": Image.open("cat.jpg")})
    assert last_value(of("from fuseline import Model"), {}) == theirs


def test_the_call_of_transformers_js(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    assert last_value(of("from fuseline import pipeline\n"), {})[0]["generated_text"]


def test_a_transcription_as_of_whisper_packages(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(speech)
    segments = last_value(of("from fuseline import pipeline  # speech"), {})
    assert isinstance(segments, list) and all(start <= end and text for start, end, text in segments)


def test_names_of_whisper_packages_lead_to_options_that_there_are() -> None:
    known = {each.name for each in fields(SpeechOptions)} | CHECKS.keys() | {*KEYWORDS}
    for theirs, ours in ELSEWHERE.items():
        assert theirs not in known
        if ours.isidentifier():
            assert ours in known
    rows = dict(re.findall(r"^\| `(\w+)=[^`]*` \| `(\w+)=", PAGE.partition("openai-whisper")[2], re.MULTILINE))
    assert rows["beam_size"] == "num_beams"
    for theirs, ours in rows.items():
        assert theirs == ours or theirs == "language" or ELSEWHERE[theirs].startswith(ours)


@pytest.mark.skipif(find_spec("optimum") is None, reason="optimum-onnx is not installed")
def test_the_class_of_optimum_is_there() -> None:
    exec(of("from optimum").splitlines()[0], {})


def test_the_command(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(here)
    command = re.search(r"^fuseline (caption .*)$", PAGE, re.MULTILINE)
    assert command is not None and cli.main(command[1].split()) == 0
    assert '"finish_reason"' in capsys.readouterr().out


def test_lines_of_the_tables(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not tried in test_copied_calls and test_default_length."""
    import torch

    from fuseline import Model, pipeline
    from fuseline.inputs.images import load_image

    monkeypatch.chdir(here)
    model = Model.from_pretrained("FOLDER", "fp32", threads=2)
    pixels = model.image_processor([load_image("cat.jpg")])
    encoded = model.encode(pixels)
    np.testing.assert_array_equal(model.generate(encoded).sequences, model.generate(pixels).sequences)
    assert [event.text for event in model.stream(pixels)]
    assert "".join(pipeline(model=model)("cat.jpg", stream=True)) == model.decode(model.generate(pixels).sequences)[0]
    assert model.score(pixels, "word5").loss > 0
    assert Model.from_pretrained("FOLDER", torch_dtype=torch.float16).variant == "fp16"
    assert Model.from_pretrained("FOLDER", dtype="auto", trust_remote_code=True).variant in ("fp32", "fp16")
