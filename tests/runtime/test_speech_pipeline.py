"""pipeline("automatic-speech-recognition") against transformers' of that name, on the same checkpoints: equal as whole
results, but for ends that are None or after the sound, and languages, which transformers 4.57 does not know."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model, pipeline
from fuseline.errors import Cancelled, Error, InputError
from fuseline.migrating.copied_calls import PIPELINE, SPEECH, TABLE
from fuseline.pipelines import TASKS
from fuseline.pipelines.speech_recognition import SpeechRecognition
from fuseline.speech.chunks import Marks, bounded
from fuseline.speech.segments import Transcription
from fuseline.speech.vocabulary import Vocabulary
from tests import sounds

torch = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

from tests import small_whisper, speech_models, whisper_models  # noqa: E402

TASK = "automatic-speech-recognition"
RATE = 16_000
SHORT, LONG = 1.1, 5.7  # seconds; a window has 2


class Both:
    """Pipelines of both on one model."""

    def __init__(self, folder: Path, theirs: Any) -> None:
        self.theirs = theirs
        self.ours: SpeechRecognition = pipeline(TASK, Model.from_pretrained(folder, threads=1))

    def say(self, samples: Any, **keywords: Any) -> tuple[Any, Any]:
        """What both say of one sound, within it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = self.theirs(samples.copy(), **keywords)
        if "chunks" in theirs:
            theirs["chunks"] = bounded(theirs["chunks"], len(samples) / RATE)
        return self.ours(samples, **keywords), theirs


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder, model, tokenizer = small_whisper.exported(tmp_path_factory.mktemp("whisper"))
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    theirs = transformers.pipeline(TASK, model=model, tokenizer=tokenizer, feature_extractor=extractor, device="cpu")
    return Both(folder, theirs)


@pytest.fixture(scope="module")
def moonshine(tmp_path_factory: pytest.TempPathFactory) -> Both:
    from fuseline.export import export

    root, model = tmp_path_factory.mktemp("moonshine"), speech_models.speech_model("moonshine", 0)
    source = speech_models.write_checkpoint(model, root / "source")
    export(source, root / "folder")
    theirs = transformers.pipeline(TASK, model=str(source), device="cpu")
    return Both(root / "folder", theirs)


ENGLISH = {"generate_kwargs": {"language": "en"}}
OPTIONS = transformers.GenerationConfig(num_beams=2, max_new_tokens=20)
CALLS: list[dict[str, Any]] = [
    {},
    {"return_timestamps": True},
    {"return_timestamps": "word", **ENGLISH},
    {"generate_kwargs": {"language": "german", "task": "translate", "num_beams": 1}},
    {"generate_kwargs": {"num_beams": 2, "length_penalty": 0.5, "max_new_tokens": 9}, "return_timestamps": True},
    {"num_beams": 3, "language": "ja", "return_timestamps": True},
    {"generate_kwargs": {"prompt_ids": torch.tensor([415, 220, 71, 68])}, "return_timestamps": True},
    {"generation_config": OPTIONS},
]
CHUNKED: list[dict[str, Any]] = [
    {"chunk_length_s": 2},
    {"chunk_length_s": 1.8, "stride_length_s": 0.25, "batch_size": 3},
    {"chunk_length_s": 1.6, "stride_length_s": (0.4, 0), "return_timestamps": True, "batch_size": 2},
    {"chunk_length_s": 2, "stride_length_s": [0.25, 0.5], "return_timestamps": True, **ENGLISH},
    {"chunk_length_s": 1.5, "return_timestamps": "word", "batch_size": 2, **ENGLISH},
    {"chunk_length_s": 2, "ignore_warning": True, "generate_kwargs": {"num_beams": 1}},
]


@pytest.mark.parametrize("keywords", CALLS, ids=str)
def test_results_of_short_sounds_equal_transformers(whisper: Both, keywords: dict[str, Any]) -> None:
    ours, theirs = whisper.say(whisper_models.sound(SHORT, 1), **keywords)
    assert ours == theirs


def test_texts_vary(whisper: Both) -> None:
    """Or the comparisons show nothing."""
    for options in ({"return_timestamps": True}, {}, {"generate_kwargs": {"num_beams": 1}}):
        texts = {whisper.ours(whisper_models.sound(SHORT, seed), **options)["text"] for seed in range(4)}
        assert len(texts) > 1 and max(map(len, texts)) > 10


def test_timestamps_asked_of_generation_are_in_no_result(whisper: Both) -> None:
    """transformers leaves them out where generation_config.json has return_timestamps."""
    samples = whisper_models.sound(LONG, 3)
    found = whisper.ours(samples, generate_kwargs={"return_timestamps": True})
    assert found == {"text": whisper.ours(samples, return_timestamps=True)["text"]}


@pytest.mark.parametrize("keywords", [each for each in CALLS if "return_timestamps" in each], ids=str)
def test_results_of_long_sounds_equal_transformers(whisper: Both, keywords: dict[str, Any]) -> None:
    ours, theirs = whisper.say(whisper_models.sound(LONG, 3), **keywords)
    assert ours == theirs
    assert ours["chunks"]


@pytest.mark.parametrize("keywords", CHUNKED, ids=str)
def test_results_of_chunks_equal_transformers(whisper: Both, keywords: dict[str, Any]) -> None:
    ours, theirs = whisper.say(whisper_models.sound(LONG, 4), **keywords)
    assert ours == theirs and ours["text"]


def test_batches_change_nothing(whisper: Both) -> None:
    given = [whisper_models.sound(seconds, seed) for seed, seconds in enumerate((SHORT, 0.5, LONG, 2.0, SHORT))]
    for keywords in ({}, {"return_timestamps": True}, {"chunk_length_s": 1.5}, {"return_timestamps": "word"}):
        alone = [whisper.ours(samples, **keywords) for samples in given]
        for size in (2, 5):
            assert whisper.ours(given, batch_size=size, **keywords) == alone
        assert list(whisper.ours(iter(given), batch_size=2, **keywords)) == alone


def test_iterators_are_read_as_they_go(whisper: Both) -> None:
    read = []

    def several() -> Iterator[Any]:
        for seed in range(5):
            read.append(seed)
            yield whisper_models.sound(1.0, seed)

    results = whisper.ours(several(), batch_size=2)
    assert read == []
    next(results)
    assert read == [0, 1]


def test_a_language_is_named(whisper: Both) -> None:
    samples = whisper_models.sound(SHORT, 1)
    for keywords in ({"chunk_length_s": 1.5}, {}, {"return_timestamps": True}, {"return_timestamps": "word"}):
        found = whisper.ours(samples, return_language=True, generate_kwargs={"language": "de"}, **keywords)
        assert {each["language"] for each in found["chunks"]} == {"german"}
        assert ("timestamp" in found["chunks"][0]) == ("return_timestamps" in keywords)
    heard = whisper.ours(samples, return_language=True)
    assert heard["chunks"][0]["language"] and heard["text"] == whisper.ours(samples)["text"]
    theirs = whisper.theirs(samples.copy(), return_language=True, generate_kwargs={"language": "de"})
    assert {each["language"] for each in theirs["chunks"]} == {None}, "transformers knows it now: take it from there"


def test_words_of_languages_without_spaces(whisper: Both) -> None:
    samples = whisper_models.sound(SHORT, 1)
    counts = [
        len(whisper.ours(samples, return_timestamps="word", generate_kwargs={"language": code})["chunks"])
        for code in ("ja", "en")
    ]
    assert counts[0] > 1


def test_long_sounds_without_timestamps_have_a_text(whisper: Both) -> None:
    """transformers refuses them."""
    samples = whisper_models.sound(LONG, 3)
    found = whisper.ours(samples)
    assert list(found) == ["text"] and found["text"] == whisper.ours(samples, return_timestamps=True)["text"]


def test_every_form_of_a_sound_gives_the_same(whisper: Both, tmp_path: Path) -> None:
    samples = np.round(whisper_models.sound(SHORT, 2) * 2**15) / 2**15
    expected = whisper.ours(samples.astype(np.float32))
    assert expected["text"]
    path = tmp_path / "speech.wav"
    path.write_bytes(sounds.wav(samples))
    mapping = {"array": samples, "sampling_rate": RATE}
    for given in (path, str(path), path.read_bytes(), path.open("rb"), samples, mapping, {**mapping, "path": "x.wav"}):
        assert whisper.ours(given) == expected
    assert whisper.ours({"raw": samples, "sampling_rate": RATE, "id": 7}) == {**expected, "id": [7]}
    assert whisper.ours(torch.from_numpy(samples)) == expected
    halved = {"array": np.stack([samples, samples], axis=1), "sampling_rate": RATE}
    assert whisper.ours(halved) == expected


def test_pieces_joined_are_the_text(whisper: Both, moonshine: Both) -> None:
    for samples in (whisper_models.sound(SHORT, 2), whisper_models.sound(LONG, 2)):
        for keywords in (
            {},
            {"return_timestamps": True},
            {"chunk_length_s": 1.5},
            {"chunk_length_s": 1.5, "return_timestamps": True},
        ):
            pieces = list(whisper.ours(samples, stream=True, **keywords))
            assert "".join(pieces) == whisper.ours(samples, **keywords)["text"]
    begun = whisper.ours(whisper_models.sound(LONG, 2), stream=True, chunk_length_s=1.5, return_timestamps=True)
    assert next(begun)
    clip = speech_models.clips(1)[0]
    streaming = pipeline(TASK, moonshine.ours.model, stream=True)
    greedy = {"generate_kwargs": {"num_beams": 1}}  # of several beams little is certain before the end
    pieces = list(streaming(clip, **greedy))
    assert "".join(pieces) == moonshine.ours(clip, **greedy)["text"] and len(pieces) > 1


@pytest.mark.parametrize("keywords", [{}, {"generate_kwargs": {"num_beams": 1}}, {"max_new_tokens": 5}], ids=str)
def test_models_without_timestamps_equal_transformers(moonshine: Both, keywords: dict[str, Any]) -> None:
    texts = set()
    for samples in speech_models.clips(4, seed=2):
        ours, theirs = moonshine.say(samples, **keywords)
        assert ours == theirs
        texts.add(ours["text"])
    assert len(texts) > 1


def test_chunks_without_timestamps(moonshine: Both) -> None:
    """Equal where chunks do not overlap. Where they do transformers says twice what is in both, as it never comes to
    its own function that joins them; tests/runtime/test_chunks.py holds ours to that."""
    samples = np.concatenate(speech_models.clips(6, seed=1))
    ours, theirs = moonshine.say(samples, chunk_length_s=2, stride_length_s=0)
    assert ours == theirs and ours["text"]
    overlapping = {"chunk_length_s": 1.5, "stride_length_s": 0.5}
    alone = moonshine.ours(samples, **overlapping)
    assert alone == moonshine.ours(samples, batch_size=3, **overlapping)
    whole = moonshine.theirs(samples.copy(), **overlapping)["text"]
    assert alone["text"] != "" and len(alone["text"]) <= len(whole)


def test_all_that_is_known(whisper: Both, moonshine: Both) -> None:
    samples = whisper_models.sound(LONG, 3)
    done: list[float] = []
    found = whisper.ours.transcribe(samples, language="de", return_timestamps=True, progress=done.append)
    assert isinstance(found, Transcription)
    assert (found.language, found.duration) == ("de", pytest.approx(LONG, abs=0.01))
    expected = whisper.ours(samples, generate_kwargs={"language": "de"}, return_timestamps=True)
    whole = re.compile(r"[\x20-\x7e]")  # bytes that are no character, as random weights say, may be in two segments
    assert whole.findall(found.text) == whole.findall(expected["text"])
    assert all(each.avg_logprob < 0 and each.compression_ratio > 0 for each in found.segments)
    assert done[-1] == pytest.approx(LONG, abs=0.01) and done == sorted(done)
    words = whisper.ours.transcribe(samples, return_timestamps="word", generate_kwargs={"language": "en"})
    spoken = [word for segment in words.segments for word in segment.words]
    assert all(0 <= word.start <= word.end <= LONG and 0 < word.probability <= 1 for word in spoken) and spoken
    assert all(len(segment.times) == len(segment.tokens) for segment in words.segments)
    first = next(whisper.ours.segments(samples, return_timestamps=True))
    assert first.end <= LONG and first.text
    clip = speech_models.clips(1)[0]
    plain = moonshine.ours.transcribe(clip)
    assert plain.text == moonshine.ours(clip)["text"] and plain.language is None

    class Now:
        def is_set(self) -> bool:
            return True

    with pytest.raises(Cancelled):
        whisper.ours.transcribe(samples, cancel=Now())


def test_a_stream_is_heard(whisper: Both) -> None:
    listening = whisper.ours.live(8000, language="de")
    listening.feed(np.zeros(8000, np.float32))
    assert [each.text for each in listening.finish()] in ([], [""])


def test_marks_are_those_of_transformers(whisper: Both) -> None:
    marks = Marks.of(Vocabulary.of(whisper.ours.model))
    tokenizer = whisper.theirs.tokenizer
    assert marks.special == set(tokenizer.all_special_ids)
    assert marks.timestamps == tokenizer.convert_tokens_to_ids("<|0.00|>")
    assert marks.prompt == tokenizer.convert_tokens_to_ids("<|startofprev|>")
    assert marks.start == tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    found = {tokenizer.decode([token])[2:-2]: name for token, name in marks.languages.items()}
    assert found == {code: LANGUAGES[code] for code in found} and len(found) == 4


def test_options_of_the_pipeline_hold_for_its_calls(whisper: Both) -> None:
    samples, model = whisper_models.sound(LONG, 3), whisper.ours.model
    made = pipeline(
        TASK, model, chunk_length_s=1.5, return_timestamps=True, generate_kwargs={"language": "de"}, num_beams=2
    )
    expected = whisper.ours(
        samples, chunk_length_s=1.5, return_timestamps=True, generate_kwargs={"language": "de", "num_beams": 2}
    )
    assert made(samples) == expected
    assert made(samples, chunk_length_s=0) == whisper.ours(
        samples, return_timestamps=True, generate_kwargs={"language": "de", "num_beams": 2}
    )
    assert made.generation_config.num_beams == 2 and whisper.ours.generation_config.num_beams == 5
    assert pipeline(None, model)(samples) == whisper.ours(samples)
    assert TASK in TASKS and repr(made).startswith(f"<pipeline {TASK} of ")
    assert made.feature_extractor is model.inputs.features  # type: ignore[union-attr]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"return_timestamps": "char"}, "return_timestamps must be True, False or 'word', not 'char'"),
    ({"return_language": 1}, "return_language must be True or False, not 1"),
    ({"chunk_length_s": -1}, "chunk_length_s must be a number of seconds of at least 0, not -1"),
    ({"chunk_length_s": "30"}, "chunk_length_s must be a number of seconds of at least 0, not '30'"),
    ({"chunk_length_s": 0.01}, "chunk_length_s must be at least 1 s, or 0 for no chunks, not 0.01"),
    (
        {"chunk_length_s": 2, "stride_length_s": 0.99},
        "stride_length_s leaves 0.02 s of each chunk of 2 s; give",
    ),
    ({"stride_length_s": 0.5}, "stride_length_s is what chunks share; give chunk_length_s too, or leave it out"),
    ({"generate_kwargs": {"beam_size": 5}}, "beam_size is no option of speech; here it is num_beams"),
    ({"word_timestamps": True}, 'word_timestamps is no argument of .*; here it is return_timestamps="word"'),
    ({"generate_kwargs": {"word_timestamps": True}}, 'no option of speech; here it is return_timestamps="word"'),
    ({"chunk_length_s": 7}, "chunk_length_s=7 is more than the 2 s that this model reads at once"),
    ({"chunk_length_s": 1, "stride_length_s": 0.5}, "stride_length_s must be at least 0, and together less than chunk"),
    (
        {"stride_length_s": (1, 2, 3)},
        r"stride_length_s must be seconds, or those on the left and the right, not \(1, 2",
    ),
    ({"generate_kwargs": {"language": "klingon"}}, "language='klingon' is none that this model knows"),
    ({"generate_kwargs": {"num_beam": 2}}, "num_beam is no option of speech; did you mean num_beams"),
    (
        {"decoder_kwargs": {"beam_width": 3}},
        "decoder_kwargs=.* is not taken .*: it is of models trained by CTC",
    ),
    ({"src_lang": "de"}, "src_lang='de' is not taken by a speech pipeline's call: it is of pipelines that read texts"),
    ({"batch_size": 0}, "batch_size must be a whole number from 1"),
    ({"chunk_lenght_s": 3}, "chunk_lenght_s is no argument of a speech pipeline's call; did you mean chunk_length_s"),
]


@pytest.mark.parametrize(("keywords", "sentence"), REFUSED, ids=str)
def test_what_cannot_be_is_refused(whisper: Both, keywords: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        whisper.ours(whisper_models.sound(1.0), **keywords)


def test_sounds_that_cannot_be_are_named(whisper: Both) -> None:
    good = whisper_models.sound(1.0)
    with pytest.raises(InputError, match="there is no sound; give a path, bytes"):
        whisper.ours()
    with pytest.raises(InputError, match="sound 2: .*no such file"):
        whisper.ours([good, "nowhere.wav"])
    with pytest.raises(InputError, match="sound 2: "):
        whisper.ours([good, np.full(9000, np.nan, np.float32)])
    with pytest.raises(InputError, match="call it for each sound"):
        whisper.ours([good], stream=True)
    with pytest.raises(InputError, match='give "array"'):
        whisper.ours({"raw": good})
    with pytest.raises(InputError, match='"sampling_rate" of a mapping is None; give how many samples a second'):
        whisper.ours({"array": good, "sampling_rate": None})
    with pytest.raises(InputError, match="stride is of models that are trained by CTC"):
        whisper.ours({"raw": good, "sampling_rate": RATE, "stride": (1, 1)})


def test_models_of_other_tasks_are_refused(whisper: Both, moonshine: Both, tiny_path: Path) -> None:
    captioner = Model.from_pretrained(tiny_path, "fp32", threads=1)
    with pytest.raises(InputError, match=f"reads photos and no speech, so .*{TASK}.* the command fuseline caption can"):
        pipeline(TASK, captioner)
    with pytest.raises(InputError, match="reads speech and no photos, .*the command fuseline transcribe can"):
        pipeline("image-to-text", whisper.ours.model)
    with pytest.raises(InputError, match="reads speech and no texts"):
        pipeline("summarization", whisper.ours.model)
    with pytest.raises(InputError, match="the captioner that ships reads photos"):
        pipeline("summarization", None)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="beam_size is no option of speech; here it is num_beams"):
        moonshine.ours(speech_models.clips(1)[0], generate_kwargs={"beam_size": 5})
    with pytest.raises(InputError, match="it is of pipelines that read speech; leave it out"):
        pipeline("image-to-text", captioner, chunk_length_s=30)
    for keyword in (
        {"return_timestamps": True},
        {"return_language": True},
        {"generate_kwargs": {"return_timestamps": True}},
    ):
        with pytest.raises(InputError, match="needs a model of Whisper; this one says neither times nor languages"):
            moonshine.ours(speech_models.clips(1)[0], **keyword)
    with pytest.raises(InputError, match="language"):
        moonshine.ours(speech_models.clips(1)[0], generate_kwargs={"language": "de"})


def test_keywords_of_speech_are_known(whisper: Both) -> None:
    """Of every row of the table for calls of speech: a value that passes, or a sentence."""
    samples = whisper_models.sound(1.0)
    for row in TABLE:
        if SPEECH in row.calls:
            for name in row.names:
                whisper.ours(samples, **{name: None})
                with pytest.raises(Error, match=re.escape(name)):
                    whisper.ours(samples, **{name: object()})
        if PIPELINE in row.calls and SPEECH not in row.calls and row.instead.startswith("it is of pipelines that read"):
            assert "speech" in row.instead or "photos" in row.instead


def test_a_call_without_inputs_says_what_they_are(whisper: Both, moonshine: Both) -> None:
    with pytest.raises(InputError, match=r"input_features must be float32\[B, bands, frames\], as Model.inputs makes"):
        whisper.ours.model.generate(None)
    with pytest.raises(InputError, match=r"input_values must be float32\[B, samples\], as Model.inputs makes"):
        moonshine.ours.model.generate(None)
