"""Whisper and Moonshine in folders of optimum and transformers.js: the same tokens as transformers, or one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("optimum.exporters.onnx")

import torch
from onnxruntime.quantization import quantize_dynamic

from fuseline import Model, pipeline
from fuseline.errors import FolderError, InputError
from fuseline.folders.open import open_folder
from fuseline.speech.options import SpeechOptions
from fuseline.speech.transcriber import Transcriber
from tests import foreign, small_whisper, speech_models, tiny, whisper_models

SHORT, LONG = 1.7, 5.3  # seconds; a window has 2


class Made(NamedTuple):
    """A model of transformers, its folder by optimum, and fuseline's own folder of it."""

    reference: Any
    export: Path
    own: Path


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("whisper")
    own, reference, _ = small_whisper.exported(root)
    return Made(reference, foreign.speech_exported(reference, root / "source", root / "export"), own)


@pytest.fixture(scope="module")
def moonshine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, list[tuple[int, ...]]]]:
    """A Moonshine's folder by optimum, and what transformers says of each of six clips, by the number of beams."""
    root, reference = tmp_path_factory.mktemp("moonshine"), speech_models.speech_model("moonshine, even", 0)
    source = speech_models.write_checkpoint(reference, root / "source")
    inputs = [speech_models.batch(reference, [sound]) for sound in speech_models.clips(6, 0)]
    texts = {}
    for beams in (1, 4):
        options = {"num_beams": beams, "max_length": tiny.MAX_LENGTH}
        rows = [speech_models.generate(reference, each, **options).numpy()[0] for each in inputs]
        texts[beams] = [tiny.ended(row, speech_models.END) for row in rows]
        assert len(set(texts[beams])) > 3
    return foreign.speech_exported(reference, source, root / "export"), texts


def clip(seconds: float, seed: int) -> dict[str, Any]:
    return {"array": whisper_models.sound(seconds, seed), "sampling_rate": 16_000}


def said(transcriber: Transcriber, sound: dict[str, Any], **options: Any) -> list[list[int]]:
    """The tokens of each segment."""
    return [list(each.tokens) for each in transcriber.transcribe(sound, SpeechOptions(**options))]


def theirs(made: Made, transcriber: Transcriber, sound: dict[str, Any], **options: Any) -> list[list[int]]:
    """The same by transformers' generate, of fuseline's features."""
    log_mel: Any = transcriber._features
    features = log_mel([sound["array"]])["input_features"]
    if len(sound["array"]) > log_mel.samples:
        from fuseline.inputs.audio import open_sound

        windows = log_mel.windows(open_sound(sound))
        features = windows.at(0, windows.frames)[None]
        options["return_timestamps"] = True
    torch.manual_seed(0)
    found = made.reference.generate(torch.from_numpy(features), return_segments=True, **options)
    return [each["tokens"].tolist() for each in found["segments"][0]]


@pytest.fixture(scope="module")
def expected() -> dict[str, list[list[int]]]:
    """What transformers said, which is the same for every layout."""
    return {}


@pytest.mark.parametrize("layout", foreign.LAYOUTS)
@pytest.mark.parametrize("place", ["", "onnx/"])
def test_every_layout_says_what_transformers_says(
    whisper: Made, expected: dict[str, list[list[int]]], tmp_path: Path, layout: str, place: str
) -> None:
    folder = foreign.laid_out(whisper.export, layout, tmp_path / "model", place)
    transcriber = Transcriber(Model.from_pretrained(folder, threads=1))
    assert transcriber.model.task == "automatic-speech-recognition"
    heard = set()
    for seconds, seed in ((SHORT, 1), (SHORT, 2), (LONG, 3)):
        for beams in (1, 5):
            for options in ({}, {"return_timestamps": True, "language": "de"}):
                sound = clip(seconds, seed)
                found, asked = said(transcriber, sound, num_beams=beams, **options), f"{seed} {beams} {options}"
                if asked not in expected:
                    expected[asked] = theirs(whisper, transcriber, sound, num_beams=beams, **options)
                assert found == expected[asked]
                heard.add(str(found))
    assert len(heard) > 5  # else the comparison shows little


def test_pipelines_say_what_they_say_of_an_own_folder(whisper: Made) -> None:
    """Files, chunks that go through the decoder together, and the language that is heard."""
    ours, own = (pipeline("automatic-speech-recognition", folder) for folder in (whisper.export, whisper.own))
    for keywords in ({}, {"chunk_length_s": 1.6, "batch_size": 3}, {"return_timestamps": True}):
        assert ours(clip(LONG, 4), **keywords) == own(clip(LONG, 4), **keywords)
    heard, expected = (
        Transcriber(each.model).transcription(clip(SHORT, 5), SpeechOptions(language="auto")) for each in (ours, own)
    )
    assert heard.language == expected.language is not None


def test_variants_are_chosen_by_their_suffixes(whisper: Made, tmp_path: Path) -> None:
    folder = foreign.laid_out(whisper.export, "with past", tmp_path / "model", "onnx/")
    for path in [*folder.glob("onnx/decoder*.onnx")]:  # the encoder stays as it is
        quantize_dynamic(path, path.with_name(f"{path.stem}_int8.onnx"))
    assert list(open_folder(folder).variants) == ["fp32", "int8"]
    logits = {}
    for variant in ("fp32", "int8"):
        model = Model.from_pretrained(folder, variant, threads=1)
        encoded = model.encode(model.inputs([clip(SHORT, 1)]))
        state = model.decoder.start(encoded, 1, 4)
        for tokens in ([[5, 9]], [[7]]):
            logits[variant] = model.decoder.step(state, np.array(tokens), None)
    difference = np.abs(logits["int8"] - logits["fp32"]).max()
    assert 0 < difference < 0.3 * np.abs(logits["fp32"]).max()  # 8 bits, one scale for a tensor


def test_words_are_refused_where_the_graph_gives_no_weights(whisper: Made) -> None:
    transcriber = Transcriber(Model.from_pretrained(whisper.export, threads=1))
    expected = (
        r"times of words need a .*decoder_model_merged.onnx has no outputs cross_attentions.0 to cross_attentions.1;"
    )
    with pytest.raises(InputError, match=expected):
        said(transcriber, clip(SHORT, 1), return_timestamps="word")


@pytest.mark.parametrize("layout", ["merged", "no cache"])
def test_words_are_found_by_weights_that_the_graph_gives(whisper: Made, tmp_path: Path, layout: str) -> None:
    source = whisper.own.parent / "source"
    export = foreign.speech_exported(whisper.reference, source, tmp_path / "export", weights=True)
    folders = foreign.laid_out(export, layout, tmp_path / "model"), whisper.own
    models = [Model.from_pretrained(folder, threads=1) for folder in folders]
    for seconds, seed in ((SHORT, 1), (LONG, 3)):
        found, expected = (
            [
                [(word.text, word.start, word.end) for word in segment.words]
                for segment in Transcriber(model).transcribe(
                    clip(seconds, seed), SpeechOptions(return_timestamps="word", language="en")
                )
            ]
            for model in models
        )
        assert found == expected and any(found)
    inputs = models[0].inputs([clip(SHORT, 1), clip(SHORT, 2)])
    options = {"num_beams": 3, "max_length": 9, "output_attentions": True}
    weights = [model.generate(inputs, **options).cross_attentions for model in models]
    np.testing.assert_allclose(weights[0], weights[1], atol=2e-5)


@pytest.mark.parametrize("layout", foreign.LAYOUTS)
def test_moonshine_says_what_transformers_says(
    moonshine: tuple[Path, dict[int, list[tuple[int, ...]]]], tmp_path: Path, layout: str
) -> None:
    """One clip at a time, and in batches where the decoder is told of the padding."""
    export, texts = moonshine
    model = Model.from_pretrained(foreign.laid_out(export, layout, tmp_path / "model"), threads=1)
    sounds, ends = speech_models.clips(6, 0), model.generation_config.ends
    assert ends == (speech_models.END,)
    for beams, expected in texts.items():
        options = {"num_beams": beams, "max_length": tiny.MAX_LENGTH}
        for size in (1, 3):
            found = [
                tiny.ended(row, *ends)
                for first in range(0, 6, size)
                for row in model.generate(model.inputs(sounds[first : first + size]), **options).sequences
            ]
            assert found == expected
    heard = pipeline("automatic-speech-recognition", model)({"array": sounds[0], "sampling_rate": 16_000})
    assert heard["text"]


def change(name: str, **values: Any) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        file = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({key: each for key, each in (file | values).items() if each is not None}))

    return changed


def processor_alone(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "WhisperProcessor"}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no preprocessor": (
        lambda f: (f / "preprocessor_config.json").unlink(),
        "has no preprocessor_config.json; copy it from the model that the graphs were made of; it says how photos or",
    ),
    "a processor alone": (processor_alone, "has no feature_extractor in it, so how speech is to be prepared is not"),
    "another extractor": (
        change("preprocessor_config.json", feature_extractor_type="Speech2TextFeatureExtractor"),
        "feature_extractor_type is 'Speech2TextFeatureExtractor'; it must be WhisperFeatureExtractor",
    ),
    "no positions": (change("config.json", max_source_positions=None), "says nothing of max_source_positions"),
    "heads": (change("config.json", decoder_attention_heads=2), "must be float32[R, 2, positions, 16]"),
    "of photos": (
        change("config.json", model_type="vision-encoder-decoder"),
        "preprocessor_config.json: image_processor_type is",
    ),
    "of samples": (
        change("config.json", model_type="moonshine"),
        "feature_extractor_type is 'WhisperFeatureExtractor'; it must be Wav2Vec2FeatureExtractor",
    ),
    "alignment heads": (
        change("generation_config.json", alignment_heads=[[7, 0]]),
        "alignment_heads is [[7, 0]] and must be",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_not_understood_is_refused_in_one_sentence(whisper: Made, tmp_path: Path, name: str) -> None:
    damage, expected = DAMAGES[name]
    folder = foreign.laid_out(whisper.export, "merged", tmp_path / "model")
    damage(folder)
    with pytest.raises(FolderError) as caught:
        Transcriber(Model.from_pretrained(folder, threads=1))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
