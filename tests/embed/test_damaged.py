"""Damaged folders: fuseline.h says what is wrong in a sentence, or answers as ever, and never dies.

Cases are drawn by chance, always the same. Those that change a listed file list its new size and hash too, so that what
reads the file sees the damage.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("torch")

from fuseline.export import embed
from tests.embed.built import Programs
from tests.fuzz.json_damage import changed

DESCRIPTION, WORDS, ANSWERED = "fuseline-embed.json", "words.json", "answered"
AGAIN = "; copy it again, or export the model again"
OF_DESCRIPTION, OF_WORDS = f"{DESCRIPTION} is damaged: ", f"{WORDS} is damaged: "
Files = Mapping[str, bytes]


@pytest.fixture(scope="module")
def folder(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small captioner, and a photo beside it."""
    place = tmp_path_factory.mktemp("damaged")
    embed(tiny_path, place / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(place / "photo.ppm")
    return place / "model"


@pytest.fixture
def said(folder: Path, c_programs: Programs, tmp_path: Path) -> Callable[[list[Files]], list[str]]:
    """What calls.c says of cases, which are files in the place of others."""

    def say(cases: list[Files]) -> list[str]:
        for number, files in enumerate(cases):
            (tmp_path / str(number)).mkdir()
            for name, content in files.items():
                (tmp_path / str(number) / name).write_bytes(content)
        photo, count = folder.parent / "photo.ppm", str(len(cases))
        lines = c_programs.run("calls", "damaged", folder, photo, count, tmp_path).splitlines()
        assert len(lines) == len(cases)
        return lines

    return say


def _content(value: Any) -> bytes:
    return json.dumps(value).encode()


def _listed(folder: Path, name: str, content: bytes) -> Files:
    """A file, and a description that lists it."""
    description = json.loads((folder / DESCRIPTION).read_text())
    description["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {name: content, DESCRIPTION: _content(description)}


def _needed(description: Mapping[str, Any]) -> list[tuple[str, Callable[[Any], Any]]]:
    """What fuseline.h reads of a description: the key, and the object that has it."""
    found: list[tuple[str, Callable[[Any], Any]]] = [
        (name, lambda each: each) for name in ("format", "words", "graphs", "files")
    ]
    for graph in ("start", "step"):
        found += [(graph, lambda each: each["graphs"]), ("inputs", lambda each, graph=graph: each["graphs"][graph])]
        for place, about in enumerate(description["graphs"][graph]["inputs"]):
            if "limits" in about and about["name"] not in ("decoder_input_ids", "eos_token_id"):
                found.append(("default", lambda each, graph=graph, place=place: each["graphs"][graph]["inputs"][place]))
    for name in ("start.onnx", "step.onnx", "weights.bin", WORDS):
        found += [(name, lambda each: each["files"])]
        found += [(key, lambda each, name=name: each["files"][name]) for key in ("bytes", "sha256")]
    return found


def test_a_description_without_a_key(folder: Path, said: Callable[[list[Files]], list[str]]) -> None:
    """Each that is read is missed by its name."""
    description, cases = json.loads((folder / DESCRIPTION).read_text()), []
    needed = _needed(description)
    for key, holder in needed:
        cases.append(copy.deepcopy(description))
        del holder(cases[-1])[key]
    lines = said([{DESCRIPTION: _content(each)} for each in cases])
    assert lines == [f'{OF_DESCRIPTION}it lacks "{key}"{AGAIN}' for key, _ in needed]


def test_a_description_with_values_of_another_kind(folder: Path, said: Callable[[list[Files]], list[str]]) -> None:
    """Each that is read."""
    description, cases = json.loads((folder / DESCRIPTION).read_text()), []
    for key, holder in _needed(description):
        cases.append(copy.deepcopy(description))
        holder(cases[-1])[key] = True
    lines = said([{DESCRIPTION: _content(each)} for each in cases])
    assert all(line.startswith(f"{OF_DESCRIPTION}it ") and line.endswith(AGAIN) for line in lines), lines


def test_what_is_no_json(folder: Path, said: Callable[[list[Files]], list[str]]) -> None:
    """Cut short anywhere, nested without end, or something else."""
    content = (folder / DESCRIPTION).read_bytes()
    wrong = [content[: len(content) * part // 40] for part in range(40)]
    wrong += [
        b"[" * 100_000,
        b"\0" * 50,
        content + b"x",
        content + b"\0",
        content[:1] + content,
        b'"\\',
        b'"\\u12',
        b"-",
        b"1e999",
    ]
    wrong += [
        b'{"format": ' + text for text in (b"1", b"1,}", b'"\\x"}', b"tru}", b"NaN}", b"1.2.3}", b'"\\ud800\\u0041"}')
    ]
    lines = said([{DESCRIPTION: each} for each in wrong] + [_listed(folder, WORDS, each) for each in wrong])
    assert lines[: len(wrong)] == [
        f"{OF_DESCRIPTION}it is not good JSON; copy it again, or export the model again"
    ] * len(wrong)
    assert lines[len(wrong) :] == [f"{OF_WORDS}it is not good JSON{AGAIN}"] * len(wrong)


def test_descriptions_changed_by_chance(folder: Path, said: Callable[[list[Files]], list[str]]) -> None:
    """What is wrong is said of the description, or of the file that it no longer lists as it is."""
    random, cases = Random(1), []
    for _ in range(30):
        description = json.loads((folder / DESCRIPTION).read_text())
        description["license"] = description["made_by"] = None  # nothing reads them
        for about in description["graphs"].values():
            del about["outputs"]
        changed(random, description)
        cases.append({DESCRIPTION: _content(description)})
    for line in said(cases):
        assert (
            line == ANSWERED or line.startswith(OF_DESCRIPTION) or " is damaged: it" in line or " must be " in line
        ), line


def test_words_changed_by_chance(folder: Path, said: Callable[[list[Files]], list[str]]) -> None:
    """A table that does not fit is damaged; other words are answered with."""
    random, words, cases = Random(2), json.loads((folder / WORDS).read_text()), []
    for _ in range(60):
        other = copy.deepcopy(words)
        if random.random() < 0.5:
            key = random.choice([*other])
            other[key] = {key: [[]], "first": 7, "later": "", "begins": [2], "clean_up": [["a"]]}[
                random.choice([key, *other])
            ]
        else:
            changed(random, other)
        cases.append(_listed(folder, WORDS, _content(other)))
    lines = said(cases)
    assert all(line in (ANSWERED, LACKS) or line.startswith(OF_WORDS) for line in lines), lines
    assert ANSWERED in lines and any(line.startswith(OF_WORDS) for line in lines)


LACKS = "words.json lacks a token that was said; export the model again"


def test_graphs_and_weights_that_are_not_the_listed_ones(
    folder: Path, said: Callable[[list[Files]], list[str]]
) -> None:
    """Cut short, or with another byte."""
    cases, expected = [], []
    for name in ("start.onnx", "step.onnx", "weights.bin", WORDS):
        content = (folder / name).read_bytes()
        turned = bytearray(content)
        turned[len(content) // 2] ^= 1
        cases += [{name: b""}, {name: content[:-1]}, {name: content + b"\0"}]
        expected += [f"{name} is damaged: it has {size} bytes" for size in (0, len(content) - 1, len(content) + 1)]
        if name != "weights.bin":
            cases.append({name: bytes(turned)})
            expected.append(f"{name} is damaged: its sha256 is not the one that {DESCRIPTION} lists; copy it again")
    for line, start in zip(said(cases), expected, strict=True):
        assert line.startswith(start)


def test_graphs_that_are_listed_and_no_graphs(folder: Path, said: Callable[[list[Files]], list[str]]) -> None:
    """onnxruntime says what it finds, in a line."""
    step, start = ((folder / f"{name}.onnx").read_bytes() for name in ("step", "start"))
    cases = [_listed(folder, "step.onnx", step[: len(step) * part // 8]) for part in range(8)]
    cases += [_listed(folder, "start.onnx", start[: len(start) * part // 8]) for part in range(8)]
    cases += [_listed(folder, "step.onnx", start), _listed(folder, "start.onnx", step)]
    *cut, step_is_start, start_is_step = said(cases)
    assert all(line.startswith("onnxruntime: ") for line in cut), cut
    assert step_is_start == "this model reads image twice" or "do not give" in step_is_start, step_is_start
    assert "do not give" in start_is_step or "reads no photo" in start_is_step, start_is_step
