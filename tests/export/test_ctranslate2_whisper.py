"""Whispers of CTranslate2 as a source of export: the reference is what ctranslate2 says of the same folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fuseline
from fuseline.errors import Error, ExportError
from fuseline.export import export

ctranslate2 = pytest.importorskip("ctranslate2")

from fuseline.export.ctranslate2.folder import read_binary_of  # noqa: E402
from fuseline.export.ctranslate2.whisper import whisper  # noqa: E402
from tests.ctranslate2_models import binary  # noqa: E402
from tests.ctranslate2_whisper import TIMES, TOKENS, tokenizer_json, vocabulary, whisper_folder  # noqa: E402

CLIPS = 6
BOUND = 2e-4  # of scores


def features(bands: int, count: int = CLIPS) -> np.ndarray:
    """float32[count, bands, 3000], which change with time as sounds do."""
    chance = np.random.default_rng(1)
    slow = chance.standard_normal((count, bands, 60)).repeat(50, axis=2)
    return (slow + 0.3 * chance.standard_normal((count, bands, 3000))).astype(np.float32)


def said(folder: Path, sounds: np.ndarray, prompt: list[int], beams: int) -> list[tuple[list[int], float]]:
    """What CTranslate2 says, and its score."""
    model = ctranslate2.models.Whisper(str(folder), compute_type="float32")
    given = ctranslate2.StorageView.from_array(sounds)
    found = model.generate(
        given, [prompt] * len(sounds), beam_size=beams, max_length=TOKENS, return_scores=True, length_penalty=1.0
    )
    return [(each.sequences_ids[0], each.scores[0]) for each in found]


def check_same(folder: Path, out: Path, bands: int = 80, *, beams: int = 1) -> None:
    """The tokens after a prompt without times are those of CTranslate2."""
    model, sounds = fuseline.Model.from_pretrained(out, "fp32"), features(bands)
    numbers = {token: at for at, token in enumerate(vocabulary(model.folder.generation_config["is_multilingual"]))}
    prompt = [numbers["<|startoftranscript|>"], numbers["<|notimestamps|>"]]
    expected = said(folder, sounds, prompt, beams)
    longest = max(len(tokens) for tokens, _ in expected)
    found = model.generate(
        {"input_features": sounds},
        decoder_input_ids=[prompt] * len(sounds),
        num_beams=beams,
        max_length=len(prompt) + longest,
        early_stopping=True,
    )
    end = numbers["<|endoftext|>"]
    texts = [[token for token in row[2:].tolist() if token != end] for row in found.sequences]
    assert [text[: len(tokens)] for text, (tokens, _) in zip(texts, expected, strict=True)] == [
        tokens for tokens, _ in expected
    ]
    assert len({tuple(text) for text in texts}) > CLIPS // 2


@pytest.mark.parametrize("quantization", [None, "float16", "int8", "int8_float16", "int16"])
def test_the_folder_says_what_ctranslate2_says(quantization: str | None, tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "model", quantization)
    report = export(folder, tmp_path / "out")
    assert not report.agreement
    assert report.remark.startswith("not compared with CTranslate2, as only models of texts are")
    if quantization in (None, "float16"):
        check_same(folder, tmp_path / "out")
    else:  # CTranslate2 computes with other roundings where weights are codes
        assert weights_of(folder).keys() == weights_of(whisper_folder(tmp_path / "exact")).keys()
        for name, exact in weights_of(tmp_path / "exact").items():
            assert np.abs(weights_of(folder)[name] - exact).max() <= 0.01 * np.abs(exact).max() + 1e-3, name


def weights_of(folder: Path) -> Any:
    return whisper(read_binary_of(folder)).weights


def test_beams_are_those_of_ctranslate2(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "model", seed=3)
    export(folder, tmp_path / "out")
    check_same(folder, tmp_path / "out", beams=5)


def test_a_model_of_many_languages_with_128_bands(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "model", "float16", multilingual=True, bands=128, times=True)
    export(folder, tmp_path / "out")
    check_same(folder, tmp_path / "out", 128)
    options = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    tokens = vocabulary(True)
    assert options["is_multilingual"] is True
    assert {token: tokens[at] for token, at in options["lang_to_id"].items()} == {
        token: token for token in ("<|en|>", "<|de|>", "<|haw|>")
    }
    assert {name: tokens[at] for name, at in options["task_to_id"].items()} == {
        "transcribe": "<|transcribe|>",
        "translate": "<|translate|>",
    }
    assert tokens[options["forced_decoder_ids"][1][1]] == "<|transcribe|>"
    features = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert (features["feature_size"], features["feature_extractor_type"]) == (128, "WhisperFeatureExtractor")


def test_the_files_are_those_of_transformers(tmp_path: Path) -> None:
    """transformers opens them, and its tokenizer, generation and features say the same."""
    transformers = pytest.importorskip("transformers")
    folder, out = whisper_folder(tmp_path / "model"), tmp_path / "out"
    export(folder, out)
    config = transformers.WhisperConfig.from_pretrained(out)
    assert (config.encoder_layers, config.decoder_layers, config.max_target_positions) == (2, 3, TOKENS)
    options = transformers.GenerationConfig.from_pretrained(out)
    tokens = vocabulary(False)
    assert tokens[options.decoder_start_token_id] == "<|startoftranscript|>"
    assert tokens[options.eos_token_id] == tokens[options.pad_token_id] == "<|endoftext|>"
    assert tokens[options.no_timestamps_token_id] == "<|notimestamps|>"
    assert tokens[options.prev_sot_token_id] == "<|startofprev|>"
    assert options.max_length == TOKENS
    assert options.max_initial_timestamp_index == 50
    assert options.alignment_heads == [[1, 0], [2, 1]]
    assert not options.is_multilingual
    assert not hasattr(options, "lang_to_id")
    assert "!" in [tokens[at] for at in options.suppress_tokens]
    assert [tokens[at] for at in options.begin_suppress_tokens] == ["Ġ", "<|endoftext|>"]
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(out)
    assert (extractor.feature_size, extractor.hop_length, extractor.nb_max_frames) == (80, 160, 3000)


@pytest.mark.parametrize("times", [False, True])
def test_the_tokenizer_has_all_tokens_of_times(times: bool, tmp_path: Path) -> None:
    export(whisper_folder(tmp_path / "model", times=times), tmp_path / "out")
    model = fuseline.Model.from_pretrained(tmp_path / "out")
    tokens = vocabulary(False)
    numbers = [tokens.index(token) for token in ("hello", "Ġthe", TIMES[0], TIMES[-1], "<|endoftext|>")]
    assert model.decode([numbers]) == ["hello the"]
    assert tokens.index(TIMES[-1]) == model.folder.decoder.vocab_size - 1


def test_without_a_tokenizer_one_is_made_of_the_vocabulary(tmp_path: Path) -> None:
    report = export(whisper_folder(tmp_path / "model", tokenizer=False), tmp_path / "out")
    assert "one was made of the vocabulary" in report.remark
    made = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    right = tokenizer_json(vocabulary(False), times=True)
    assert made["model"] == right["model"]
    assert {each["content"]: each["id"] for each in made["added_tokens"]} == {
        each["content"]: each["id"] for each in right["added_tokens"]
    }


def test_sines_that_were_rounded_to_halves_are_exact_again(tmp_path: Path) -> None:
    from fuseline.export.ctranslate2.whisper import _sinusoids

    exact = _sinusoids(1500, 16)
    found = read_binary_of(whisper_folder(tmp_path / "model", "float16"))
    name = "encoder/position_encodings/encodings"
    variables = {**found.variables, name: exact.astype(np.float16)}
    (tmp_path / "model" / "model.bin").write_bytes(binary(variables, specification="WhisperSpec", revision=3))
    again = weights_of(tmp_path / "model")["model.encoder.embed_positions.weight"]
    assert np.array_equal(again, exact)
    assert not np.array_equal(exact.astype(np.float16).astype(np.float32), exact)


def test_neither_torch_nor_transformers_is_needed(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "model")
    code = f"""
import sys
for name in ("torch", "transformers", "onnxscript", "ctranslate2", "huggingface_hub"):
    sys.modules[name] = None
from fuseline.export import export
print(export({str(folder)!r}, {str(tmp_path / "out")!r}, ("int8", "fp32")).path)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.stdout == f"{tmp_path / 'out'}\n", done.stderr
    model = fuseline.Model.from_pretrained(tmp_path / "out")
    assert (model.variant, model.folder.task) == ("int8", "automatic-speech-recognition")


def changed(**variables: Any) -> Callable[[Path], None]:
    """A change of variables, whose / are written __; None takes one out."""

    def change(folder: Path) -> None:
        found = dict(read_binary_of(folder).variables)
        for name, value in variables.items():
            name = name.replace("__", "/")
            found.pop(name, None)
            if value is not None:
                found[name] = value
        (folder / "model.bin").write_bytes(binary(found, specification="WhisperSpec", revision=3))

    return change


def options(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**found, **values}))

    return change


def without_marks(folder: Path) -> None:
    file = json.loads((folder / "tokenizer.json").read_text())
    file["added_tokens"] = []
    (folder / "tokenizer.json").write_text(json.dumps(file))


def of_another_model(folder: Path) -> None:
    tokens = [f"x{at}" for at in range(600)] + vocabulary(False)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(tokens, times=False)))


def without(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def write(folder: Path, content: bytes) -> None:
    (folder / "model.bin").write_bytes(content)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "another revision": (
        lambda folder: write(folder, binary({}, specification="WhisperSpec", revision=9)),
        "revision 9 of WhisperSpec, and 3 is known",
    ),
    "a bias for keys": (
        changed(decoder__layer_1__attention__linear_1__bias=np.ones(32, np.float32)),
        "decoder/layer_1/attention/linear_1 of the CTranslate2 model has a bias for keys, which Whisper has not",
    ),
    "a joined layer of another size": (
        changed(encoder__layer_0__self_attention__linear_0__weight=np.ones((47, 16), np.float32)),
        r"encoder/layer_0/self_attention/linear_0 of the CTranslate2 model is \[47, 16\]",
    ),
    "no convolution": (changed(encoder__conv2__weight=None), "has no encoder/conv2/weight"),
    "no heads": (changed(encoder__num_heads=None), "has no encoder/num_heads"),
    "another activation": (changed(decoder__activation=np.int8(0)), "decoder/activation of the CTranslate2 model is 0"),
    "what is not known": (changed(decoder__surprise=np.ones(3, np.float32)), "not known here: decoder/surprise"),
    "no end of layers": (changed(decoder__layer_norm__gamma=None), "has no decoder/layer_norm/gamma"),
    "suppress_ids": (options(suppress_ids=[1, 99_999]), "suppress_ids in .*must be a list of numbers of tokens"),
    "alignment_heads": (options(alignment_heads=[[7, 0]]), "alignment_heads in .*a layer below 3 and a head below 2"),
    "a tokenizer without marks": (
        without_marks,
        "has no <|startoftranscript|>, so it is none of Whisper".replace("|", r"\|"),
    ),
    "a tokenizer of another model": (of_another_model, "belongs to another model: its tokens of times end at"),
    "no tokens at all": (
        lambda folder: without(folder, "tokenizer.json", "vocabulary.json"),
        "has no tokenizer.json and no vocabulary.json",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_named(what: str, tmp_path: Path) -> None:
    change, sentence = REFUSED[what]
    folder = whisper_folder(tmp_path / "model")
    change(folder)
    with pytest.raises((ExportError, Error), match=sentence):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("max_length", [10, 41])
def test_the_longest_text(max_length: int, tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "model")
    export(folder, tmp_path / "out", max_length=max_length)
    about = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert about["max_length"] == min(max_length, TOKENS)
