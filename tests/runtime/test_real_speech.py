"""The pipeline of speech with real weights against transformers': where FUSELINE_SPEECH names a folder that holds
checkpoints in ckpt/ (tiny.en, base) and what was exported of them in folders/, and Debian's pocketsphinx-testdata its
clips."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model, pipeline
from fuseline.inputs.audio import load_audio
from fuseline.pipelines.speech_recognition import SpeechRecognition
from fuseline.speech.chunks import bounded

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
