"""Odd calls of the command: whatever is given, one sentence says what would be right, and the status is 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fuseline import cli
from tests import exported_texts

CAT = Path(__file__).parents[2] / "examples" / "cat.jpg"
# What is given, with CAT for a photo, and what the sentence has.
CAPTION = [
    ([], "the following arguments are required: PHOTO"),
    (["no.jpg"], "no.jpg: there is no such file; give the path of a photo"),
    ([""], "'' names no photo; give the path of one"),
    (["folder"], "there is no photo in this folder"),
    (["empty"], "the file is empty; give a photo"),
    ([""], "'' names no photo"),
    (["n\udcff.jpg"], "n\\udcff.jpg: there is no such file"),
    (["-", "CAT", "-"], "- is given twice, and standard input can be read once; give it once"),
    (["/dev/zero"], "this is a device, not a file"),
    (["--", "--num-beams"], "--num-beams: there is no such file"),
    (["--min-confidence", "1.0000001", "CAT"], "--min-confidence must be from 0 to 1, not 1.0000001"),
    (["--min-confidence", "nan", "CAT"], "--min-confidence must be from 0 to 1, not nan"),
    (["--min-confidence", "x", "CAT"], "fuseline: --min-confidence must be a number, not 'x'; see"),
    (["--num-beams", "1e3", "CAT"], "fuseline: --num-beams must be a whole number, not '1e3'; see"),
    (["--num-beams", "9" * 30, "CAT"], "--num-beams must be a whole number of at least 1 and at most"),
    (["--max-length", "9" * 30, "CAT"], "--max-length must be a whole number of at least 1 and at most"),
    (["--threads", "-1", "CAT"], "--threads must be a whole number from 1 to 1024, not -1"),
    (["--model", "CAT", "CAT"], "is a file; a model is a folder"),
    (["--model", "folder", "CAT"], "has no fuseline.json"),
    (["--model", "", "CAT"], "a model's path is empty"),
    (["--variant", "", "CAT"], "has no variant ''"),
    (["--device", "", "CAT"], "there is no device ''"),
    (["--heat-map", "folder/none/x.png", "CAT"], "there is no folder folder/none; make it first"),
    (["--heat-map", "CAT", "CAT"], "a heat map is a .png or a .html file"),
    (["--heat-map", "/proc/x.png", "CAT"], "/proc/x.png: it cannot be written"),
    (["--hint", "a \udcff", "CAT"], "source hint: it has a byte that is no UTF-8 at character 3"),
    (["--source", "hint", "CAT"], "--source takes NAME=VALUE, not 'hint'"),
    (["--source-weights", ",", "CAT"], "--source-weights takes NAME=VALUE, not ''"),
    (["--source-weights", "hint=inf", "CAT"], "--source-weights of hint must be a number of at least 0"),
    (["--source-weights", "image=0", "CAT"], "no source that counts"),
    (["--stream", "--json", "CAT"], "argument --json: not allowed with argument --stream"),
]
TEXT = [
    (["no.txt"], "there is no file 'no.txt'"),
    (["folder"], "folder is a folder"),
    (["empty"], "there is no line in empty"),
    (["CAT"], "cat.jpg is no text; give a file that has a text a line"),
    (["/dev/zero"], "/dev/zero is a device, not a file"),
    (["/dev/null"], "/dev/null is a device, not a file"),
    (["-", "-"], "- is given twice"),
    (["utf16.txt"], "utf16.txt is a text in UTF-16; save it as UTF-8"),
    (["--batch", "0", "lines.txt"], "--batch must be a whole number from 1 to"),
    (["--num-beams", "nan", "lines.txt"], "--num-beams must be a whole number, not 'nan'"),
    (["--max-length", "0", "lines.txt"], "--max-length must be a whole number of at least 1, not 0"),
    (["--from", "en", "lines.txt"], "--from and --to go together"),
    (["--from", "en", "--to", "\udcff", "lines.txt"], "leave out --from and --to"),
]
OTHERS = [
    ([], "the following arguments are required: COMMAND"),
    (["frob"], "invalid choice: 'frob'"),
    (["info", "no"], "there is no model folder no"),
    (["info", ""], "a model's path is empty"),
    (["get", ""], "there is no model '' to get"),
    (["get", "--variants", "int9", "moonshine-tiny"], "--variants are int9 and must be some of"),
    (["get", "--from", "folder", "moonshine-tiny"], "folder has no moonshine"),
    (["export", "no", "out"], "there is no folder no"),
    (["export", "--variants", "", "source", "out"], "--variants are an empty name and must be some of"),
    (["export", "source", "lines.txt"], "exists and is not a folder; name another folder to export to"),
    (["export", "source", "."], "is the current folder or holds it"),
    (["export", "--embed", "--max-length", "0", "model", "out"], "--max-length is of exporting a checkpoint"),
    (["quantize", "no"], "there is no model folder no"),
    (["quantize", "model", "--max-loss", "nan"], "--max-loss nan must be a share"),
    (["quantize", "model", "--limit", "0"], "--limit is of a data set, and none is given; leave --limit out"),
    (["quantize", "model", "--static"], "static convolutions need photos to calibrate with"),
    (["evaluate", "model", "--data", "no"], "no cannot be read"),
    (["evaluate", "model", "--data", "empty"], "empty has no texts"),
    (["evaluate", "model", "--data", "lines.txt", "--references", "empty"], "line by line they must be"),
    (["evaluate", "model", "--data", "lines.txt", "--references", "lines.txt", "--limit", "-1"], "--limit must be at"),
    (["transcribe"], "there is no sound to transcribe"),
    (["transcribe", "-", "-"], "- is given twice"),
    (["transcribe", "--raw", "1", "lines.txt"], "--raw must be from 1,000 to 768,000 samples a second, not 1"),
    (["transcribe", "--format", "docx", "lines.txt"], "--format must be txt, srt"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of texts, its checkpoint, and files of several kinds."""
    root = tmp_path_factory.mktemp("odd")
    exported_texts.text_folder(root, variants=("fp32",))
    (root / "folder").mkdir()
    (root / "empty").touch()
    (root / "lines.txt").write_text("word5 word6\nword7\n")
    (root / "utf16.txt").write_text("word5\n", encoding="utf-16")
    shutil.copy(CAT, root)
    return root


def cases() -> Sequence[tuple[list[str], str]]:
    captions = [(["caption", *given], fragment) for given, fragment in CAPTION]
    return [*captions, *[(["text", "--model", "model", *given], fragment) for given, fragment in TEXT], *OTHERS]


@pytest.mark.parametrize(("given", "fragment"), cases())
def test_one_sentence_says_what_would_be_right(
    given: list[str], fragment: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    with open(os.devnull, "rb") as nothing:
        monkeypatch.setattr(sys, "stdin", os.fdopen(os.dup(nothing.fileno())))
        assert cli.main([each.replace("CAT", str(CAT)) for each in given]) == 2
    said = capfd.readouterr().err
    assert said.startswith("fuseline: ") and said.count("\n") == 1 and fragment in said
    assert not (place / "out").exists()


def test_a_text_with_a_nul_is_one_still(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """It is the line that is wrong, and not the file."""
    (place / "nul.txt").write_bytes("word5 ä\nwo\0rd6\n".encode())
    monkeypatch.chdir(place)
    assert cli.main(["text", "--model", "model", "nul.txt"]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 2 and captured.err.startswith(
        "fuseline: nul.txt, line 2 has a NUL at character 3"
    )


@pytest.mark.parametrize("command", ["caption CAT", "info", "--help", "--version"])
@pytest.mark.parametrize(
    ("where", "fragment"), [(">&-", "standard output is closed"), ("> /dev/full", "standard output cannot be written")]
)
def test_output_that_goes_nowhere_is_said(command: str, where: str, fragment: str) -> None:
    line = f"{sys.executable} -m fuseline {command.replace('CAT', str(CAT))} {where}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("fuseline: ") and done.stderr.count("\n") == 1 and fragment in done.stderr
