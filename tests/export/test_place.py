"""Places of folders: whatever interrupts a process that writes one, the folder is the old or the new one, and whole."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fuseline.errors import ExportError
from fuseline.export.writing import place
from fuseline.export.writing.place import beside, check_out, check_place, claimed, located, recovered, replace_file
from tests import tiny

OLD, NEW = {"fuseline.json": b"old", "onnx/graph": b"1"}, {"fuseline.json": b"new", "onnx/graph": b"2", "more": b"3"}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def replace(out: Path, files: dict[str, bytes] = NEW) -> None:
    with claimed(out) as mine, mine.replaced() as folder:
        fill(folder, files)


# How the file system puts one folder in the place of another: in one step, or in two.
@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "two renames":
        monkeypatch.setattr(place, "_exchanged", lambda one, other: False)
    return str(request.param)


def interrupted_at(line: int, work: Callable[[], None]) -> bool:
    """Run with a KeyboardInterrupt before the line-th line that runs of place.py; False where there are not so many."""
    left = line

    def local(frame: Any, event: str, argument: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left == 0 and event == "line":
            raise KeyboardInterrupt
        return local

    def called(frame: Any, event: str, argument: Any) -> Any:
        return local if frame.f_code.co_filename == place.__file__ else None

    sys.settrace(called)
    try:
        work()
        return False
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)


@pytest.mark.parametrize("there", [True, False])
def test_an_interrupt_at_any_line_leaves_the_old_or_the_new_folder(way: str, there: bool, tmp_path: Path) -> None:
    out, line, seen = tmp_path / "model", 0, set()
    while True:
        line += 1
        if there:
            fill(out, OLD)
        if not interrupted_at(line, lambda: replace(out)):
            break
        found = content(recovered(out)) if out.exists() or beside(out, "old").exists() else None
        assert found in ((OLD, NEW) if there else (None, NEW)), line
        seen.add(None if found is None else found["fuseline.json"])
        replace(out, OLD)
        assert content(out) == OLD
        assert list(tmp_path.iterdir()) == [out], line
        for path in sorted(tmp_path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert line > 60
    assert seen == {b"old" if there else None, b"new"}


# add_variants over and over, each in a process of its own that is killed at a random moment.
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import onnx
from fuseline.export import add_variants
from fuseline.export.writing import graphs as folders, place
from fuseline.folders.open import open_folder

out, kills, way = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if way == "two renames":
    place._exchanged = lambda one, other: False
folders.EXTERNAL_OVER = 20_000
first = open_folder(out)
graphs = {part: folders.load_graph(out / getattr(first.variants["fp32"], part)) for part in ("encoder", "decoder")}

def add(number):
    graphs["decoder"].doc_string = graphs["encoder"].doc_string = str(number)
    add_variants(out, {"other": graphs})

def notes():
    return (out / "notes.txt").read_text(), (out / "onnx" / "mine").read_text()

def numbers():
    opened = open_folder(place.recovered(out), whole=True)
    paths = [out / getattr(opened.variants["other"], part) for part in ("encoder", "decoder")]
    return [int(onnx.load(path, load_external_data=False).doc_string) for path in paths]

(out / "notes.txt").write_text("mine")
(out / "onnx" / "mine").write_text("mine too")
add(0)
began = time.perf_counter()
for _ in range(5):
    add(0)
span = 1.3 * (time.perf_counter() - began) / 5
random.seed(way)
last, new, left = 0, 0, 0
for number in range(1, kills + 1):
    child = os.fork()
    if not child:
        add(number)
        os._exit(0)
    time.sleep(random.uniform(0, span))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left += any(path.name.startswith(".") for path in out.parent.iterdir())
    found = numbers()
    assert found in ([last] * 2, [number] * 2), (found, last, number)
    assert notes() == ("mine", "mine too")
    new += found[0] == number
    span *= 0.9 if found[0] == number else 1.1  # a busy machine takes longer than it did: both must happen
    last = found[0]
add(kills + 1)
assert numbers() == [kills + 1] * 2
assert [path.name for path in out.parent.iterdir()] == [out.name], list(out.parent.iterdir())
assert sorted(path.name for path in out.iterdir()).count("notes.txt") == 1
print(kills, new, left)
"""


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_a_killed_process_leaves_the_old_or_the_new_folder(way: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out, kills = tiny.tiny_folder(tmp_path, 0), int(os.environ.get("FUSELINE_KILLS", "25"))
    arguments = [sys.executable, "-c", KILLED, str(out), str(kills), way]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, new, left = map(int, done.stdout.split())
    assert 0 < new < kills, "the moments should lie before and after the exchange"
    assert left, "some should have left something for the next one to remove"


def test_a_place_is_written_by_one_at_a_time(tmp_path: Path) -> None:
    out = fill(tmp_path / "model", OLD)
    with claimed(out):
        with pytest.raises(ExportError, match=r"another process is writing .*model; wait until it is done"):
            replace(out)
        with claimed(tmp_path / "other"):
            pass
    replace(out)
    assert content(out) == NEW
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_living_process_uses_is_left_alone(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from fuseline.export.writing.place import claimed
        with claimed(Path(sys.argv[1])) as mine, mine.replaced() as folder:
            (folder / "fuseline.json").write_text("theirs")
            print("ready", flush=True)
            input()
    """)
    arguments = [sys.executable, "-c", script, str(tmp_path / "model")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(ExportError, match="another process is writing"):
            replace(tmp_path / "model")
        other.communicate("\n")
    assert content(tmp_path / "model") == {"fuseline.json": b"theirs"}


def test_permissions_stay_and_new_folders_get_those_of_the_user(way: str, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace(tmp_path / "fresh")
        assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o750
        out = fill(tmp_path / "model", OLD)
        out.chmod(0o775)
        replace(out)
        assert stat.S_IMODE(out.stat().st_mode) == 0o775
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_owner_stays(way: str, tmp_path: Path) -> None:
    out = fill(tmp_path / "model", OLD)
    os.chown(out, 1234, 2345)
    replace(out)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in [out, *out.rglob("*")]} == {(1234, 2345)}


def test_read_only_folders_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    left = fill(beside(tmp_path / "model", "new") / "new", OLD)
    (left / "onnx").chmod(0o500)
    left.chmod(0o500)
    replace(tmp_path / "model")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_an_old_folder_is_never_removed_before_it_was_replaced(tmp_path: Path) -> None:
    """Killed between two renames; then somebody puts something else in the place."""
    out = tmp_path / "model"
    fill(beside(out, "old"), OLD)
    fill(beside(out, "new") / "new", NEW)
    fill(out, {"mine": b"mine"})
    with pytest.raises(ExportError, match=r"\.model\.fuseline-old is what .*model was before a process was killed"):
        replace(out)
    assert content(beside(out, "old")) == OLD
    (out / "mine").unlink()
    recovered(out)
    assert content(out) == OLD
    assert list(tmp_path.iterdir()) == [out]


def test_names_as_long_as_names_can_be(way: str, tmp_path: Path) -> None:
    out = tmp_path / ("ü" * 127 + "x")
    assert len(os.fsencode(out.name)) == 255
    fill(out, OLD)
    replace(out)
    assert content(out) == NEW
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_is_replaced_and_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "one").chmod(0o640)
    os.link(tmp_path / "one", tmp_path / "other")
    victim = tmp_path / "victim"
    victim.write_bytes(b"victim")
    beside(tmp_path / "one", "new").symlink_to(victim)
    replace_file(tmp_path / "one", b"two")
    assert [(tmp_path / name).read_bytes() for name in ("one", "other", "victim")] == [b"two", b"one", b"victim"]
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o640
    assert len(list(tmp_path.iterdir())) == 3


def test_an_error_of_the_disk_leaves_all_as_it_was(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = fill(tmp_path / "model", OLD)

    def full(path: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(place, "_fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        replace(out)
    assert raised.value.filename == str(tmp_path)  # whose disk is full
    assert content(out) == OLD
    assert list(tmp_path.iterdir()) == [out]


def test_folders_that_lead_there_are_made_and_go_again_where_nothing_was_written(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "model"
    check_out(out)
    assert not list(tmp_path.iterdir())  # looking makes nothing
    with pytest.raises(InterruptedError), claimed(out):
        assert out.parent.is_dir()
        raise InterruptedError
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()  # what was there stays
    with pytest.raises(InterruptedError), claimed(out) as mine, mine.replaced():
        raise InterruptedError
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]
    with claimed(out) as mine, mine.replaced() as new:
        fill(new, NEW)
    assert content(out) == NEW
    assert [path.name for path in out.parent.iterdir()] == ["model"]
    with (
        pytest.raises(ExportError, match="the folder .* cannot be made: File name too long"),
        claimed(tmp_path / "c" / ("x" * 256) / "model"),
    ):
        pass
    assert not (tmp_path / "c").exists()


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "model", OLD)
    (tmp_path / "file").touch()
    cases: list[tuple[Path, str]] = [
        (Path("/"), "/ cannot be replaced; name a folder in it"),
        (tmp_path / ("x" * 256), "cannot be the name of a folder; give a shorter one"),
        (tmp_path / "a\0b", "cannot be the name of a folder"),
        (tmp_path / "a\0b" / "c", "is no path that can be written to: embedded null byte"),
        (tmp_path / "file" / "out", "file is not a folder, so out cannot be written below it; name another place"),
        (tmp_path / "file" / "x" / "out", "file is not a folder, so out cannot be written below it"),
        (Path("/proc"), "/proc is a mount point, so /proc cannot be replaced"),
        (tmp_path / "model", "is the current folder or holds it, so it cannot be replaced; run from elsewhere"),
        (tmp_path, "is the current folder or holds it"),
        (Path(".."), "is the current folder or holds it"),
        (Path("."), "is the current folder or holds it"),
    ]
    monkeypatch.chdir(tmp_path / "model")
    for path, sentence in cases:
        with pytest.raises(ExportError, match=sentence):
            check_place(located(path))
        with pytest.raises(ExportError, match=sentence):
            check_out(path)
    (tmp_path / "link").symlink_to(tmp_path / "model")
    with pytest.raises(ExportError, match="link exists and is not a folder"):
        check_out(tmp_path / "link")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ExportError, match="is no path that can be written to"):
        check_out(tmp_path / "loop" / "out")
    monkeypatch.chdir(tmp_path)
    check_out(Path("model/"))
    assert located(Path("model/")) == tmp_path / "model"
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(ExportError, match="nothing can be written into"):
            check_out(tmp_path / "out")
        tmp_path.chmod(0o700)


def test_the_hash_in_a_shortened_name_is_that_of_the_name() -> None:
    name = "x" * 250
    assert beside(Path(name), "new").name == f".{hashlib.sha256(name.encode()).hexdigest()[:32]}.fuseline-new"
