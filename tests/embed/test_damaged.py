"""Damaged folders: fuseline.h says what is wrong in a sentence, or answers as ever, and never dies.

Cases are drawn by chance, always the same. Those that change a listed file list its new size and checksum too, so that
what reads the file sees the damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("torch")

from fuseline.export import embed
from fuseline.export.embedding.flat import packed
from tests.embed.built import Programs

TABLE, ANSWERED = "fuseline-embed.bin", "answered"
DAMAGED, AGAIN = f"{TABLE} is damaged: ", "; copy it again, or export the model again"
CUT = f"{DAMAGED}a text of it is cut short{AGAIN}"
Files = Mapping[str, bytes]
Say = Callable[[list[Files]], list[str]]


@pytest.fixture(scope="module")
def folder(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small captioner, and a photo beside it."""
    place = tmp_path_factory.mktemp("damaged")
    embed(tiny_path, place / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(place / "photo.ppm")
    return place / "model"


@pytest.fixture
def said(folder: Path, c_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Say:
    """What calls.c says of cases, which are files in the place of others."""

    def say(cases: list[Files]) -> list[str]:
        place = tmp_path_factory.mktemp("cases")
        for number, files in enumerate(cases):
            (place / str(number)).mkdir()
            for name, content in files.items():
                (place / str(number) / name).write_bytes(content)
        photo, count = folder.parent / "photo.ppm", str(len(cases))
        lines = c_programs.run("calls", "damaged", folder, photo, count, place).splitlines()
        assert len(lines) == len(cases)
        return lines

    return say


def _texts(content: bytes) -> list[bytes]:
    """The texts that lie one after the other, each behind its length."""
    found, at = [], 0
    while at < len(content):
        (size,) = struct.unpack_from("<I", content, at)
        found.append(content[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _entries(folder: Path) -> dict[str, bytes]:
    texts = _texts((folder / TABLE).read_bytes()[4:])
    return {name.decode(): value for name, value in zip(texts[::2], texts[1::2], strict=True)}


def _table(entries: Mapping[str, bytes]) -> Files:
    return {TABLE: packed(entries)}


def _summed(content: bytes) -> Files:
    """A table of this content, with its checksum."""
    return {TABLE: struct.pack("<I", zlib.crc32(content)) + content}


def _listed(folder: Path, name: str, content: bytes) -> Files:
    """A file, and a table that lists it."""
    listed = {f"file.{name}": struct.pack("<QQ", len(content), zlib.crc32(content))}
    return {name: content} | _table(_entries(folder) | listed)


def test_a_table_without_an_entry(folder: Path, said: Say) -> None:
    """Each is missed by its name; a table without words is that of a tokenizer without words."""
    entries = _entries(folder)
    assert len(entries) > 20
    lines = said([_table({name: value for name, value in entries.items() if name != lost}) for lost in entries])
    expected = {name: f"{DAMAGED}it lacks {name}{AGAIN}" for name in entries} | {"words.later": ANSWERED}
    assert lines == [expected[name] for name in entries]


def test_a_table_with_entries_of_another_length(folder: Path, said: Say) -> None:
    """Each. Texts are cut short, numbers are too long, and words of others' lengths."""
    entries = _entries(folder)
    lines = said([_table(entries | {name: value + b"\1"}) for name, value in entries.items()])
    for name, line in zip(entries, lines, strict=True):
        if name.startswith(("format", "file.", "option.")):
            size = len(entries[name])
            assert line == f"{DAMAGED}{name} has {size + 1} bytes instead of {size}{AGAIN}"
        else:
            assert line == (f"{DAMAGED}its words are of several lengths{AGAIN}" if name == "words.begins" else CUT)


def test_what_is_no_table(folder: Path, said: Say) -> None:
    """Cut short anywhere, with another byte, or something else; and with a checksum that is right."""
    content = (folder / TABLE).read_bytes()
    cut = [content[: len(content) * part // 20] for part in range(20)]
    other = bytearray(content)
    other[len(content) // 2] ^= 1
    wrong = [*cut, bytes(other), content + b"\0", b"{}", b"\0" * 4 + b"x"]
    lines = said([{TABLE: each} for each in wrong])
    assert all(line.startswith(f"{DAMAGED}it") and line.endswith(AGAIN) for line in lines), lines
    lines = said([_summed(each[4:]) for each in cut] + [_summed(b"\xff" * 9)])
    assert all(line == CUT or line.startswith(f"{DAMAGED}it lacks ") for line in lines), lines
    assert CUT in lines


def test_tables_changed_by_chance(folder: Path, said: Say) -> None:
    """What is wrong is said of the table, of a file that it no longer lists as it is, of an option, or of a graph."""
    random, entries, cases = Random(1), _entries(folder), []
    for _ in range(60):
        name = random.choice([*entries])
        value = bytearray(entries[name])
        for _ in range(random.choice((1, 8))):
            if value:
                value[random.randrange(len(value))] = random.choice(b"\0\1a\x7f\x80\xff")
        cases.append(_table(entries | {name: bytes(value)}))
    for line in said(cases):
        assert (
            line in (ANSWERED, LACKS)
            or line.startswith((DAMAGED, "onnxruntime: "))
            or any(
                part in line
                for part in ("do not give", " is damaged: it", " must be ", " is too far from 0", "reads no photo")
            )
        ), line


def test_words_that_do_not_fit(folder: Path, said: Say) -> None:
    """Tables of several lengths are damaged; a token that lacks is missed when it is said."""
    entries = _entries(folder)
    count = len(_texts(entries["words.later"]))
    word = struct.pack("<I", 1) + b"a"
    cases = {
        "later": ({"words.later": word}, "its words are of several lengths"),
        "first": ({"words.first": word}, "its words are of several lengths"),
        "begins": ({"words.begins": b"\1"}, "its words are of several lengths"),
        "pair": ({"words.clean_up": word}, "it has a words.clean_up that is no pair"),
        "nothing": ({"words.clean_up": struct.pack("<I", 0) + word}, "it has a words.clean_up that is no pair"),
    }
    lines = said([_table(entries | other) for other, _ in cases.values()])
    assert lines == [f"{DAMAGED}{sentence}{AGAIN}" for _, sentence in cases.values()]
    few = {"words.later": word, "words.first": b"", "words.begins": b"\1"}
    assert said([_table(entries | few), _table(entries | {"words.later": word * count, "words.first": b""})]) == [
        LACKS,
        ANSWERED,
    ]


LACKS = f"{TABLE} lacks a token that was said; export the model again"


def test_graphs_and_weights_that_are_not_the_listed_ones(
    folder: Path, said: Callable[[list[Files]], list[str]]
) -> None:
    """Cut short, or with another byte."""
    cases, expected = [], []
    for name in ("start.onnx", "step.onnx", "weights.bin"):
        content = (folder / name).read_bytes()
        turned = bytearray(content)
        turned[len(content) // 2] ^= 1
        cases += [{name: b""}, {name: content[:-1]}, {name: content + b"\0"}]
        expected += [f"{name} is damaged: it has {size} bytes" for size in (0, len(content) - 1, len(content) + 1)]
        if name != "weights.bin":
            cases.append({name: bytes(turned)})
            expected.append(f"{name} is damaged: its crc32 is not the one that {TABLE} lists; copy it again")
    for line, start in zip(said(cases), expected, strict=True):
        assert line.startswith(start)


def test_graphs_that_are_listed_and_no_graphs(folder: Path, said: Say) -> None:
    """onnxruntime says what it finds, in a line."""
    step, start = ((folder / f"{name}.onnx").read_bytes() for name in ("step", "start"))
    cases = [_listed(folder, "step.onnx", step[: len(step) * part // 8]) for part in range(8)]
    cases += [_listed(folder, "start.onnx", start[: len(start) * part // 8]) for part in range(8)]
    cases += [_listed(folder, "step.onnx", start), _listed(folder, "start.onnx", step)]
    *cut, step_is_start, start_is_step = said(cases)
    assert all(line.startswith("onnxruntime: ") for line in cut), cut
    assert step_is_start.startswith("onnxruntime: Invalid input name: ") or "do not give" in step_is_start, (
        step_is_start
    )
    assert start_is_step.startswith("onnxruntime: Invalid input name: ") or "do not give" in start_is_step, (
        start_is_step
    )
