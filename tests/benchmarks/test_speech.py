"""The benchmark of speech: clips of whole sounds, systems in processes of their own, and the page."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from benchmarks import speech, speech_page
from benchmarks.errors import BenchmarkError
from benchmarks.speech_clips import joined, write_clips
from benchmarks.speech_quality import read_aloud
from fuseline.export import export
from fuseline.export.quality.data import read_speech
from tests import sounds, speech_models


def test_clips_are_of_whole_sounds() -> None:
    long, short, middle = (
        np.full(count, value, np.float32) for count, value in ((90_000, 1), (30_000, 2), (50_000, 3))
    )
    clip = joined([long, short, middle], 100_000)
    assert len(clip) == 100_000
    assert [int((clip == value).sum()) for value in (1, 2, 3)] == [90_000, 0, 0]
    clip = joined([long, short, middle], 80_000)
    assert [int((clip == value).sum()) for value in (1, 2, 3)] == [0, 60_000, 0]
    assert not clip[30_000:38_000].any() and clip[38_000] == 2
    assert (joined([long], 1_000) == 1).all()


def test_clips_are_files_of_their_length(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sounds.wav(sounds.speech_like(20_000)))
    found = write_clips([tmp_path / "a.wav"], [1, 3], tmp_path / "out")
    for seconds, path in found.items():
        with wave.open(str(path)) as file:
            assert (file.getnframes(), file.getframerate(), file.getsampwidth()) == (16_000 * seconds, 16_000, 2)


def test_a_run_and_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small model, whose window is of two seconds, by the systems that need no environment of their own."""
    monkeypatch.setattr(speech, "STARTS", 1)
    source = speech_models.write_checkpoint(speech_models.speech_model("whisper, its end last", 0), tmp_path / "source")
    export(source, tmp_path / "folder", ["int8", "fp32"])
    (tmp_path / "a.wav").write_bytes(sounds.wav(speech_models.clips(1)[0]))
    clips = write_clips([tmp_path / "a.wav"], [1, 2], tmp_path / "clips")
    folders = {"fuseline int8": tmp_path / "folder", "fuseline fp32": tmp_path / "folder"}
    found = speech.measured(speech.Subject("tiny", folders, None), speech.Plan(clips, 1, 1))
    runs = ["1 s, 1 beam", "1 s, 5 beams", "2 s, 1 beam", "2 s, 5 beams"]
    for each in found.values():
        assert list(each["runs"]) == runs
        assert all(run["text"] and 0 < run["least"] <= run["ms"] for run in each["runs"].values())
        assert each["start"] > 0 and 0 < each["peak"] <= each["long peak"]
        assert all(each["parts"][part] > 0 for part in ("features", "encoder"))
    page = speech_page.page({"tiny": found}, 1, 1, speech.THREADS)
    assert "| model | system | 1 s, 1 beam | 1 s, 5 beams |" in page
    assert "| tiny | fuseline int8 as fuseline fp32 |" in page
    assert "## Times of fuseline over others" not in page


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"is no checkpoint: it has no config.json; give a folder of Whisper's"):
        speech.Subject.of(tmp_path, "en")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="sentences are read by espeak-ng")
def test_sentences_are_read_aloud(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Too short. " + "This one, however, has (some) seven words. " * 3)
    found = read_speech(read_aloud(tmp_path / "text", tmp_path / "read", 2))
    assert [clip.references for clip in found.items] == [("This one, however, has some seven words.",)] * 2
