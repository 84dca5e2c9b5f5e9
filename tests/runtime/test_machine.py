"""What is remembered of this machine: files in the user's cache folder, none of which is trusted or waited for."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from fuseline.trials import machine

FACTS, FOUND = {"graphs": "a", "threads": 2}, {"fp32": 1.5}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fuseline" / "auto"


@pytest.fixture
def file(cache: Path) -> Path:
    machine.remember("auto", FACTS, FOUND)
    (file,) = cache.iterdir()
    return file


def test_what_was_remembered_is_recalled(file: Path) -> None:
    assert machine.recall("auto", FACTS) == FOUND
    assert machine.recall("auto", FACTS | {"threads": 3}) is None
    assert machine.recall("devices", FACTS) is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[1]", b"null", b'{"found": 3}', b'{"facts": 1, "found": {}}', b"[" * 100_000, b" " * (2 << 20)],
)
def test_an_unreadable_file_is_none(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    assert machine.recall("auto", FACTS) is None
    machine.remember("auto", FACTS, FOUND)
    assert machine.recall("auto", FACTS) == FOUND


def of_another(file: Path) -> None:
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"facts": {}}))


def link(file: Path) -> None:
    file.rename(file.with_suffix(".other"))
    file.symlink_to(file.with_suffix(".other"))


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def endless(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def sparse(file: Path) -> None:
    with file.open("ab") as stream:
        stream.truncate(1 << 40)


@pytest.mark.parametrize(
    "change", [of_another, link, pipe, endless, folder, sparse], ids=lambda change: change.__name__
)
def test_what_is_no_file_of_ours_is_none_and_keeps_nobody_waiting(
    change: Callable[[Path], None], file: Path, cache: Path
) -> None:
    change(file)
    assert machine.recall("auto", FACTS) is None
    machine.remember("auto", FACTS, FOUND)
    assert machine.recall("auto", FACTS) == (None if change is folder else FOUND)
    assert not [each for each in cache.iterdir() if each.name.startswith(".")]


def test_a_cache_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    machine.remember("auto", FACTS, FOUND)
    assert machine.recall("auto", FACTS) is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")  # where nobody can make a folder, root included
    machine.remember("auto", FACTS, FOUND)
    assert machine.recall("auto", FACTS) is None


def test_there_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    machine.remember("auto", FACTS, FOUND)
    assert machine.recall("auto", FACTS) is None


def write_and_read(number: int) -> int:
    """How often what is read is neither nothing nor whole."""
    torn = 0
    for turn in range(200):
        machine.remember("auto", FACTS, {"number": number, "long": "x" * 5000, "turn": turn})
        found = machine.recall("auto", FACTS)
        torn += found is None or len(found["long"]) != 5000
    return torn


def test_processes_may_write_at_once(cache: Path) -> None:
    with ProcessPoolExecutor(3, get_context("spawn")) as pool:
        assert list(pool.map(write_and_read, range(3))) == [0, 0, 0]
    assert len(list(cache.iterdir())) == 1
