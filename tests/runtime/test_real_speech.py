"""The pipeline of speech with real weights against transformers': where FUSELINE_SPEECH names a folder that holds
checkpoints in ckpt/ (tiny.en, base) and what was exported of them in folders/, and Debian's pocketsphinx-testdata its
clips."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model, pipeline
from fuseline.arrays import Float32
from fuseline.inputs.audio import load_audio, open_sound
from fuseline.pipelines.speech_recognition import SpeechRecognition
from fuseline.speech.chunks import bounded
from fuseline.speech.live import live
from fuseline.speech.options import SpeechOptions
from fuseline.speech.pauses import OfVoices
from fuseline.speech.transcriber import Transcriber

TASK = "automatic-speech-recognition"
CLIPS = sorted(Path("/usr/share/pocketsphinx/test/data/librivox").glob("*.wav"))
ROOT = Path(os.environ.get("FUSELINE_SPEECH", ""))
NAMES = [name for name in ("tiny.en", "base") if "FUSELINE_SPEECH" in os.environ and (ROOT / "folders" / name).is_dir()]

pytestmark = pytest.mark.skipif(not NAMES or not CLIPS, reason="no real weights, or no clips")
Say = Callable[[str, Any, dict[str, Any]], tuple[Any, Any]]


@pytest.fixture(scope="module")
def say() -> Say:
    transformers: Any = pytest.importorskip("transformers")

    @cache
    def both(name: str) -> tuple[SpeechRecognition, Any]:
        theirs = transformers.pipeline(TASK, model=str(ROOT / "ckpt" / name), device="cpu")
        return pipeline(TASK, Model.from_pretrained(ROOT / "folders" / name, "fp32")), theirs

    def say(name: str, samples: Any, keywords: dict[str, Any]) -> tuple[Any, Any]:
        ours, theirs = both(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = theirs(samples.copy(), **keywords)
        if "chunks" in expected:
            expected["chunks"] = bounded(expected["chunks"], len(samples) / 16_000)
        return ours(samples, **keywords), expected

    return say


def options(name: str, **more: Any) -> dict[str, Any]:
    return (
        more
        if name.endswith(".en")
        else {**more, "generate_kwargs": {"language": "en"} | more.get("generate_kwargs", {})}
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "keywords",
    [{}, {"return_timestamps": True}, {"return_timestamps": "word"}, {"generate_kwargs": {"num_beams": 1}}],
    ids=str,
)
def test_clips(say: Say, name: str, keywords: dict[str, Any]) -> None:
    for clip in CLIPS:
        ours, theirs = say(name, load_audio(clip), options(name, **keywords))
        assert ours == theirs, clip.name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "keywords",
    [
        {"return_timestamps": True},
        {"return_timestamps": "word"},
        {"chunk_length_s": 30, "batch_size": 2},
        {"chunk_length_s": 20, "stride_length_s": 3, "return_timestamps": True},
        {"chunk_length_s": 15, "return_timestamps": "word"},
    ],
    ids=str,
)
def test_all_clips_as_one(say: Say, name: str, keywords: dict[str, Any]) -> None:
    samples = np.concatenate([load_audio(clip) for clip in CLIPS])
    ours, theirs = say(name, samples, options(name, **keywords))
    assert ours == theirs


def apart(*seconds: float) -> Float32:
    """Three clips with so many seconds of silence before each of them, and after them."""
    clips = [load_audio(CLIPS[at]) for at in (1, 2, 4)]
    silent = [np.zeros(round(each * 16_000), np.float32) for each in seconds]
    return np.concatenate([part for pair in zip(silent, [*clips, silent[0][:0]], strict=True) for part in pair])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("silent", [(0, 15, 5, 10), (60, 3, 3, 5)])
def test_what_is_said_stays_within_the_voices(name: str, words: bool, silent: tuple[float, ...]) -> None:
    language = None if name.endswith(".en") else "en"
    options = SpeechOptions(language=language, return_timestamps="word" if words else True, drop_silence=True)
    transcriber = Transcriber(Model.from_pretrained(ROOT / "folders" / name, "fp32"))
    segments = list(OfVoices(transcriber, open_sound(apart(*silent)), options))
    spoken = [each for each in segments if each.dropped is None]
    said = [word for each in spoken for word in each.words] if words else spoken
    begins = np.cumsum([silent[0], 2.99 + silent[1], 5.3 + silent[2]])
    voices = [(at - 0.05, at + length + 0.05) for at, length in zip(begins, (2.99, 5.3, 3.29), strict=True)]
    for each in said:
        assert any(start <= each.start <= each.end <= end for start, end in voices), each
    for (start, end), first, last in zip(voices, ("he", "unless", "he"), ("man", "disposed", "himself"), strict=True):
        text = "".join(each.text for each in said if start <= each.start <= end).strip(" .,").lower()
        assert text.startswith(first) and text.endswith(last)
    for before, after in pairwise(segments):
        assert before.end <= after.start + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_loses_no_words(name: str) -> None:
    options = SpeechOptions(language=None if name.endswith(".en") else "en")
    stream = live(Model.from_pretrained(ROOT / "folders" / name, "int8"), options=options)
    pause = np.zeros(8_000, np.float32)
    samples = np.concatenate([part for clip in CLIPS[:2] for part in (load_audio(clip), pause)])
    for at in range(0, len(samples), 1600):
        stream.feed(samples[at : at + 1600])
    stream.finish()
    assert "do for them. He was not an" in stream.text
