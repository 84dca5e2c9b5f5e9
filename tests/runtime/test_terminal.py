"""What a terminal shows while a command runs, and after it; and what is said where streams are not as they should be.

Everything runs as a program: in a pseudo terminal that pyte interprets, or with the streams that a case names.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import tiny
from tests.screen import Screen

NAMES = ("a.png", "b.png", "sub/c.png")
BAR = re.compile(r"\d+/\d+|\d+photo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("terminal"), seed=1, variants=("fp32",))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with the photos `NAMES`, of which commands run in it know the short names."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in NAMES:
        (root / name).parent.mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (4, 5, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(pixels).save(root / name)
    return root


def command(folder: Path, *arguments: object) -> list[object]:
    return [sys.executable, "-m", "fuseline", "caption", "--model", folder, "--variant", "fp32", *arguments]


def program(words: Sequence[object], **options: Any) -> subprocess.CompletedProcess[bytes]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120, "check": False} | options
    return subprocess.run([str(word) for word in words], **given)


def shell(words: Sequence[object], redirections: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command with streams as a shell makes them."""
    line = ["bash", "-c", f'"$@" {redirections}', "bash", *words]
    return program(line, env=os.environ | environment, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def lines(folder: Path, photos: Path) -> list[str]:
    """What the command prints into a pipe."""
    done = program(command(folder, *NAMES), cwd=photos)
    assert done.returncode == 0, done.stderr
    found = done.stdout.decode().splitlines()
    assert [line.split(": ")[0] for line in found] == list(NAMES)
    return found


def edited(folder: Path, to: Path, name: str, edit: Callable[[Any], Any]) -> Path:
    """A copy of a model folder in which a JSON file is another, and fuseline.json says so."""
    other = Path(shutil.copytree(folder, to))
    content = json.dumps(edit(json.loads((other / name).read_text()))).encode()
    (other / name).write_bytes(content)
    description = json.loads((other / "fuseline.json").read_text())
    description["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (other / "fuseline.json").write_text(json.dumps(description))
    return other


def rows_of(texts: Sequence[str], columns: int) -> list[str]:
    """As a terminal of that width breaks these lines."""
    return [text[at : at + columns].rstrip() for text in texts for at in range(0, len(text), columns)]


# The bar ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [200, 80, 40, 20, 14, 5])
@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_every_caption_is_on_its_own_line(
    folder: Path, photos: Path, lines: list[str], columns: int, options: list[str]
) -> None:
    with Screen(command(folder, *NAMES, *options), columns, cwd=photos) as shown:
        assert shown.wait() == 0
        expected = rows_of(lines, columns)
        assert shown.rows == expected
        assert shown.cursor == (len(expected), 0)
        for shot in shown.shots:  # the last row is a bar, or what is being written; above it are whole captions
            assert shot[:-1] == expected[: max(0, len(shot) - 1)]
        seen = any(BAR.search(row) for shot in shown.shots for row in shot)
        assert seen == (columns >= 14 and not options)


@pytest.mark.parametrize("columns", [100, 30])
def test_every_object_is_on_its_own_line(folder: Path, photos: Path, columns: int) -> None:
    with Screen(command(folder, "--json", *NAMES, "none.png"), columns, cwd=photos) as shown:
        assert shown.wait() == 2
        text = "".join(row.ljust(columns) for row in shown.rows)
        objects = [json.loads(each) for each in re.findall(r"\{.*?\}", text)]
        assert [found["file"] for found in objects] == [*NAMES, "none.png"]
        starts = [row for row in shown.rows if row.startswith('{"file": ')]
        assert len(starts) == 4
        assert "fuseline: none.png: there is no such file" in text
        assert not any(BAR.search(row) for row in shown.rows if "milli" not in row)


def test_sentences_and_notes_come_above_the_bar(folder: Path, photos: Path, lines: list[str], tmp_path: Path) -> None:
    wishes = edited(folder, tmp_path / "model", "generation_config.json", lambda was: was | {"temperature": 0.5})
    named = [NAMES[0], "none.png", *NAMES[1:]]
    with Screen(command(wishes, *named), 120, cwd=photos) as shown:
        assert shown.wait() == 2
        note, *rest = shown.rows
        assert note == (
            "fuseline: note: without do_sample=True nothing is sampled, and temperature has no effect"
        )  # once, and without the file and the line of a warning of Python
        missing = "fuseline: none.png: there is no such file; give the path of a photo"
        assert rest == rows_of([lines[0], missing, *lines[1:]], 120)


def test_the_bar_where_standard_output_is_a_file(folder: Path, photos: Path, lines: list[str], tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out, Screen(command(folder, *NAMES), stdout=out, cwd=photos) as shown:
        assert shown.wait() == 0
        assert (shown.rows, shown.cursor) == ([], (0, 0))
        assert b"3/3" in shown.raw
    assert (tmp_path / "out").read_text().splitlines() == lines


def test_no_bar_where_standard_error_is_a_file(folder: Path, photos: Path, lines: list[str], tmp_path: Path) -> None:
    with (tmp_path / "err").open("wb") as err:
        with Screen(command(folder, *NAMES), 200, stderr=err, cwd=photos) as shown:
            assert shown.wait() == 0
            assert shown.rows == lines
        assert not any(BAR.search(row) for shot in shown.shots for row in shot)
    assert (tmp_path / "err").read_bytes() == b""


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_a_dumb_terminal_is_written_plain_lines(
    folder: Path, photos: Path, lines: list[str], options: list[str], tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    with Screen(["script", "-qec", _quoted(command(folder, *NAMES, *options)), raw], cwd=photos, TERM="dumb") as shown:
        assert shown.wait() == 0
    written = raw.read_bytes().partition(b"\n")[2].rpartition(b"\nScript done")[0]
    assert written.decode().replace("\r\n", "\n").rstrip("\n").split("\n") == lines
    assert b"\x1b" not in written


def _quoted(words: Sequence[object]) -> str:
    return shlex.join(str(word) for word in words)


def test_without_colour_nothing_is_shown_that_only_its_look_would_tell(
    folder: Path, photos: Path, lines: list[str]
) -> None:
    with Screen(command(folder, NAMES[0], NAMES[1], "--stream"), 200, cwd=photos, NO_COLOR="1") as shown:
        assert shown.wait() == 0
        assert shown.rows == lines[:2]
        for shot in shown.shots:
            assert all(line.startswith(row) for row, line in zip(shot, lines, strict=False))


def test_a_terminal_that_is_made_narrower_and_wider(folder: Path, photos: Path, tmp_path: Path) -> None:
    """While the command waits for a photo from a pipe, so that nothing is on its way to the terminal."""
    for name in ("1.png", "3.png", "5.png"):
        shutil.copy(photos / "a.png", tmp_path / name)
    pipes = os.pipe(), os.pipe()
    reading = [ours for ours, _ in pipes]
    named = ["1.png", f"/dev/fd/{reading[0]}", "3.png", f"/dev/fd/{reading[1]}", "5.png"]
    text = program(command(folder, "--max-length", 5, "1.png"), cwd=tmp_path).stdout.decode()
    with Screen(command(folder, "--max-length", 5, *named), 100, cwd=tmp_path, inherited=reading) as shown:
        for done, columns, (_, writing) in ((1, 60, pipes[0]), (3, 120, pipes[1])):
            shown.until(f" {done}/5 ")
            shown.resize(columns)
            with open(writing, "wb") as pipe:
                pipe.write((photos / "a.png").read_bytes())
        assert shown.wait() == 0
        assert shown.rows == [f"{name}: {text}".rstrip() for name in named]
    for each in reading:
        os.close(each)


def test_a_terminal_without_a_size(folder: Path, photos: Path, lines: list[str]) -> None:
    words = command(folder, *NAMES)
    with Screen(["bash", "-c", f"stty cols 0 rows 0; {_quoted(words)}"], 80, cwd=photos) as shown:
        assert shown.wait() == 0
        assert shown.rows == rows_of(lines, 80)


def test_more_items_than_can_be_counted_first() -> None:
    code = (
        "from itertools import count; from fuseline.cli.terminal import Terminal\n"
        "terminal = Terminal()\n"
        "with terminal.counted(count(), show=True) as items:\n"
        "    for item in items:\n"
        "        if item == 3: terminal.lines(['three'])\n"
        "        if item == 30: break"
    )
    with Screen([sys.executable, "-c", code]) as shown:
        assert shown.wait() == 0
        assert (shown.rows, shown.cursor) == (["three"], (1, 0))
        assert b"captioning: 30photo [" in shown.raw


def test_steps_of_long_work_leave_what_was_said_meanwhile() -> None:
    """Notes, and what a library prints, which standard output is not for."""
    code = (
        "from fuseline.cli.terminal import Terminal; import json, time\n"
        "terminal = Terminal()\n"
        "with terminal.steps() as tell:\n"
        "    tell(1, 3, 'reading [bold]\\x1b[2J')\n"
        "    time.sleep(0.3)\n"
        "    terminal.note('one thing'); print('printed')\n"
        "    tell(2, 3, 'writing')\n"
        "terminal.record({'done': True})"
    )
    with Screen([sys.executable, "-c", code]) as shown:
        assert shown.wait() == 0
        assert shown.rows == ["fuseline: note: one thing", "printed", '{"done": true}']
        assert any("reading [bold]\\x1b[2J" in row for shot in shown.shots for row in shot)
    done = program([sys.executable, "-c", code])
    assert (done.stdout, done.stderr) == (b'{"done": true}\n', b"fuseline: note: one thing\nprinted\n")


def test_a_command_of_steps_in_a_terminal(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "model"))
    words = [sys.executable, "-m", "fuseline", "quantize", other, "--variants", "int8", "--json"]
    with Screen(words, 200) as shown:
        assert shown.wait() == 0
        assert list(json.loads("\n".join(shown.rows))["variants"]) == ["int8"]
        rows = [row for shot in shown.shots for row in shot]  # a step may pass faster than is drawn
        assert any("making int8" in row or "comparing with the floats" in row for row in rows)


def test_terminated_a_command_of_steps_leaves_nothing_half_written(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "model"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with Screen([sys.executable, "-m", "fuseline", "quantize", other, "--variants", "int8,int4"]) as shown:
        shown.until("comparing")
        shown.send(signal.SIGTERM)
        assert shown.wait() == 143
        assert shown.rows == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("options", [[], ["--stream"]])
@pytest.mark.parametrize(
    ("number", "status"), [(None, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["Ctrl-C", "TERM", "HUP"]
)
def test_interrupted_it_leaves_whole_lines_and_no_bar(
    folder: Path, photos: Path, lines: list[str], number: int | None, status: int, options: list[str]
) -> None:
    with Screen(command(folder, *["a.png"] * 5000, *options), 200, cwd=photos) as shown:
        shown.until("a.png: ", times=3)
        if number is None:
            shown.press(b"\x03")
        else:
            shown.send(number)
        assert shown.wait() == status
        # The terminal itself shows ^C where the cursor was, be it in a caption that was being written.
        *whole, last = shown.rows
        assert set(whole) == {lines[0]}
        assert lines[0].startswith(last.replace("^C", ""))
        # Where ^C came just before the rest of a line that was on its way, one empty row follows: nobody can know.
        row, column = shown.cursor
        assert row - len(shown.rows) in ((0, 1) if number is None else (0,))
        assert column == 0


# The streams --------------------------------------------------------------------------------------

FULL = "fuseline: standard output cannot be written (No space left on device); give it a place where there is room\n"
CLOSED = "fuseline: standard output is closed, so there is nowhere to write to; leave it open\n"


@pytest.mark.parametrize("options", [[], ["--json"], ["--stream"]])
@pytest.mark.parametrize(("redirection", "sentence"), [(">/dev/full", FULL), (">&-", CLOSED)])
def test_standard_output_that_takes_nothing(
    folder: Path, photos: Path, redirection: str, sentence: str, options: list[str]
) -> None:
    done = shell(command(folder, *options, photos), redirection)
    assert (done.returncode, done.stderr.decode()) == (2, sentence)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["caption", "--help"], ["info"]])
@pytest.mark.parametrize(("redirection", "sentence"), [(">/dev/full", FULL), (">&-", CLOSED)])
def test_the_same_for_what_else_is_printed(words: list[str], redirection: str, sentence: str) -> None:
    done = shell([sys.executable, "-m", "fuseline", *words], redirection)
    assert (done.returncode, done.stderr.decode()) == (2, sentence)


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2> >(exit)", "2>&- <&-"])
def test_standard_error_that_takes_nothing_costs_nothing(
    folder: Path, photos: Path, lines: list[str], redirection: str
) -> None:
    named = [photos / name for name in ("none.png", *NAMES)]
    done = shell(command(folder, *named), redirection)
    assert done.returncode == 2
    assert [line.split(": ")[1] for line in done.stdout.decode().splitlines()] == [
        line.split(": ")[1] for line in lines
    ]


def test_nothing_is_written_into_a_file_that_takes_the_place_of_a_closed_stream(folder: Path, photos: Path) -> None:
    """With standard error closed, what onnxruntime logs would go into the file that is opened next."""
    code = (
        "import os, sys, fuseline.cli\n"
        "sys.argv[1:] = ['--version']\n"
        "try: fuseline.cli.main()\n"
        "except SystemExit: sys.exit(os.open(os.devnull, os.O_RDONLY) > 2)"
    )
    done = shell([sys.executable, "-c", code], "2>&- <&-")
    assert done.returncode == 1, "the next file has a number above those of the standard streams"


def test_standard_input_that_is_closed(folder: Path, photos: Path) -> None:
    done = shell(command(folder, "-", photos / "a.png"), "<&-")
    sentence = "fuseline: standard input is closed, and - reads a photo from it; give one, as in < photo.jpg\n"
    assert (done.returncode, done.stderr.decode()) == (2, sentence)
    assert done.stdout.startswith(str(photos).encode())


def test_a_photo_through_a_pipe_with_a_name(folder: Path, photos: Path, lines: list[str]) -> None:
    done = shell(command(folder), f"<(cat {photos / 'a.png'})")
    assert (done.returncode, done.stdout.decode()) == (0, lines[0].split(": ")[1] + "\n")


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}])
def test_what_an_encoding_has_not_is_escaped_and_the_rest_goes_on(
    folder: Path, photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    for name in ("Zürich.png", "東京.png", "z.png"):
        shutil.copy(photos / "a.png", tmp_path / name)
    done = program(
        command(folder, "Zürich.png", "東京.png", "nö.png", "z.png"), cwd=tmp_path, env=os.environ | environment
    )
    names = [line.partition(b": ")[0] for line in done.stdout.splitlines()]
    if "PYTHONIOENCODING" in environment:
        assert names == [b"Z\\xfcrich.png", rb"\u6771\u4eac.png", b"z.png"]
        assert done.stderr.startswith(b"fuseline: n\\xf6.png: there is no such file")
    else:  # Python takes UTF-8 where a locale says nothing better
        assert names == ["Zürich.png".encode(), "東京.png".encode(), b"z.png"]
    assert done.returncode == 2


# Names and texts ----------------------------------------------------------------------------------

ODD = {
    "new\nline.png": "new\\nline.png",
    "escape\x1b[31m.png": "escape\\x1b[31m.png",
    "tab\t.png": "tab\\t.png",
    "return\r.png": "return\\r.png",
    "csi\x9b2J.png": "csi\\x9b2J.png",
    "turned\u202egnp.png": "turned\\u202egnp.png",
    os.fsdecode(b"latin\xe9.png"): "latin\\udce9.png",
    "family\U0001f468\u200d\U0001f467.png": "family\U0001f468\u200d\U0001f467.png",
    "5.00\u202fPM.png": "5.00\u202fPM.png",
    "[bold].png": "[bold].png",
}


@pytest.fixture
def odd(photos: Path, tmp_path: Path) -> Path:
    """A folder of photos with such names."""
    root = tmp_path / "odd"
    root.mkdir()
    for name in ODD:
        shutil.copy(photos / "a.png", root / name)
    return root


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_names_stay_on_one_line(folder: Path, lines: list[str], odd: Path, options: list[str]) -> None:
    done = program(command(folder, *options, "."), cwd=odd)
    assert (done.returncode, done.stderr) == (0, b"")
    text = lines[0].split(": ")[1]
    assert done.stdout.decode().split("\n")[:-1] == [f"./{ODD[name]}: {text}" for name in sorted(ODD)]


def test_names_in_json_are_the_names(folder: Path, odd: Path) -> None:
    done = program(command(folder, "--json", "."), cwd=odd)
    found = [json.loads(line)["file"] for line in done.stdout.splitlines()]
    assert found == [f"./{name}" for name in sorted(ODD)]
    assert all((odd / name).exists() for name in found), "a name that is no text leads to its file still"


def test_names_in_sentences(folder: Path, tmp_path: Path) -> None:
    done = program(command(folder, "\x1b[2Jno\n.png", "--json"), cwd=tmp_path)
    sentence = "\\x1b[2Jno\\n.png: there is no such file; give the path of a photo"
    assert (done.returncode, done.stderr.decode()) == (2, f"fuseline: {sentence}\n")
    assert json.loads(done.stdout) == {"file": "\x1b[2Jno\n.png", "error": sentence}


@pytest.mark.parametrize("options", [[], ["--stream"], ["--json"]])
def test_a_text_cannot_command_the_terminal(
    folder: Path, photos: Path, lines: list[str], tmp_path: Path, options: list[str]
) -> None:
    """A tokenizer whose words are codes for a terminal: its title, colours, a line of their own, a turned direction."""
    codes = "\x1b]0;mine\x07\x1b[31m\x9b2J\u202e\x00"
    said = sorted(set(lines[0].split()[1:]))

    def hostile(tokenizer: Any) -> Any:
        vocab = tokenizer["model"]["vocab"]
        tokenizer["model"]["vocab"] = {(f"{codes}{word}" if word in said else word): at for word, at in vocab.items()}
        return tokenizer

    model = edited(folder, tmp_path / "hostile", "tokenizer.json", hostile)
    done = program(command(model, *options, "a.png", "b.png"), cwd=photos)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 2
    assert done.stdout.decode().replace("\n", "").isprintable()
    if options == ["--json"]:
        assert codes in json.loads(done.stdout.splitlines()[0])["text"]
    else:
        assert "\\x1b]0;mine\\x07\\x1b[31m\\x9b2J\\u202e\\x00word" in done.stdout.decode()
    with Screen(command(model, *options, "a.png", "b.png"), 300, cwd=photos) as shown:
        assert shown.wait() == 0
        assert len(shown.rows) == len(rows_of(done.stdout.decode().splitlines(), 300))


# Folders ------------------------------------------------------------------------------------------


def test_what_is_in_a_folder_is_captioned_or_named(folder: Path, photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "album"
    (root / "a").mkdir(parents=True)
    (root / "a-b").mkdir()
    for name in ("a/1.png", "a-b/2.png", "a.png"):
        shutil.copy(photos / "a.png", root / name)
    (root / "linked.png").symlink_to(photos / "b.png")
    (root / "broken.png").symlink_to("nowhere")
    (root / "round.png").symlink_to("round.png")
    (root / "others").symlink_to(photos)
    (root / "a" / "up").symlink_to("..")
    os.mkfifo(root / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(root / "socket.jpg"))  # its name must be a short one
    for name in ("1.CR2", "2.nef", "3.svg", "4.psd", "notes.txt"):
        (root / name).write_bytes(b"-")
    done = program(command(folder, "."), cwd=root)
    assert [line.split(": ")[0] for line in done.stdout.decode().splitlines()] == [
        "./a-b/2.png",
        "./a.png",
        "./a/1.png",
        "./linked.png",
    ]
    assert done.stderr.decode().splitlines() == [
        "fuseline: ./broken.png: this is a link to nothing; give the path of a photo",
        "fuseline: ./pipe.jpg: this is no file but a pipe or a device; give the path of a photo",
        "fuseline: ./round.png: this is a link to nothing; give the path of a photo",
        "fuseline: ./socket.jpg: this is no file but a pipe or a device; give the path of a photo",
        "fuseline: note: links to folders are not followed: ./a/up, ./others; name them to have their photos too",
        "fuseline: note: pictures of kinds that cannot be read were left out: ./1.CR2, ./2.nef, ./3.svg and 1 more",
    ]
    assert done.returncode == 2


def test_notes_are_no_failures(folder: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "a.png", tmp_path / "a.png")
    (tmp_path / "b.svg").write_bytes(b"-")
    (tmp_path / "more").symlink_to(photos)
    done = program(command(folder, tmp_path))
    assert done.returncode == 0
    assert done.stderr.count(b"fuseline: note: ") == done.stderr.count(b"\n") == 2


@pytest.mark.parametrize("name", ["x.heic", "x.HEIF", "x.hif"])
def test_a_photo_of_a_phone_is_a_photo(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\x00\x00\x18ftypheic")
    done = program(command(folder, "."), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fuseline: ./{name}: ".encode())


def test_a_deep_folder(folder: Path, photos: Path, tmp_path: Path) -> None:
    """Deeper than Python calls functions, and so deep that its name is longer than the system takes."""
    here = os.open(tmp_path, os.O_RDONLY)
    shutil.copy(photos / "a.png", tmp_path / "z.png")
    depth = 1500
    for _ in range(depth):
        os.mkdir("ddd", dir_fd=here)
        below = os.open("ddd", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    done = program(command(folder, "."), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.startswith(b"./z.png: ")
    assert b"the folder cannot be read (File name too long)" in done.stderr
    assert done.stderr.count(b"\n") == 1
    subprocess.run(["rm", "-rf", tmp_path / "ddd"], check=True)


def test_a_large_folder_starts_at_once(folder: Path, photos: Path, tmp_path: Path) -> None:
    """The first caption comes before the last folder is looked into: that one is made unreadable meanwhile."""
    for name in ("first", "last"):
        (tmp_path / name).mkdir()
    for number in range(2000):
        os.link(photos / "a.png", tmp_path / "first" / f"{number}.png")
    words = [str(word) for word in command(folder, tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        (tmp_path / "last").rmdir()
        shutil.rmtree(tmp_path / "first")
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    sentences = err.decode().splitlines()
    assert (
        sentences[-1]
        == f"fuseline: {tmp_path}/last: the folder cannot be read (No such file or directory); give one that may be"
    )
    assert all("there is no such file" in sentence for sentence in sentences[:-1])
