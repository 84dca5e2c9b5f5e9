"""The command `fuseline text`: what a line becomes is what the pipeline says of it, wherever it stands."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model, cli
from fuseline.cli.lines import LONGEST, read
from fuseline.cli.live import show
from fuseline.cli.streams import on_one_line
from fuseline.cli.terminal import Terminal
from fuseline.outputs.streaming import Event
from fuseline.pipelines.text_to_text import Job, TextToText
from tests.screen import Screen

pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

Run = Callable[..., tuple[int, str, str]]
NOTICE = "fuseline: note: fuseline runs on the portable operators"
LINES = ["two dogs run on the beach", "a", "the man's hat isn't red .", "", "we've seen 12 bikes in 2024", "b a", "the"]
WORDS = ["--variant", "fp32", "--max-length", "9"]


@pytest.fixture(scope="module")
def t5(text_model_made: Callable[[str], Any]) -> Path:
    folder: Path = text_model_made("T5").folder
    return folder


@pytest.fixture(scope="module")
def nllb(text_model_made: Callable[[str], Any]) -> Path:
    folder: Path = text_model_made("NLLB").folder
    return folder


@pytest.fixture(scope="module")
def expected(t5: Path) -> list[str]:
    """What the pipeline says of each of LINES alone."""
    rewriter = TextToText(Model.from_pretrained(t5, threads=1), fields={"max_length": 9})
    said = [rewriter(line)[0]["generated_text"] if line else "" for line in LINES]
    assert len(set(said)) > 4
    return [text.strip() for text in said]


@pytest.fixture
def run(t5: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `fuseline text --model FOLDER ...` with this standard input: exit status, output, errors."""

    def text(*arguments: object, stdin: bytes | None = None, model: Path = t5) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", _Input(stdin))
        status = cli.main(["text", "--model", str(model), *WORDS, *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, "".join(line for line in err.splitlines(keepends=True) if not line.startswith(NOTICE))

    return text


class _Input:
    """Standard input that a program has put in its place."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


def written(path: Path, lines: Sequence[str], end: str = "\n") -> Path:
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode())
    return path


@pytest.mark.parametrize("options", [[], ["--batch", "1"], ["--batch", "3"], ["--batch", "50"], ["--stream"]], ids=str)
def test_a_line_in_a_line_out(run: Run, tmp_path: Path, expected: list[str], options: list[str]) -> None:
    texts = written(tmp_path / "texts.txt", LINES)
    assert run(*options, texts) == (0, "".join(f"{text}\n" for text in expected), "")


def test_files_and_standard_input_in_order(run: Run, tmp_path: Path, expected: list[str]) -> None:
    first, second = written(tmp_path / "1", LINES[:2]), written(tmp_path / "2", LINES[5:])
    stdin = "\n".join(LINES[2:5]).encode()
    assert run(first, "-", second, stdin=stdin)[1].splitlines() == expected
    assert run(stdin=stdin)[1].splitlines() == run("-", stdin=stdin)[1].splitlines() == expected[2:5]


FORMS = {
    "no end after the last": ("\n".join(LINES)).encode(),
    "as Windows writes them": ("".join(f"{line}\r\n" for line in LINES)).encode(),
    "with a mark before": ("".join(f"{line}\n" for line in LINES)).encode("utf-8-sig"),
    "spaces on an empty line": "\n".join(line or " \t " for line in LINES).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_lines(run: Run, expected: list[str], form: str) -> None:
    assert run(stdin=FORMS[form]) == (0, "".join(f"{text}\n" for text in expected), "")


def test_more_lines_than_a_window(run: Run, tmp_path: Path, expected: list[str]) -> None:
    many = written(tmp_path / "many", LINES * 12)
    assert run("--batch", "2", many)[1].splitlines() == expected * 12


def test_json_is_an_object_a_line(run: Run, t5: Path, tmp_path: Path, expected: list[str]) -> None:
    texts = written(tmp_path / "texts.txt", LINES)
    status, out, err = run("--json", texts)
    objects = [json.loads(line) for line in out.splitlines()]
    assert (status, err, [found["line"] for found in objects]) == (0, "", list(range(1, len(LINES) + 1)))
    names = {"file", "line", "text", "finish_reason", "score", "milliseconds", "variant"}
    assert all(set(found) == names and found["file"] == str(texts) for found in objects)
    assert [found["text"].strip() for found in objects] == expected
    assert (objects[3]["text"], objects[3]["finish_reason"], objects[3]["score"]) == ("", None, None)
    model = Model.from_pretrained(t5, threads=1)
    alone = model.generate(model.inputs([LINES[0]]), num_beams=4, max_length=9)
    assert objects[0]["score"] == float(alone.sequences_scores[0])
    assert objects[0]["finish_reason"] == alone.finish_reasons[0]
    assert all(found["milliseconds"] > 0 for found in objects if found["text"])


BROKEN = {
    b"\xff\xfe": "is no UTF-8 at byte 1; save it as UTF-8",
    "naïve".encode("latin-1"): "is no UTF-8 at byte 3; save it as UTF-8",
    b"a\0b": "has a NUL at character 2, which is no text; leave it out",
    b"a" * (LONGEST + 1): "has 1,048,577 bytes, and a line may have 1,048,576; cut it into shorter ones",
    b"word " * 2_000_000: "has 10,000,000 bytes, and a line may have 1,048,576; cut it into shorter ones",
}


@pytest.mark.parametrize("options", [[], ["--json"], ["--stream"], ["--batch", "1"]], ids=str)
def test_broken_lines_are_named_and_the_rest_is_done(
    run: Run, tmp_path: Path, expected: list[str], options: list[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_bytes(b"\n".join([LINES[0].encode(), *BROKEN, LINES[1].encode()]) + b"\n")
    status, out, err = run(*options, texts)
    sentences = [f"{texts}, line {number} {wrong}" for number, wrong in enumerate(BROKEN.values(), 2)]
    assert (status, err.splitlines()) == (2, [f"fuseline: {sentence}" for sentence in sentences])
    if "--json" not in options:
        assert out.splitlines() == [expected[0], *[""] * len(BROKEN), expected[1]]
        return
    first, *broken, last = map(json.loads, out.splitlines())
    assert (first["text"], last["text"], last["line"]) == (expected[0], expected[1], len(BROKEN) + 2)
    assert broken == [{"file": str(texts), "line": at, "error": each} for at, each in enumerate(sentences, 2)]


@pytest.mark.parametrize("form", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_named_once(run: Run, tmp_path: Path, form: str) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_bytes("\ufeffBonjour\n".encode(form))
    assert run(texts) == (2, "", f"fuseline: {texts} is a text in UTF-16; save it as UTF-8\n")


def test_a_line_that_is_too_long_for_the_model(run: Run, nllb: Path) -> None:
    long = " ".join(LINES * 4)
    stdin = f"{LINES[0]}\n{long}\n{LINES[1]}\n".encode()
    languages = ("--from", "fra_Latn", "--to", "deu_Latn")
    status, out, err = run(*languages, stdin=stdin, model=nllb)
    assert (status, err.count("\n"), out.split("\n")[1]) == (2, 1, "")
    assert re.match(
        r"fuseline: standard input, line 2 has \d+ tokens, 2 of them the model's own, and 70 fit; .*--truncate cut it$",
        err,
    )
    status, whole, err = run(*languages, "--truncate", stdin=stdin, model=nllb)
    assert (status, err) == (0, "")
    translator = TextToText(Model.from_pretrained(nllb, threads=1), "translation", fields={"max_length": 9})
    said = translator([LINES[0], long, LINES[1]], src_lang="fra_Latn", tgt_lang="deu_Latn", truncation=True)
    assert whole.splitlines() == [each["translation_text"].strip() for each in said]
    assert [*out.splitlines()[::2]] == whole.splitlines()[::2]


def test_languages_of_a_model_that_is_told_by_a_prefix(run: Run, t5: Path) -> None:
    """config.json of T5 has the task translation_en_to_de."""
    translator = TextToText(Model.from_pretrained(t5, threads=1), "translation_en_to_de", fields={"max_length": 9})
    found = translator(LINES[0])[0]["translation_text"]
    stdin = LINES[0].encode()
    assert run("--from", "en", "--to", "de", stdin=stdin)[1].split() == found.split()
    assert run(stdin=stdin)[1].split() != found.split()
    status, out, err = run("--from", "en", "--to", "fr", stdin=stdin)
    assert (status, out) == (2, "")
    assert "so en and fr cannot be chosen; its tasks are translation_en_to_de" in err


def test_options_reach_the_search(run: Run, t5: Path) -> None:
    model = Model.from_pretrained(t5, threads=1)
    for arguments, fields in (
        (["--num-beams", "1"], {"num_beams": 1, "max_length": 9}),
        (["--max-length", "5"], {"max_length": 5}),
        (["--threads", "1", "--device", "cpu"], {"max_length": 9}),
    ):
        expected = TextToText(model, fields=fields)(LINES[0])[0]["generated_text"]
        assert run(*arguments, stdin=LINES[0].encode())[1].split() == expected.split()


REFUSED: list[tuple[list[str], str]] = [
    (
        ["/no/such/file"],
        "there is no file '/no/such/file'; give a file that has a text a line, or - for standard input",
    ),
    (["."], ". is a folder; give a file that has a text a line"),
    ([""], "there is no file ''; give"),
    (["--batch", "0"], "--batch must be a whole number from 1 to"),
    (["--num-beams", "0"], "--num-beams must be a whole number of at least 1"),
    (["--max-length", "1"], "--max-length must be more than that, not 1"),
    (["--from", "en"], "--from and --to go together: give both, or none"),
    (["--model", "/no/such/folder"], "there is no model folder /no/such/folder"),
    (["--json", "--stream"], "not allowed with argument"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED, ids=str)
def test_what_can_do_nothing_is_said_once(run: Run, arguments: list[str], sentence: str) -> None:
    status, out, err = run(*arguments, stdin=b"a\nb\n")
    assert (status, err.count("\n")) == (2, 1)
    assert out == "" or set(json.loads(out)) == {"error"}
    assert err.startswith("fuseline: ") and sentence in err


def test_no_input(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "fuseline: there is no line in standard input; give a text a line\n"
    assert run(stdin=b"") == run("--stream", stdin=b"") == (2, "", sentence)
    empty = written(tmp_path / "empty", [])
    assert run(empty, "--json")[2] == f"fuseline: there is no line in {empty}; give a text a line\n"
    monkeypatch.setattr(sys, "stdin", None)
    assert run()[2] == ("fuseline: standard input is closed, and texts are read from it; give a file, or < texts.txt\n")


def test_languages_are_needed_and_known(run: Run, nllb: Path) -> None:
    for arguments, sentence in (
        ([], "this model translates, so --from and --to must say which languages; it knows ace_Arab, "),
        (["--from", "french", "--to", "deu_Latn"], "'french' is no language of this model; did you mean "),
        (["--from", "fra_Latn", "--to", "deu_Lat"], "'deu_Lat' is no language of this model; did you mean deu_Latn"),
    ):
        status, out, err = run(*arguments, stdin=b"a\nb\n", model=nllb)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert sentence in err


def test_models_of_other_tasks(run: Run, t5: Path, tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(stdin=b"a", model=tiny_path)
    assert (status, out) == (2, "")
    assert "reads photos and no texts, so fuseline text cannot use it; pipeline(" in err and "fuseline caption" in err
    assert cli.main(["caption", "--model", str(t5), "a.jpg", "b.jpg"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "reads texts and no photos, so fuseline caption cannot use it;" in err and "the command fuseline text" in err


def test_a_batch_that_fails_goes_line_by_line(
    run: Run, tmp_path: Path, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = Job.generate

    def narrow(job: Job, rows: Sequence[Any]) -> Any:
        if len(rows) > 1 or len(rows[0]) > 12:
            raise MemoryError
        return generate(job, rows)

    monkeypatch.setattr(Job, "generate", narrow)
    texts = written(tmp_path / "texts.txt", [*LINES, " ".join(LINES)])
    status, out, err = run(texts)
    failed = [number for number, text in enumerate(out.splitlines(), 1) if not text and number != 4]
    assert status == 2 and len(LINES) + 1 in failed and len(failed) < len(LINES)
    assert [text or "" for text in out.splitlines()][1] == expected[1]
    assert err.splitlines() == [
        f"fuseline: {texts}, line {number}: there is not enough memory for this; a smaller photo or model, or fewer "
        "beams, needs less"
        for number in failed
    ]


def test_a_length_that_nobody_chose_is_noted(t5: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    texts = written(tmp_path / "texts.txt", LINES)
    assert cli.main(["text", "--model", str(t5), "--variant", "fp32", "--num-beams", "1", str(texts)]) == 0
    out, err = capsys.readouterr()
    if max(len(line.split()) for line in out.splitlines()) > 100:
        assert err.count("a text ended after 256 new tokens") == 1 and "--max-length allows more" in err


def test_lines_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """Eight megabytes of lines, of which a few are held at a time."""
    many = tmp_path / "many.txt"
    many.write_bytes(b"two dogs run on the beach\n" * 300_000)
    tracemalloc.start()
    try:
        assert sum(1 for line in read([str(many)]) if line) == 300_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# As a program ---------------------------------------------------------------------------------------


def command(folder: Path, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "fuseline", "text", "--model", str(folder), *WORDS, *map(str, arguments)]


@pytest.fixture
def started(t5: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program, with pipes that stay open."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # Where the tests themselves run in the background of a script, SIGINT is ignored, and children would inherit that.
    with subprocess.Popen(
        command(t5), **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    ) as process:
        yield process
        process.kill()


def tell(process: subprocess.Popen[bytes], *lines: str) -> None:
    assert process.stdin
    process.stdin.write("".join(f"{line}\n" for line in lines).encode())
    process.stdin.flush()


def test_lines_are_answered_as_they_come(started: subprocess.Popen[bytes], expected: list[str]) -> None:
    assert started.stdout
    for line, text in zip(LINES, expected, strict=True):
        tell(started, line)
        assert started.stdout.readline().decode() == f"{text}\n"
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (0, b"")
    assert [line for line in err.decode().splitlines() if not line.startswith(NOTICE)] == []


def test_interrupting_leaves_what_is_there(started: subprocess.Popen[bytes], expected: list[str]) -> None:
    assert started.stdout
    tell(started, *LINES[:2])
    assert [started.stdout.readline().decode() for _ in range(2)] == [f"{text}\n" for text in expected[:2]]
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (130, b"")
    assert [line for line in err.decode().splitlines() if not line.startswith(NOTICE)] == []


def test_a_closed_pipe_is_quiet(t5: Path, tmp_path: Path) -> None:
    many = written(tmp_path / "many", LINES * 2000)
    with subprocess.Popen(command(t5, many), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        err = process.stderr.read().decode()
        assert [line for line in err.splitlines() if not line.startswith(NOTICE)] == []


def test_a_named_pipe_is_read(t5: Path, tmp_path: Path, expected: list[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(command(t5, tmp_path / "pipe"), stdout=subprocess.PIPE) as process:
        written(tmp_path / "pipe", LINES)
        out, _ = process.communicate(timeout=120)
    assert (process.returncode, out.decode().splitlines()) == (0, expected)


@pytest.mark.parametrize("options", [[], ["--stream"]], ids=str)
def test_what_a_terminal_shows(t5: Path, tmp_path: Path, expected: list[str], options: list[str]) -> None:
    texts = written(tmp_path / "texts.txt", LINES)
    with Screen(command(t5, *options, texts), 200, cwd=tmp_path) as shown:
        assert shown.wait() == 0
        assert shown.rows[: len(expected)] == expected
        bars = [row for shot in shown.shots for row in shot if re.search(r"\d/7\b", row)]
        assert bool(bars) == (not options)


def test_a_score_is_that_of_the_line_alone(run: Run, t5: Path, tmp_path: Path) -> None:
    texts = written(tmp_path / "texts.txt", LINES)
    together, alone = (
        [json.loads(line)["score"] for line in run("--json", "--batch", batch, texts)[1].splitlines()]
        for batch in (8, 1)
    )
    assert together == alone
    assert np.isfinite([score for score in together if score is not None]).all()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" 10\u00a0000 \u20ac\u3000! ", "10\u00a0000 \u20ac\u3000!"),
        ("two\r\n\u2028lines\n", "two lines"),
        ("\u05e9\u200f\u064a\u200c\u061c so\u00adft", "\u05e9\u200f\u064a\u200c\u061c so\u00adft"),
        ("a\x1b[2J\u202eb", "a\\x1b[2J\\u202eb"),
    ],
)
def test_a_text_stays_as_it_is_but_for_what_moves_the_cursor(
    text: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal().lines([on_one_line(text)])
    pieces = [Event(0, (), letter, "", None) for letter in text]
    show(pieces, Terminal().out, on_one_line=on_one_line)
    assert capsys.readouterr().out == f"{line}\n" * 2
