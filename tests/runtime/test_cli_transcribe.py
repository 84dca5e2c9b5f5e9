"""The command `fuseline transcribe`: it prints and writes what the transcriber says of the voices in a sound."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import InputError, Model, cli
from fuseline.arrays import Float32
from fuseline.cli import terminal
from fuseline.cli import transcribe as transcribe_command
from fuseline.inputs.audio import open_sound
from fuseline.outputs.subtitles import subtitles
from fuseline.speech.live import live
from fuseline.speech.options import SpeechOptions
from fuseline.speech.pauses import OfVoices, Stretches
from fuseline.speech.segments import Segment, Transcription
from fuseline.speech.transcriber import Transcriber
from tests.sounds import wav
from tests.voices import RATE, speech, white

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests import whisper_models

Run = Callable[..., tuple[int, str, str]]
NOTICE = "fuseline: note: fuseline runs on the portable operators"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Whisper of several languages, whose windows are of a few seconds."""
    return whisper_models.exported(True, tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def moonshine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests import exported_folders

    return exported_folders.speech("moonshine", tmp_path_factory.mktemp("moonshine"))


@pytest.fixture(scope="module")
def talk() -> Float32:
    """A voice, four seconds in which nobody speaks, another voice."""
    silence = np.zeros(4 * RATE, np.float32)
    return np.concatenate([speech(2, 1), silence, speech(1, 2, pitch=190), silence]) + white(11, -70)


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `fuseline transcribe --model FOLDER ...`: exit status, output, errors.

    At the first temperature alone: random weights pass no threshold.
    """
    monkeypatch.setitem(transcribe_command._CAREFULLY, "temperature", (0.0,))

    def transcribe(*arguments: object, stdin: bytes | None = None, model: Path | None = folder) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", _Input(stdin))
        chosen = [] if model is None else ["--model", str(model)]
        status = cli.main(["transcribe", *chosen, "--threads", "1", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, "".join(line for line in err.splitlines(keepends=True) if not line.startswith(NOTICE))

    return transcribe


class _Input:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


def write(path: Path, samples: Float32) -> Path:
    path.write_bytes(wav(samples))
    return path


def said(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    return found


def test_pauses_do_not_reach_the_model_and_times_are_those_of_the_sound(
    run: Run, talk: Float32, tmp_path: Path
) -> None:
    status, out, err = run("--json", write(tmp_path / "talk.wav", talk))
    found = said(out)
    assert status == 0
    assert found["duration"] == 11.0
    left_out = [(each["start"], each["end"]) for each in found["segments"] if each["dropped"] == "no voice"]
    assert len(left_out) == 2
    assert np.allclose(left_out, [(2.3, 5.7), (7.3, 11)], atol=0.15)
    starts = [each["start"] for each in found["segments"]]
    assert starts == sorted(starts)
    spoken = [each for each in found["segments"] if each["dropped"] != "no voice"]
    assert spoken
    for each in spoken:
        inside = all(each["end"] <= start + 0.01 or each["start"] >= end - 0.01 for start, end in left_out)
        assert inside or (each["start"] < left_out[0][0] and each["end"] > left_out[0][1])
    assert "left out of the text (no voice" in err


def test_without_the_detector_it_is_what_the_transcriber_says(
    run: Run, folder: Path, talk: Float32, tmp_path: Path
) -> None:
    path = write(tmp_path / "talk.wav", talk)
    found = said(run("--json", "--vad", "off", path)[1])
    options = SpeechOptions(
        language="auto",
        return_timestamps=True,
        compression_ratio_threshold=1.35,
        logprob_threshold=-1.0,
        no_speech_threshold=0.6,
        drop_silence=True,
        drop_loops=True,
        seed=0,
    )
    expected = Transcriber(Model.from_pretrained(folder, threads=1)).transcription(open_sound(path), options)
    assert found["text"] == expected.text
    assert found["language"] == expected.language
    assert [each["tokens"] for each in found["segments"]] == [list(each.tokens) for each in expected.segments]


@pytest.mark.parametrize("format", ["txt", "srt", "vtt", "tsv", "json"])
def test_formats_printed_and_in_files(run: Run, talk: Float32, tmp_path: Path, format: str) -> None:
    path = write(tmp_path / "talk.wav", talk)
    status, out, _ = run("--format", format, path)
    assert status == 0
    status, names, _ = run("--format", format, "--output-dir", tmp_path / "made" / "here", path)
    made = tmp_path / "made" / "here" / f"talk.{format}"
    assert (status, names) == (0, f"{made}\n")
    assert made.read_text("utf-8") == out
    assert [each.name for each in made.parent.iterdir()] == [made.name]


def test_all_formats_of_several_sounds(run: Run, talk: Float32, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.wav", talk), write(tmp_path / "two.wav", talk[: 3 * RATE])
    status, out, _ = run("--format", "all", "--output-dir", tmp_path / "out", one, two)
    names = [f"{stem}.{format}" for stem in ("one", "two") for format in ("txt", "srt", "vtt", "tsv", "json")]
    assert status == 0
    assert out.splitlines() == [str(tmp_path / "out" / name) for name in names]
    record = json.loads((tmp_path / "out" / "two.json").read_text())
    kept = [Segment(**{**each, "tokens": (), "words": (), "times": ()}) for each in record["segments"]]
    said = Transcription(record["text"], tuple(kept), record["language"], record["duration"])
    assert (tmp_path / "out" / "two.txt").read_text() == subtitles(said, "txt")


def test_what_cannot_be_read_is_named_and_the_rest_is_done(run: Run, talk: Float32, tmp_path: Path) -> None:
    good, text = write(tmp_path / "good.wav", talk), tmp_path / "text.wav"
    text.write_text("this is no sound")
    status, out, err = run(tmp_path / "nothing.wav", good, text)
    alone = run(good)[1].splitlines()
    assert status == 2
    assert out.splitlines() == [f"{good}: {line}" for line in alone]
    assert "nothing.wav: there is no such file" in err
    assert "text.wav" in err.replace("nothing.wav", "")
    objects = [json.loads(line) for line in run("--json", text, good)[1].splitlines()]
    assert [set(each) >= {"file", "error"} for each in objects] == [True, False]


def test_standard_input_and_raw_samples(run: Run, talk: Float32, tmp_path: Path) -> None:
    path = write(tmp_path / "talk.wav", talk)
    expected = said(run("--json", path)[1])["text"]
    assert said(run("--json", "-", stdin=path.read_bytes())[1])["text"] == expected
    raw = path.read_bytes()[44:]
    assert said(run("--json", "--raw", RATE, "-", stdin=raw + b"x")[1])["text"] == expected
    (tmp_path / "talk.raw").write_bytes(raw)
    assert said(run("--json", "--raw", RATE, tmp_path / "talk.raw")[1])["text"] == expected
    assert "there are no samples" in run("--raw", RATE, "-", stdin=b"")[2]


def test_silence_gives_nothing(run: Run, tmp_path: Path) -> None:
    for name, sound in {"zeros": np.zeros(5 * RATE, np.float32), "noise": white(20, -40)}.items():
        status, out, err = run(write(tmp_path / f"{name}.wav", sound))
        assert (status, out) == (0, "")
        assert f"1 part, {len(sound) // RATE} s, left out of the text (no voice); -v lists them" in err
        err = run("-v", tmp_path / f"{name}.wav")[2]
        assert f"0.0 to {len(sound) / RATE:.1f} s left out, no voice" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "there is no sound to transcribe"),
        (["--format", "all", "a.wav"], "say where by --output-dir"),
        (["--format", "ass", "a.wav"], "--format must be txt, srt, vtt, tsv, json or all, not 'ass'"),
        (["--format", "srt", "a.wav", "b.wav"], "several sounds make several srt files"),
        (["--output-dir", "o", "a.wav", "x/a.mp3"], "a.wav and x/a.mp3 would both become a.txt"),
        (["--json", "--format", "srt", "a.wav"], "--json prints objects"),
        (["--stream", "--words", "a.wav"], "--words needs sounds that have ended"),
        (["--words", "a.wav"], "--words changes nothing of txt, which has no times of words; add --format srt, vtt or"),
        (["--words", "--format", "tsv", "a.wav"], "--words changes nothing of tsv"),
        (["--output-dir=", "a.wav"], "--output-dir is empty; give it a folder, or . for the current one"),
        (["--model=", "a.wav"], "a model's path is empty"),
        (["--stream", "--format", "srt", "a.wav"], "print a text as it is spoken"),
        (["--raw", "12", "a.raw"], "--raw must be from 1,000 to 768,000"),
        (["-", "-"], "- is given twice"),
        ([""], "'' names no sound"),
        (["--microphone", "a.wav"], "--microphone listens to the microphone alone"),
        (["--language", "klingon", "a.wav"], "klingon"),
        (["--num-beams", "0", "a.wav"], "--num-beams"),
    ],
)
def test_what_does_not_go_together(run: Run, arguments: Sequence[str], sentence: str) -> None:
    status, out, err = run(*arguments)
    assert status == 2
    assert not out or list(said(out)) == ["error"]
    assert sentence in err
    assert err.count("\n") == 1


def test_what_is_heard_never_replaces_a_sound(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path / "talk.txt", white(1, -40)).read_bytes()
    (tmp_path / "link.wav").symlink_to("talk.txt")
    os.link(tmp_path / "talk.txt", tmp_path / "hard.srt")
    (tmp_path / "link.vtt").symlink_to("talk.txt")
    for arguments in (
        ("--output-dir", ".", "talk.txt"),
        ("--output-dir", ".", "--format", "all", "link.wav"),
        ("--output-dir", tmp_path, "--format", "srt", "./hard.srt"),
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert "would be written over it; give --output-dir another folder, or the sound another name" in err
        assert err.count("\n") == 1
    assert (tmp_path / "talk.txt").read_bytes() == data
    assert run("--output-dir", "elsewhere", "talk.txt")[0] == 0
    os.link(tmp_path / "talk.txt", tmp_path / "standard-input.txt")
    with open("talk.txt") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert "-: standard-input.txt would be written over it" in run("--output-dir", ".", "-")[2]


def test_objects_name_the_model(run: Run, folder: Path, tmp_path: Path) -> None:
    assert said(run("--json", write(tmp_path / "talk.wav", white(1, -40)))[1])["model"] == folder.name


def test_the_one_that_is_used_of_several_models_and_the_language(
    run: Run, folder: Path, talk: Float32, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note on a terminal, or with -v; elsewhere nothing."""
    monkeypatch.setenv("FUSELINE_DATA", str(tmp_path))
    for name in ("whisper-base", "whisper-tiny.en"):
        shutil.copytree(folder, tmp_path / "models" / name)
    path = write(tmp_path / "talk.wav", talk)
    sentence = "note: the model is whisper-base; --model takes another, such as whisper-tiny.en\n"
    assert "the model is" not in run(path, model=None)[2]
    assert sentence in run("-v", path, model=None)[2]
    monkeypatch.setattr(terminal.Stream, "isatty", lambda self: True)
    monkeypatch.setattr(terminal.Stream, "moves", lambda self: False)
    err = run(path, model=None)[2]
    assert sentence in err
    assert "note: the language that is heard is " in err
    err = run("--language", "de", path, model=Path("whisper-tiny.en"))[2]
    assert "note: the" not in err


def test_ctrl_c_before_anything_was_heard_writes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object) -> Iterator[Segment]:
        yield Segment(0.0, 1.0, "", (), 0.0, 0.0, 0.0, 0.0, dropped="no voice")
        raise KeyboardInterrupt

    monkeypatch.setattr(OfVoices, "__iter__", interrupted)
    path = write(tmp_path / "talk.wav", white(1, -40))
    status, out, err = run("--format", "all", "--output-dir", tmp_path / "out", path)
    assert (status, out) == (130, "")
    assert "interrupted before anything was heard; nothing is written" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_standard_input_without_samples_fails_while_it_is_heard_too(run: Run) -> None:
    status, out, err = run("--stream", "--raw", RATE, "-", stdin=b"")
    assert (status, out) == (2, "")
    assert "standard input: there are no samples in it" in err


def test_a_microphone_that_cannot_be_heard_is_said_before_a_model_is_opened(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    status, _, err = run("--microphone")
    assert status == 2
    assert "--microphone needs the package sounddevice, which is missing; install it with pip install" in err
    assert err.count("\n") == 1


def test_without_a_model_it_says_the_command(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUSELINE_DATA", str(tmp_path))
    status, _, err = run("a.wav", model=None)
    assert status == 2
    assert "`fuseline get whisper-tiny.en`" in err


def test_a_model_of_photos_is_refused(run: Run, tiny_path: Path, talk: Float32, tmp_path: Path) -> None:
    status, _, err = run(write(tmp_path / "talk.wav", talk), model=tiny_path)
    assert status == 2
    assert "reads photos and no speech" in err


def test_moonshine_hears_clips_between_pauses(run: Run, moonshine: Path, talk: Float32, tmp_path: Path) -> None:
    path = write(tmp_path / "talk.wav", talk)
    found = said(run("--json", path, model=moonshine)[1])
    kept = [(each["start"], each["end"]) for each in found["segments"] if each["dropped"] != "no voice"]
    assert np.allclose(kept, [(0, 2), (6, 7)], atol=0.15)
    assert run("--words", path, model=moonshine)[0] == 2


def test_a_stream_prints_what_live_commits(run: Run, folder: Path, talk: Float32, tmp_path: Path) -> None:
    stream = live(Model.from_pretrained(folder, threads=1), options=SpeechOptions(language="de"))
    told = [each for at in range(0, len(talk), 8000) for each in stream.feed(talk[at : at + 8000])] + stream.finish()
    assert stream.text == "".join(each.text for each in told)
    assert sum(each.pause for each in told) >= 2
    status, out, _ = run("--stream", "--language", "de", write(tmp_path / "talk.wav", talk))
    assert status == 0
    assert len(out.splitlines()) <= sum(each.pause for each in told)


def test_words_are_refused_while_speech_goes_on(folder: Path) -> None:
    with pytest.raises(InputError, match="words have no times"):
        live(Model.from_pretrained(folder, threads=1), options=SpeechOptions(return_timestamps="word"))


def test_stretches_are_read_as_one_sound(talk: Float32) -> None:
    sound = open_sound(talk)
    parts = Stretches(sound, [(100, 5000), (70_000, 140_000), (170_000, 170_001)])
    expected = np.concatenate([talk[100:5000], talk[70_000:140_000], talk[170_000:170_001]])
    for start in (0, 1, 4899, 4900, 4901, 74_899, 74_900):
        found = np.concatenate([np.zeros((0, 1), np.float32), *parts.blocks(start)])[:, 0]
        assert np.array_equal(found, expected[start:])
    assert parts.frames == len(expected)
    assert parts.time(4900 / RATE) == 5000 / RATE
    assert parts.time(4901 / RATE) == 70_001 / RATE
    assert parts.time(0) == 100 / RATE
    assert parts.time(99) == 170_001 / RATE


def test_ctrl_c_prints_what_there_is(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", np.concatenate([speech(60, seed) for seed in range(5)]))
    command = [
        sys.executable,
        "-m",
        "fuseline",
        "transcribe",
        "--model",
        str(folder),
        "--threads",
        "1",
        "--json",
        str(path),
    ]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("it was faster than Ctrl-C")
    assert process.returncode == 130, err
    if out:  # it came after the first segments
        assert said(out.decode())["interrupted"] is True


def test_of_voices_knows_language_and_duration(folder: Path, talk: Float32) -> None:
    transcriber = Transcriber(Model.from_pretrained(folder, threads=1))
    told: list[float] = []
    running = OfVoices(transcriber, open_sound(talk), SpeechOptions(language="de"), progress=told.append)
    assert list(running)
    assert (running.language, running.duration) == ("de", 11.0)
    assert told == sorted(told)
    assert told[-1] <= 11.0
