"""The fuzzer notices what it is there for: faults on purpose, each run in a worker as any case is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("onnx")  # of which damaged graphs are made

from tests.fuzz import messages, photo_files, photos, planted
from tests.fuzz.kinds import Place, random_of
from tests.fuzz.registry import NAMES, PLANTED, kinds_of

SEED = 0
ROOT = Path(__file__).parents[2]


@cache
def case_of(fault: int) -> int:
    """The first case that is this fault."""
    return next(case for case in range(1000) if planted.number_of(random_of(SEED, PLANTED, case)) == fault)


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own: it forks, which a process with threads must not."""
    command = [sys.executable, "-m", "tests.fuzz", "--seed", str(SEED), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)


@pytest.fixture(scope="module")
def found() -> dict[int, list[str]]:
    """The findings of every planted fault, by its number."""
    cases = [case_of(fault) for fault in range(len(planted.FAULTS))]
    done = fuzz("--kinds", PLANTED, "--case", ",".join(map(str, cases)), "--json", "--workers", "4")
    assert done.returncode == 1, done.stderr
    findings = json.loads(done.stdout)["findings"]
    return {fault: [each["finding"] for each in findings if case in each["cases"]] for fault, case in enumerate(cases)}


@pytest.mark.parametrize("fault", range(len(planted.FAULTS)), ids=[each.__name__ for each, _ in planted.FAULTS])
def test_a_planted_fault_is_found(found: dict[int, list[str]], fault: int) -> None:
    _, kind = planted.FAULTS[fault]
    assert set(found[fault]) == ({kind} if kind else set())


def test_without_faults_all_is_well() -> None:
    done = fuzz("--kinds", PLANTED, "--case", str(case_of(0)))
    assert done.returncode == 0, done.stdout
    assert f"seed {SEED}" in done.stderr


def test_a_finding_names_the_command_that_repeats_it_and_keeps_its_files(tmp_path: Path) -> None:
    case = case_of([kind for _, kind in planted.FAULTS].index("answer"))
    done = fuzz("--kinds", PLANTED, "--case", str(case), "--keep", str(tmp_path))
    assert done.returncode == 1
    assert f"python -m tests.fuzz --seed {SEED} --kinds {PLANTED} --case {case}" in done.stdout
    assert (tmp_path / f"{PLANTED}-{case}" / "photo").is_file()


def test_a_case_is_the_same_every_time(tmp_path: Path) -> None:
    made = []
    for run in range(2):
        place = Place(*(tmp_path / f"{run}" / name for name in ("case", "templates", "outside", "cache")))
        for folder in (place.case, place.outside):
            folder.mkdir(parents=True)
        trial = kinds_of(["photos"])["photos"].make(random_of(SEED, "photos", 7), place)
        made.append((trial.what, [path.read_bytes() for path in place.case.iterdir()]))
    assert made[0] == made[1]


def test_whole_photos_load_in_every_format_that_pillow_writes() -> None:
    for case in range(60):
        photo = photo_files.whole(random_of(SEED, "whole photos", case))
        assert photos._loaded(photo.data, photo) == "loaded", photo.what


def test_kinds_by_name() -> None:
    assert NAMES == ("photos", "folders", "graphs", "tokenizers", "options", "operators")
    with pytest.raises(KeyError, match="there is no kind photo; there are photos, folders"):
        kinds_of(["photo"])


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("cat.jpg: the file is empty; give a photo", []),
        ("", ["is empty"]),
        ("two\nlines", ["has several lines"]),
        ("a\x1b[31mb", ["is not printable"]),
        ("x" * 1201, ["has more than 1200 characters"]),
        ("not <object object at 0x7f12>", ["is the repr of an object"]),
        ("/onnxruntime_src/onnxruntime/core/graph/graph.cc:1617 failed", ["names a source file of a library"]),
        (
            "panicked at library/alloc/raw_vec.rs:28:5",
            ["names a source file of a library", "names a C++ or Rust function"],
        ),
    ],
)
def test_messages(text: str, faults: list[str]) -> None:
    assert messages.faults(text) == faults


def test_sentences_of_one_kind_are_equal() -> None:
    one, other = "/a/b.jpg: 3 x 4 pixels of 'L'", "/tmp/w/x: 1,000 x 2 pixels of 'I;16'"
    assert messages.normalised(one) == messages.normalised(other) == "PATH: N x N pixels of '...'"
