"""The command line: most through main(argv), and as a program where a process of its own is what matters."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseline import FolderError, Model, cli, pipeline
from fuseline.cli.generating import opening_fields
from fuseline.cli.live import show
from fuseline.cli.streams import Stream
from fuseline.cli.terminal import Terminal
from fuseline.outputs.streaming import Event
from fuseline.version import __version__
from tests import tiny

Run = Callable[..., tuple[int, str, str]]
NOTICE = "fuseline: note: fuseline runs on the portable operators"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("cli"), seed=1, variants=("fp32", "int8"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder: b.jpg, a.PNG, sub/c.jpeg, and what is no photo."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("b.jpg", "a.PNG", "sub/c.jpeg", ".hidden.jpg"):
        pixels = random.integers(0, 256, (4, 5, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(pixels).save(root / name)
    (root / "notes.txt").write_text("no photo")
    return root


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `fuseline caption --model FOLDER ...`: exit status, output, errors without the notice about the kernels."""

    def caption(*arguments: object) -> tuple[int, str, str]:
        status = cli.main(["caption", "--model", str(folder), *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, "".join(line for line in err.splitlines(keepends=True) if not line.startswith(NOTICE))

    return caption


def expected(folder: Path, photo: Path, **fields: Any) -> str:
    text: str = pipeline("image-to-text", folder, generate_kwargs=fields)(photo)[0]["generated_text"]
    return text


def program(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuseline", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def test_one_photo_gives_its_text(run: Run, folder: Path, photos: Path) -> None:
    assert run(photos / "b.jpg") == (0, expected(folder, photos / "b.jpg") + "\n", "")


def test_several_photos_give_a_line_each(run: Run, folder: Path, photos: Path) -> None:
    named = [photos / "b.jpg", photos / "a.PNG"]
    status, out, err = run(*named)
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{photo}: {expected(folder, photo)}" for photo in named]


def test_a_folder_is_walked_in_order(run: Run, photos: Path) -> None:
    status, out, err = run(photos)
    assert (status, err) == (0, "")
    named = [line.split(": ")[0] for line in out.splitlines()]
    assert named == [str(photos / name) for name in ("a.PNG", "b.jpg", "sub/c.jpeg")]


def test_a_folder_of_one_photo_names_it(run: Run, photos: Path) -> None:
    assert run(photos / "sub")[1].startswith(f"{photos / 'sub' / 'c.jpeg'}: ")


def test_json_is_an_object_a_photo(run: Run, folder: Path, photos: Path) -> None:
    status, out, _ = run("--json", photos)
    objects = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert len(objects) == 3
    assert all(set(found) == {"file", "text", "finish_reason", "score", "milliseconds", "variant"} for found in objects)
    assert json.loads(run("--json", "--variant", "int8", photos / "a.PNG")[1])["variant"] == "int8"
    assert objects[0]["variant"] in ("fp32", "int8", "fp32 encoder, int8 decoder", "int8 encoder, fp32 decoder")
    model = Model.from_pretrained(folder)
    first = model.generate(model.image_processor([Image.open(photos / "a.PNG").convert("RGB")]))
    assert objects[0]["file"] == str(photos / "a.PNG")
    assert objects[0]["text"] == expected(folder, photos / "a.PNG")
    assert objects[0]["score"] == pytest.approx(float(first.sequences_scores[0]))
    assert objects[0]["milliseconds"] > 0


def test_options_reach_the_search(run: Run, folder: Path, photos: Path) -> None:
    photo = photos / "b.jpg"
    for arguments, fields in (
        (["--num-beams", "1"], {"num_beams": 1}),
        (["--max-length", "5"], {"max_length": 5}),
        (["--variant", "int8", "--threads", "1", "--device", "cpu"], {}),
    ):
        status, out, _ = run(*arguments, photo)
        assert status == 0
        if "int8" not in arguments:
            assert out.strip() == expected(folder, photo, **fields)
    assert len(run("--max-length", "5", photo)[1].split()) == 4


def test_streaming_prints_the_same(run: Run, folder: Path, photos: Path) -> None:
    photo = photos / "b.jpg"
    assert run("--stream", photo) == run(photo)
    assert run("--stream", photos, "--num-beams", "2") == run(photos, "--num-beams", "2")
    status, out, err = run("--stream", "--json", photo)
    assert (status, set(json.loads(out))) == (2, {"error"})
    assert "not allowed with argument" in err


class Watched(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_shown_what_is_tentative_and_then_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [("", "a dog"), ("a", " dog runs"), (" cat", ""), (" sits\n", "")]
    terminal = Watched()
    monkeypatch.setenv("TERM", "xterm")
    show([Event(0, (), text, tentative, None) for text, tentative in told], Stream(terminal), "x: ")
    dim = re.findall("\x1b\\[2m(.*?)\x1b", terminal.getvalue())
    assert dim == ["a dog", " dog runs"]
    left = re.sub("\x1b\\[2m.*?\x1b\\[0m\x1b\\[\\d+D|\x1b\\[J", "", terminal.getvalue())
    assert left == "x: a cat sits\n"


def test_an_interrupt_right_after_a_line_was_begun_leaves_it_in_the_line() -> None:
    class Interrupted(io.StringIO):
        def flush(self) -> None:  # where a signal is noticed once the text is out
            if self.getvalue() == "done\nx: ":
                raise KeyboardInterrupt

    stream = Stream(Interrupted())
    stream.write("done\n")
    assert not stream.in_line
    with pytest.raises(KeyboardInterrupt):
        stream.write("x: ")
    assert stream.in_line


def test_max_length_replaces_a_models_max_new_tokens(folder: Path, photos: Path, tmp_path: Path, run: Run) -> None:
    import hashlib

    other = Path(shutil.copytree(folder, tmp_path / "other"))
    content = json.dumps(json.loads((other / "generation_config.json").read_text()) | {"max_new_tokens": 12}).encode()
    (other / "generation_config.json").write_bytes(content)
    description = json.loads((other / "fuseline.json").read_text())
    description["files"]["generation_config.json"] = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (other / "fuseline.json").write_text(json.dumps(description))
    status, out, err = run("--model", other, "--max-length", "5", photos / "b.jpg")
    assert (status, len(out.split()), err) == (0, 4, "")


def test_the_other_photos_are_captioned_still(run: Run, folder: Path, photos: Path, tmp_path: Path) -> None:
    bad, empty = tmp_path / "bad.jpg", tmp_path / "empty.png"
    bad.write_bytes(b"no photo")
    empty.write_bytes(b"")
    (tmp_path / "nothing").mkdir()
    missing, nothing = tmp_path / "missing.jpg", tmp_path / "nothing"
    status, out, err = run(bad, photos / "b.jpg", missing, nothing, empty, photos / "a.PNG")
    assert status == 2
    assert out.splitlines() == [f"{photos / name}: {expected(folder, photos / name)}" for name in ("b.jpg", "a.PNG")]
    sentences = err.splitlines()
    assert len(sentences) == 4
    assert all(sentence.startswith("fuseline: ") for sentence in sentences)
    parts = ("bad.jpg", "missing.jpg", "no photo in this folder", "empty.png")
    for sentence, part in zip(sentences, parts, strict=True):
        assert part in sentence


def test_json_has_an_object_for_what_failed_in_its_place(run: Run, photos: Path, tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.jpg", tmp_path / "empty"
    empty.mkdir()
    status, out, err = run("--json", missing, photos / "b.jpg", empty)
    first, second, third = map(json.loads, out.splitlines())
    assert status == 2
    assert (first["file"], second["file"], third["file"]) == (str(missing), str(photos / "b.jpg"), str(empty))
    assert set(first) == set(third) == {"file", "error"}
    assert "error" not in second
    assert err.splitlines() == [f"fuseline: {first['error']}", f"fuseline: {third['error']}"]


@pytest.mark.parametrize(
    "words",
    [
        ["caption", "--model", "/no/such/folder", "x.jpg"],
        ["caption", "--num-beams", "four", "x.jpg"],
        ["caption"],
        ["evaluate", "--data", "/no/such.jsonl", "/no/such/folder"],
        ["quantize", "/no/such/folder"],
        ["export", "/no/such/folder", "/no/such/out"],
    ],
)
def test_json_of_a_command_that_can_do_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*words, "--json"]) == 2
    out, err = capsys.readouterr()
    assert err == f"fuseline: {json.loads(out)['error']}\n"


def fails_for(name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on reading the photo of that name raises the error."""
    from fuseline.inputs import prepared

    read = prepared.open_photo

    def open_photo(source: Any, **downloads: Any) -> Any:
        if str(source).endswith(name):
            raise error
        return read(source, **downloads)

    monkeypatch.setattr(prepared, "open_photo", open_photo)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            KeyError("x\x1b[2J"),
            "a fault of fuseline itself, please report it (KeyError: 'x\\x1b[2J'); FUSELINE_DEBUG=1 shows where it is",
        ),
        (RecursionError("too deep"), "a fault of fuseline itself, please report it (RecursionError: too deep); "),
        (MemoryError(), "there is not enough memory for this; a smaller photo or model, or fewer beams, needs less"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (ModuleNotFoundError("no", name="pillow_heif.x"), "this needs pillow_heif, which is missing; install it with"),
        (FolderError("the model is broken"), "the model is broken"),
    ],
)
def test_whatever_a_photo_raises_the_others_are_captioned(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, sentence: str
) -> None:
    fails_for("b.jpg", error, monkeypatch)
    status, out, err = run("--json", photos)
    objects = list(map(json.loads, out.splitlines()))
    assert (status, [set(found) & {"error"} for found in objects]) == (2, [set(), {"error"}, set()])
    assert err == f"fuseline: {objects[1]['error']}\n"
    where = "" if isinstance(error, FolderError) else f"{photos / 'b.jpg'}: "
    assert objects[1]["error"].startswith(where + sentence)


def test_a_fault_shows_where_it_is_when_asked(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_for("b.jpg", KeyError("x\x1b[2J"), monkeypatch)
    monkeypatch.setenv("FUSELINE_DEBUG", "1")
    status, out, err = run(photos)
    assert (status, out.count("\n")) == (2, 2)
    assert "Traceback (most recent call last):" in err
    assert "in open_photo" in err
    assert "\x1b" not in err


def test_what_nobody_foresaw_is_one_sentence_for_other_commands_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fuseline.folders.open.open_folder", lambda path: {}["no"])
    assert cli.main(["info", str(folder)]) == 2
    assert capsys.readouterr().err == (
        "fuseline: a fault of fuseline itself, please report it (KeyError: 'no'); FUSELINE_DEBUG=1 shows where it is\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--variant", "int4"], "no variant 'int4'; it has fp32, int8"),
        (["--device", "tpu"], "no device 'tpu' here; available: "),
        (["--threads", "0"], "--threads must be a whole number from 1"),
        (["--num-beams", "0"], "--num-beams must be a whole number of at least 1"),
        (["--max-length", "-3"], "--max-length must be a whole number of at least 1"),
        (["--model", "/no/such/folder"], "there is no model folder /no/such/folder"),
    ],
)
def test_wrong_options_are_said_once(run: Run, photos: Path, arguments: Sequence[str], sentence: str) -> None:
    status, out, err = run(photos, *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("fuseline: ")
    assert sentence in err


@pytest.mark.parametrize(
    "arguments", [[], ["caption"], ["caption", "x", "--num-beams", "four"], ["paint"], ["--x"], ["pa\x1b[2J\nint"]]
)
def test_wrong_use_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.fullmatch(r"fuseline: .+; see fuseline( caption)? --help\n", err)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["caption", "-dash.jpg"], "required: PHOTO; a file whose name begins with - is written as ./-dash.jpg; see"),
        (["caption", "-dash.jpg", "x.jpg"], "argument not known: -dash.jpg; a file whose name begins with - is"),
        (["caption", "--dash", "x.jpg"], "argument not known: --dash; a file whose name begins with - is"),
        (["caption", "-holiday.jpg"], "ignored explicit argument 'oliday.jpg'; a file whose name begins with - is"),
        (["caption", "x.jpg", "--num-beem=4"], "--num-beem=4; did you mean --num-beams instead of --num-beem; see"),
        (["caption", "x.jpg", "--bogus"], "fuseline: argument not known: --bogus; see fuseline caption --help\n"),
        (["info", "--model", "x"], "known: --model; MODEL stands by itself, without --model; see fuseline info --help"),
        (["quantize", "--folder", "x"], "FOLDER stands by itself, without --folder; see fuseline quantize --help"),
        (["info", "a", "b", "c"], "fuseline: arguments not known: b c; see fuseline info --help"),
        (["--dash"], "see fuseline --help"),
        (["a.jpg"], "fuseline caption a.jpg says what is on it; see fuseline --help"),
    ],
)
def test_wrong_use_is_told_what_would_be_right(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("--dash", "a.jpg"):
        Path(name).touch()
    assert cli.main(arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["A" * 90_000, "--" + "A" * 90_000, "-" + "A" * 90_000])
def test_a_long_argument_is_shortened(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["caption", argument]) == 2
    assert len(capsys.readouterr().err) < 400


@pytest.mark.parametrize("arguments", [["--help"], ["caption", "--help"], ["info", "--help"]])
def test_help_has_an_example(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 0
    assert re.search(r"example: fuseline (caption|info) \S", capsys.readouterr().out)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"fuseline {__version__}\n")


def test_info_shows_machine_and_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(folder)]) == 0
    out = capsys.readouterr().out
    for part in (__version__, "onnxruntime", "devices: cpu", "kernel library", str(folder.resolve())):
        assert part in out
    for part in (
        "auto uses ",
        "variant fp32, the default: ",
        "variant int8: ",
        "not measured",
        "onnx/encoder_model_int8.onnx",
    ):
        assert part in out


def test_info_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--json", str(folder)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fuseline"] == __version__
    assert found["cpu"]["cores"] >= 1
    assert "CPUExecutionProvider" in found["onnxruntime"]["providers"]
    assert "AzureExecutionProvider" not in found["onnxruntime"]["providers"]
    assert found["onnxruntime"]["devices"][0] == "cpu"
    assert found["model"]["license"] == {}
    assert found["model"]["auto"]["variant"] in ("fp32", "int8")  # of which only the decoder is in question
    variant = found["model"]["variants"]["int8"]
    assert not variant["default"]
    graphs = [folder / "onnx" / f"{part}_model_int8.onnx" for part in ("encoder", "decoder")]
    assert variant["bytes"] == sum(graph.stat().st_size for graph in graphs)


def test_info_shows_quality(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    description = json.loads((other / "fuseline.json").read_text())
    description["quality"] = {"int8": {"dataset": "flickr8k val", "BLEU-4": 0.2}}
    (other / "fuseline.json").write_text(json.dumps(description))
    assert cli.main(["info", str(other)]) == 0
    assert re.search(r"variant int8: .* MB; dataset flickr8k val, BLEU-4 0.2", capsys.readouterr().out)


def test_info_of_a_damaged_model_shows_the_machine_still(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert "onnxruntime" in out
    assert err.startswith("fuseline: ")
    assert "has no fuseline.json" in err
    assert cli.main(["info", "--json", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert "CPUExecutionProvider" in found["onnxruntime"]["providers"]
    assert err == f"fuseline: {found['error']}\n"


class _Input:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_a_photo_from_standard_input(run: Run, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Input((photos / "b.jpg").read_bytes()))
    assert run("-") == (0, expected(folder, photos / "b.jpg") + "\n", "")
    monkeypatch.setattr(sys, "stdin", _Input(b""))
    status, out, err = run("--json", "-")
    assert (status, json.loads(out)["file"]) == (2, "-")
    assert "empty" in err


def test_as_a_program(folder: Path, photos: Path) -> None:
    with (photos / "b.jpg").open("rb") as file:
        named = ("-", photos / "a.PNG", photos / "missing.jpg")
        done = program("caption", "--json", "--model", folder, *named, stdin=file)
    assert done.returncode == 2
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(name) for name in named]
    assert "missing.jpg" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def many(photos: Path, tmp_path: Path) -> Path:
    """So many photos that whatever happens happens before the end."""
    (tmp_path / "many").mkdir()
    for number in range(3000):
        os.link(photos / "b.jpg", tmp_path / "many" / f"{number:04}.jpg")
    return tmp_path / "many"


@pytest.fixture
def started(folder: Path, many: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that captions them and has printed its first line."""
    command = [sys.executable, "-m", "fuseline", "caption", "--model", str(folder), str(many)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # Where the tests themselves run in the background of a script, SIGINT is ignored, and children would inherit that.
    with subprocess.Popen(command, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(str(many).encode())
        yield process
        process.kill()


def test_interrupting_is_quiet(started: subprocess.Popen[bytes]) -> None:
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert [line for line in err.decode().splitlines() if not line.startswith(NOTICE)] == []


def test_a_closed_pipe_is_quiet(started: subprocess.Popen[bytes]) -> None:
    assert started.stdout
    assert started.stderr
    started.stdout.close()
    assert started.wait(timeout=60) == 141
    err = started.stderr.read().decode()
    assert [line for line in err.splitlines() if not line.startswith(NOTICE)] == []


def test_interrupting_at_any_moment_is_quiet(folder: Path, photos: Path) -> None:
    """From the first moment that is fuseline's on; what Python shows of its own beginning is not."""
    begin = "import sys; from fuseline.cli import interrupts; interrupts.take(); print(flush=True); "
    code = begin + "from fuseline.cli import main; sys.exit(main())"
    for number in range(12):
        command = [sys.executable, "-c", code, "caption", "--model", str(folder), str(photos)]
        with subprocess.Popen(
            [*command, *[str(photos)] * 500],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(0.05 + 0.06 * number)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert [line for line in err.decode().splitlines() if not line.startswith(NOTICE)] == []


def test_the_portable_operators_are_said_once(folder: Path, photos: Path) -> None:
    done = program("caption", "--model", folder, photos, env=os.environ | {"FUSELINE_KERNELS": "off"})
    assert done.returncode == 0
    assert done.stderr.count("portable operators") == done.stderr.count("\n") == 1


def test_warnings_are_notes(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    with terminal.noting_warnings():
        warnings.warn("fuseline runs on the portable operators: no compiler", RuntimeWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
        warnings.warn("a library is old", FutureWarning, stacklevel=1)
        terminal.note("another")
    assert capsys.readouterr().err.splitlines() == [
        "fuseline: note: fuseline runs on the portable operators: no compiler",
        "fuseline: note: another",
    ]


@pytest.mark.parametrize(
    ("words", "missing", "sentence"),
    [
        (["evaluate", "--data", "x", "y"], ("onnx",), "fuseline.export needs onnx"),
        (["quantize", "y"], ("onnx",), "fuseline.export needs onnx"),
        (["export", "x", "y"], ("onnx", "torch"), "fuseline.export needs onnx"),
    ],
)
def test_packages_that_are_missing(
    words: list[str],
    missing: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.startswith("fuseline.export")]:
        monkeypatch.delitem(sys.modules, name)
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err == f"fuseline: {sentence}, which is not installed; pip install {missing[0]}\n"
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--device", "tpu"], "there is no device 'tpu' here; available: cpu"),
        (["--device", "encoder=tpu,encoder=cpu"], "--device names encoder twice; give encoder=NAME,decoder=NAME"),
        (
            ["--device", "encoder=cpu,decoder=auto", "--fallback", "cpu"],
            "the device of the decoder is auto, which is for the whole model; name one device, or give auto alone",
        ),
        (["--device", "encoder=cpu"], 'device by part is {"encoder": ..., "decoder": ...}'),
        (["--device-option", "threads"], "--device-option must be KEY=VALUE, not 'threads'"),
        (["--device-option", "threads=1"], "device_options are of another device than cpu"),
        (["--device", "auto", "--device-option", "a=1"], "device_options are of a device that is named"),
    ],
)
def test_what_is_wrong_with_a_device_is_said(run: Run, photos: Path, options: list[str], sentence: str) -> None:
    status, out, err = run(photos / "b.jpg", *options)
    assert (status, out) == (2, "")
    assert sentence in err


def test_options_of_a_device_by_part_are_told_to_the_part_that_has_a_provider() -> None:
    given = argparse.Namespace(device_option=["htp_arch=73"], variant=None, threads=None, fallback=None)
    told = {"htp_arch": "73"}
    for device, by_part in [
        ("encoder=cpu,decoder=qnn", {"decoder": told}),
        ("encoder=qnn,decoder=qnn", {"encoder": told, "decoder": told}),
        ("qnn", told),
    ]:
        given.device = device
        assert opening_fields(given)["device_options"] == by_part


def test_what_a_providers_library_prints_is_none_of_the_output() -> None:
    """By C, which keeps it until there is a lot, and by the system's call; and when opening fails."""
    code = """if True:
        import ctypes, os, sys
        from fuseline.cli.generating import _output_kept

        for error in (None, KeyError):
            try:
                with _output_kept():
                    ctypes.CDLL(None).printf(b"by C\\n")
                    os.write(1, b"by a call\\n")
                    if error:
                        raise error
            except KeyError:
                pass
            print("a line")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a line\n" * 2
    assert sorted(done.stderr.splitlines()) == ["by C"] * 2 + ["by a call"] * 2


def test_the_cpu_by_part_and_instead_of_what_is_not_there(run: Run, photos: Path) -> None:
    expected = run(photos / "b.jpg", "--variant", "fp32")
    assert run(photos / "b.jpg", "--variant", "fp32", "--device", "encoder=cpu,decoder=cpu") == expected
    status, out, err = run(photos / "b.jpg", "--variant", "fp32", "--device", "tpu", "--fallback", "cpu")
    assert (status, out) == expected[:2]
    assert "note: there is no device 'tpu' here" in err
    assert "the CPU is used instead" in err
