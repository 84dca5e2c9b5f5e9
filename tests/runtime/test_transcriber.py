"""Transcriptions against transformers' own generate on the same weights and features, token for token.

Features are fuseline's on both sides; that they are those of transformers is the audio tests' to see.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model
from fuseline.errors import Cancelled, InputError
from fuseline.speech import window
from fuseline.speech.options import SpeechOptions
from fuseline.speech.segments import Segment
from fuseline.speech.transcriber import Transcriber

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests import whisper_models  # noqa: E402

Opened = Callable[[bool], Transcriber]
WINDOW = whisper_models.SECONDS * 16_000  # samples
SHORT, LONG = 3.3, 13.3  # seconds


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """The transcriber of several languages, or that of English, each made once."""

    @cache
    def make(multilingual: bool) -> Transcriber:
        folder = whisper_models.exported(multilingual, tmp_path_factory.mktemp("whisper"))
        return Transcriber(Model.from_pretrained(folder, threads=1))

    return make


def array(samples: Any) -> dict[str, Any]:
    """A sound as a call gives it."""
    return {"array": samples, "sampling_rate": 16_000}


def features(transcriber: Transcriber, samples: Any) -> Any:
    """What transformers' processor gives its generate: padded to a window, or the frames of a longer sound."""
    log_mel: Any = transcriber._features
    if len(samples) <= WINDOW:
        return torch.from_numpy(log_mel([samples])["input_features"])
    from fuseline.inputs.audio import open_sound

    windows = log_mel.windows(open_sound(array(samples)))
    return torch.from_numpy(windows.at(0, windows.frames)[None])


def theirs(transcriber: Transcriber, multilingual: bool, samples: Any, **options: Any) -> list[dict[str, Any]]:
    """The segments of transformers' generate."""
    reference = whisper_models.reference(multilingual)
    if "prompt_ids" in options:
        options["prompt_ids"] = torch.tensor(options["prompt_ids"])
    torch.manual_seed(0)
    if len(samples) > WINDOW:  # which their files' "false" forbids
        options["return_timestamps"] = True
    found = reference.generate(features(transcriber, samples), return_segments=True, **options)
    return [segment for segment in found["segments"][0] if "start" in segment]


def ours(transcriber: Transcriber, samples: Any, **options: Any) -> list[Segment]:
    return list(transcriber.transcribe(array(samples), SpeechOptions(**options)))


def assert_equal(found: list[Segment], expected: list[dict[str, Any]], seconds: float) -> None:
    kept = [segment for segment in found if segment.dropped is None]
    assert [list(segment.tokens) for segment in kept] == [segment["tokens"].tolist() for segment in expected]
    for name in ("start", "end"):
        times = [min(max(float(segment[name]), float(segment["start"])), seconds) for segment in expected]
        assert [getattr(segment, name) for segment in kept] == pytest.approx(times, abs=1e-9)


# Options, for a model of several languages.
SEVERAL: list[dict[str, Any]] = [
    {},
    {"return_timestamps": True},
    {"language": "german"},
    {"language": "<|fr|>", "task": "translate", "return_timestamps": True},
    {"task": "transcribe"},
    {"prompt_ids": [50361, 300, 301, 302]},
    {"prompt_ids": [300, 301, 302], "return_timestamps": True},
    {"length_penalty": 0.3, "repetition_penalty": 1.2, "language": "en"},
    {"max_new_tokens": 7, "return_timestamps": True},
    {"suppress_tokens": [5, 6], "begin_suppress_tokens": [7]},
]
# Options of sounds that are longer than a window.
WINDOWS: list[dict[str, Any]] = [
    {},
    {"condition_on_prev_tokens": True},
    {"prompt_ids": [50361, *range(300, 308)], "return_timestamps": True},
    {"prompt_ids": [50361, *range(300, 325)], "condition_on_prev_tokens": True},
    {
        "prompt_ids": [50361, 300, 301],
        "condition_on_prev_tokens": True,
        "prompt_condition_type": "all-segments",
        "language": "de",
    },
]


def beside_beams(options: list[dict[str, Any]]) -> list[Any]:
    """The options with 1 or 5 beams in turn, the first with both; all with both where slow tests run."""
    return [
        pytest.param(
            each, beams, marks=() if at == 0 or at % 2 == beams // 5 else pytest.mark.slow, id=f"{each}-{beams}"
        )
        for at, each in enumerate(options)
        for beams in (1, 5)
    ]


@pytest.mark.parametrize(("options", "beams"), beside_beams(SEVERAL))
def test_short_sounds_say_what_transformers_says(opened: Opened, options: dict[str, Any], beams: int) -> None:
    transcriber = opened(True)
    samples = whisper_models.sound(SHORT, 1)
    expected = theirs(transcriber, True, samples, num_beams=beams, **options)
    found = ours(transcriber, samples, num_beams=beams, **options)
    assert_equal(found, expected, SHORT)


@pytest.mark.parametrize(("options", "beams"), beside_beams(WINDOWS))
def test_long_sounds_say_what_transformers_says(opened: Opened, options: dict[str, Any], beams: int) -> None:
    transcriber = opened(True)
    samples = whisper_models.sound(LONG, 3)
    expected = theirs(transcriber, True, samples, num_beams=beams, **options)
    found = ours(transcriber, samples, num_beams=beams, **options)
    assert_equal(found, expected, LONG)
    assert len(found) >= 3


@pytest.mark.parametrize(
    ("timestamps", "beams", "seconds"), [(None, 1, LONG), (None, 5, SHORT), (True, 1, SHORT), (True, 5, LONG)]
)
def test_a_model_of_english_says_what_transformers_says(
    opened: Opened, timestamps: bool | None, beams: int, seconds: float
) -> None:
    transcriber = opened(False)
    samples = whisper_models.sound(seconds, 4)
    options = {"num_beams": beams, "return_timestamps": timestamps}
    found = ours(transcriber, samples, **options)
    assert_equal(found, theirs(transcriber, False, samples, **options), seconds)


@pytest.mark.parametrize("seconds", [0.1, 5.999, 6.0, 6.005, 6.01, 12.0])
def test_sounds_about_as_long_as_windows(opened: Opened, seconds: float) -> None:
    transcriber = opened(True)
    samples = whisper_models.sound(seconds, 5)
    options = {"return_timestamps": True, "language": "en"}
    found = ours(transcriber, samples, **options)
    assert_equal(found, theirs(transcriber, True, samples, **options), seconds)
    assert all(0 <= segment.start <= segment.end <= seconds for segment in found)


def test_texts_vary_and_have_timestamps(opened: Opened) -> None:
    """What the other tests stand on."""
    transcriber = opened(True)
    found = [segment for seed in range(4) for segment in ours(transcriber, whisper_models.sound(LONG, seed))]
    first = whisper_models.layout(True).no_timestamps + 1
    assert len({segment.tokens for segment in found}) > 12
    lengths = [sum(token < first for token in segment.tokens) for segment in found]
    assert 2 < np.mean(lengths) < 30
    assert sum(segment.tokens[0] >= first for segment in found) > 8


def measured(transcriber: Transcriber, multilingual: bool, samples: Any, **options: Any) -> list[float]:
    """The mean log-probability of each segment's window, by transformers' own functions."""
    reference = whisper_models.reference(multilingual)
    asked = {
        "return_dict_in_generate": True,
        "output_scores": True,
        "return_segments": True,
        "logprob_threshold": -99.0,
        "return_timestamps": True,
        "temperature": 0.0,
    }
    found = reference.generate(features(transcriber, samples), **asked, **options)
    averages = []
    for segment in found["segments"][0]:
        result = segment["result"]
        scores = result["scores"]
        tokens = result["sequences"][-len(scores) :] if "beam_indices" not in result else None
        if tokens is None:
            count = int((result["beam_indices"] >= 0).sum())
            prompt = len(result["sequences"]) - len(result["beam_indices"])
            tokens = result["sequences"][prompt : prompt + count]
        averages.append(float(reference._retrieve_avg_logprobs(list(scores), tokens, 0.0)))
    return averages


@pytest.mark.parametrize("beams", [1, 5])
def test_log_probabilities_are_those_of_transformers(opened: Opened, beams: int) -> None:
    transcriber = opened(True)
    samples = whisper_models.sound(LONG, 6)
    expected = measured(transcriber, True, samples, num_beams=beams, language="en")
    found = ours(transcriber, samples, num_beams=beams, language="en")
    assert [segment.avg_logprob for segment in found] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(
    ("multilingual", "beams", "places"), [(True, 1, (0, -1)), (False, 5, (0, -1)), (True, 5, (1,)), (False, 1, (1,))]
)
def test_thresholds_pass_over_the_windows_that_transformers_passes_over(
    opened: Opened, multilingual: bool, beams: int, places: tuple[int, ...]
) -> None:
    """Between the log-probabilities and the probabilities of silence that the windows have, in these places."""
    transcriber = opened(multilingual)
    samples = whisper_models.sound(LONG, 7)
    plain = ours(transcriber, samples, num_beams=beams)
    logprobs = sorted({segment.avg_logprob for segment in plain})
    silences = sorted({segment.no_speech_prob for segment in plain})
    assert len(logprobs) > 2 and len(silences) > 2
    passed = 0
    for at in (place % (len(logprobs) - 1) for place in places):
        options = {
            "num_beams": beams,
            "logprob_threshold": (logprobs[at] + logprobs[at + 1]) / 2,
            "no_speech_threshold": (silences[0] + silences[1]) / 2,
            "temperature": (0.0,),
        }
        found = ours(transcriber, samples, **options)
        assert_equal(found, theirs(transcriber, multilingual, samples, **options), LONG)
        passed += sum(segment.dropped == "no speech" for segment in found)
    assert passed


def test_a_window_that_went_wrong_is_drawn_at_the_next_temperature(opened: Opened) -> None:
    """With top_k=1 only one token can be drawn, so transformers draws the same."""
    transcriber = opened(True)
    samples = whisper_models.sound(LONG, 8)
    plain = ours(transcriber, samples)
    options = {
        "temperature": (0.0, 0.4, 0.8),
        "top_k": 1,
        "compression_ratio_threshold": float(np.median([segment.compression_ratio for segment in plain])),
        "condition_on_prev_tokens": True,
    }
    found = ours(transcriber, samples, **options)
    assert_equal(found, theirs(transcriber, True, samples, **options), LONG)
    assert {segment.temperature for segment in found} == {0.0, 0.8}


def test_segments_come_as_they_are_done_and_progress_with_them(opened: Opened) -> None:
    transcriber, told = opened(True), []
    samples = whisper_models.sound(LONG, 3)
    running = transcriber.transcribe(array(samples), progress=told.append)
    assert (running.language, told) == (None, [])
    first = next(running)
    assert running.language in whisper_models.LANGUAGES
    assert told == [0.0] and first.start < whisper_models.SECONDS
    rest = list(running)
    assert told == sorted(told) and told[-1] == pytest.approx(LONG) and len(told) > 3
    whole = transcriber.transcription(array(samples))
    assert whole.segments == (first, *rest)
    assert whole.text == "".join(segment.text for segment in whole.segments)
    assert (whole.language, whole.duration) == (running.language, pytest.approx(LONG))
    assert whole.chunks[0] == {"text": first.text, "timestamp": (first.start, first.end)}


def test_a_cancelled_transcription_ends_and_what_came_stands(opened: Opened) -> None:
    cancel = threading.Event()
    running = opened(True).transcribe(array(whisper_models.sound(LONG, 3)), cancel=cancel)
    assert next(running).tokens
    cancel.set()
    with pytest.raises(Cancelled, match="was cancelled"):
        for _ in range(50):  # more segments of the window that was done may come
            next(running)


def test_a_transcription_ends_when_its_time_is_over(opened: Opened) -> None:
    running = opened(True).transcribe(array(whisper_models.sound(60, 3)), SpeechOptions(max_time=0.05))
    found = list(running)
    assert running.out_of_time
    assert not found or found[-1].end < 59
    running = opened(True).transcribe(array(whisper_models.sound(SHORT, 3)), SpeechOptions(max_time=1000))
    assert list(running) and not running.out_of_time


def test_windows_in_which_nobody_speaks_are_left_out_by_themselves(opened: Opened) -> None:
    transcriber = opened(True)
    samples = whisper_models.sound(LONG, 7)
    plain = ours(transcriber, samples)
    between = float(np.median([segment.no_speech_prob for segment in plain]))
    found = ours(transcriber, samples, drop_silence=True, no_speech_threshold=between)
    dropped = [segment for segment in found if segment.dropped == "no speech"]
    assert dropped and all(segment.no_speech_prob > between and not segment.tokens for segment in dropped)
    assert all(segment.no_speech_prob <= between for segment in found if segment.dropped is None)


def test_windows_that_repeat_themselves_are_marked_where_that_is_asked_for(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "LOOP", 0.0)
    transcriber = opened(True)
    samples = whisper_models.sound(LONG, 8)
    plain = ours(transcriber, samples)
    between = float(np.median([segment.compression_ratio for segment in plain]))
    assert [segment.dropped for segment in ours(transcriber, samples, compression_ratio_threshold=between)] == [
        None for _ in plain
    ]
    found = ours(transcriber, samples, compression_ratio_threshold=between, drop_loops=True)
    assert [segment.tokens for segment in found] == [segment.tokens for segment in plain]
    assert [segment.dropped for segment in found] == [
        "loop" if segment.compression_ratio > between else None for segment in plain
    ]


def test_what_is_left_out_is_not_gone_on_from(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two windows the first is dropped, so the second says what it says without anything before it."""
    monkeypatch.setattr(window, "LOOP", 0.0)
    transcriber = opened(True)
    samples = whisper_models.sound(LONG, 8)
    plain = ours(transcriber, samples, language="en")
    options = {"condition_on_prev_tokens": True, "drop_loops": True, "language": "en"}
    found = ours(transcriber, samples, compression_ratio_threshold=0.01, **options)
    assert [segment.tokens for segment in found] == [segment.tokens for segment in plain]
    assert {segment.dropped for segment in found} == {"loop"}


def test_after_the_end_nothing_is_decoded_where_silence_is_left_out(opened: Opened) -> None:
    transcriber = opened(True)
    for seed in range(3):
        samples = whisper_models.sound(SHORT, seed)
        plain = ours(transcriber, samples, return_timestamps=True)
        found = ours(transcriber, samples, return_timestamps=True, drop_silence=True, no_speech_threshold=1.0)
        assert [segment.tokens for segment in found] == [segment.tokens for segment in plain[: len(found)]]
        assert all((segment.start >= SHORT) == (segment.dropped == "after the end") for segment in found)


def test_what_is_drawn_follows_from_the_seed(opened: Opened) -> None:
    transcriber = opened(True)
    samples = whisper_models.sound(SHORT, 1)
    drawn = [ours(transcriber, samples, temperature=1.5, seed=seed, num_beams=3) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0].temperature == 1.5


def test_hotwords_stand_after_the_token_of_what_was_said_before(opened: Opened) -> None:
    """The same as a prompt where nothing else is said before, and before the prompt where there is one."""
    transcriber = opened(True)
    samples = whisper_models.sound(LONG, 2)
    words, prompt = (transcriber.model.encode_text(text) for text in (" Rothko", " by night"))
    for options, ids in (({}, words), ({"prompt": "by night"}, [*words, *prompt])):
        found = ours(transcriber, samples, hotwords="Rothko", **options)
        assert found == ours(transcriber, samples, prompt_ids=[50361, *ids])
        assert found != ours(transcriber, samples, **options)


@pytest.mark.parametrize(
    ("multilingual", "options", "message"),
    [
        (False, {"language": "en"}, "language='en' was given to a model that knows English only"),
        (False, {"task": "translate"}, "task='translate' was given to a model that knows English only"),
        (True, {"language": "germn"}, r"language='germn' is none that this model knows; the nearest are german \(de\)"),
        (True, {"language": "xx"}, "language='xx' is none that this model knows"),
        (True, {"language": "yue"}, "language='yue' is none that this model knows"),
        (True, {"task": "summarize"}, "task='summarize' is none of this model's; give transcribe or translate"),
        (True, {"prompt": "a" * 70}, "prompt has 72 tokens and this model has room for"),
        (True, {"hotwords": "a" * 40}, "hotwords has 41 tokens and this model has room for 19"),
        (True, {"prompt": "so <|endoftext|> it is"}, "prompt holds <|endoftext|>, which is no text"),
        (True, {"prompt_ids": [60_000]}, "prompt_ids must be from 0 to 51864, not 60000"),
        (True, {"return_timestamps": False}, "lasts longer than a window of 6 s, and without timestamps nothing says"),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    opened: Opened, multilingual: bool, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        list(opened(multilingual).transcribe(array(whisper_models.sound(LONG)), SpeechOptions(**options)))


def test_languages_are_known_by_name_code_and_token(opened: Opened) -> None:
    transcriber = opened(True)
    samples = whisper_models.sound(SHORT)
    found = [ours(transcriber, samples, language=name) for name in ("German", "de", "<|de|>")]
    assert found[0] == found[1] == found[2]
    running = transcriber.transcribe(array(samples), SpeechOptions(language="castilian"))
    assert list(running) and running.language == "es"
    heard = ours(transcriber, samples, language="auto")
    assert heard == ours(transcriber, samples)


def test_a_model_that_reads_no_speech_is_refused(tiny_path: Path) -> None:
    with pytest.raises(InputError, match="reads photos and no speech"):
        Transcriber(Model.from_pretrained(tiny_path))
