"""Decoders without sources: alone against transformers, and beside models that read something."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fuseline
from fuseline import FolderError, InputError, Model
from fuseline.cli import main
from fuseline.errors import ExportError
from fuseline.export import export
from fuseline.folders.open import open_folder
from fuseline.graphs.contract import Encoded
from fuseline.trials.probe import inputs
from tests import language_models, small_whisper, text_models, tiny
from tests.runtime.test_ensemble import Reference

ALONE = r"this model is a decoder without sources, which reads no photos, texts or speech; fuseline\.ensemble puts it"
KINDS: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "scaled by layer": {"scale_attn_by_inverse_layer_idx": True, "activation_function": "gelu"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("language-models")


def exported(home: Path, kind: str = "tied", seed: int = 0, variants: tuple[str, ...] = ("fp32",)) -> tuple[Any, Path]:
    """The model of transformers and its folder, made once."""
    reference, folder = language_models.language_model(seed, **KINDS[kind]), home / f"{kind} {seed} {len(variants)}"
    if not folder.exists():
        checkpoint = language_models.write_checkpoint(reference, home / "checkpoints" / folder.name)
        export(checkpoint, folder, variants)
    return reference, folder


@pytest.fixture(scope="module")
def lm(home: Path) -> Model:
    return Model.from_pretrained(exported(home)[1], threads=1)


@pytest.fixture(scope="module")
def captioner(home: Path) -> Model:
    return Model.from_pretrained(tiny.tiny_folder(home, 0), threads=1)


OPTIONS: list[dict[str, Any]] = [
    {"num_beams": 1},
    {"num_beams": 4},
    {"num_beams": 1, "no_repeat_ngram_size": 2},
    {"num_beams": 4, "no_repeat_ngram_size": 1, "length_penalty": 0.5},
    {"num_beams": 3, "num_return_sequences": 3, "repetition_penalty": 1.3, "max_new_tokens": 9},
    {"num_beams": 2, "min_length": 6, "bad_words_ids": [[68]]},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS)
def test_it_says_what_transformers_says(home: Path, kind: str, options: dict[str, Any]) -> None:
    reference, folder = exported(home, kind)
    model = Model.from_pretrained(folder, threads=1)
    ended = 0
    for count, length in ((1, 1), (16, 2), (8, 6)):
        begins = language_models.beginnings(count, length, seed=length)
        expected = reference.generate(torch.from_numpy(begins), **options).numpy()
        found = model.generate(decoder_input_ids=begins, **options).sequences
        rows = [tiny.ended(row, tiny.END) for row in found]
        assert rows == [tiny.ended(row, tiny.END) for row in expected]
        ended += sum(row[-1] == tiny.END for row in rows)
    assert ended, "a test in which nothing ends shows less"
    alone = reference.generate(**options).numpy()
    assert model.generate(**options).sequences.tolist() == alone.tolist()


def test_its_steps_give_the_logits_of_transformers(home: Path) -> None:
    reference, folder = exported(home)
    decoder = Model.from_pretrained(folder, threads=1).decoder
    tokens = language_models.beginnings(3, 7)
    state = decoder.start(Encoded(3, {}, sources=()), 1, 7)
    found = [decoder.step(state, tokens[:, :3], None).copy()]
    found += [decoder.step(state, tokens[:, at : at + 1], None).copy() for at in range(3, 7)]
    with torch.inference_mode():
        exact = reference(torch.from_numpy(tokens)).logits.numpy()
    np.testing.assert_allclose(np.stack(found, axis=1), exact[:, 2:], atol=2e-4)


def test_what_the_folder_says(home: Path) -> None:
    _, folder = exported(home, variants=("fp32", "fp16", "int8", "int4"))
    about = json.loads((folder / "fuseline.json").read_text())
    assert (about["format"], about["task"], about["sources"], about["fusion"]) == (2, "text-generation", {}, None)
    assert set(about["tensors"]) == {"decoder"} and about["variants"]["int8"].keys() == {"decoder"}
    names = [tensor["name"] for tensor in about["tensors"]["decoder"]["inputs"]]
    assert names[:3] == ["input_ids", "position", "beam_table"] and not any("encoder" in name for name in names)
    assert {name: found["inputs"] for name, found in about["agreement"].items()} == dict.fromkeys(about["variants"], 1)
    assert about["agreement"]["fp16"]["logits"] < 0.05
    for variant in about["variants"]:
        model = Model.from_pretrained(folder, variant, threads=1)
        assert model.task == "text-generation" and model.generate().sequences[0, 0] == tiny.START
        assert inputs(model.folder) == {}
    assert main(["info", str(folder)]) == 0


def test_all_ways_to_begin_say_the_same(lm: Model) -> None:
    begins = language_models.beginnings(3, 2)
    found = lm.generate(decoder_input_ids=begins).sequences.tolist()
    assert lm.generate(3, decoder_input_ids=begins).sequences.tolist() == found
    assert lm.generate(lm.encode(3), decoder_input_ids=begins).sequences.tolist() == found
    alone = lm.generate().sequences.tolist()
    assert lm.generate({}).sequences.tolist() == alone and lm.generate(2).sequences.tolist() == alone * 2
    told = list(lm.stream(decoder_input_ids=begins[:1], num_beams=2))[-1].generation
    assert told is not None
    assert told.sequences.tolist() == lm.generate(decoder_input_ids=begins[:1], num_beams=2).sequences.tolist()
    said = lm.generate(num_beams=4)
    score = lm.score(text=[lm.decode(said.sequences)[0], "word5"])
    ended = tiny.ended(said.sequences[0], tiny.END)
    assert score.labels.shape[0] == 2 and said.sequences_scores.shape == (1,)
    if ended[-1] == tiny.END:
        assert -score.loss[0] == pytest.approx(said.sequences_scores[0], abs=1e-5)


def test_what_it_cannot_do_is_refused_in_one_sentence(lm: Model, capsys: pytest.CaptureFixture[str]) -> None:
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: lm.folder.source, ALONE),
        (lambda: fuseline.pipeline(model=lm), ALONE),
        (lambda: fuseline.pipeline("image-to-text", lm), ALONE),
        (lambda: fuseline.pipeline("summarization", lm), ALONE),
        (lambda: fuseline.pipeline("automatic-speech-recognition", lm), ALONE),
        (lambda: lm.inputs(["a text"]), "this model has no sources, so it reads no photos, texts or speech; give"),
        (lambda: lm.inputs_of("image"), "this model has no source 'image'; it has none"),
        (lambda: lm.generate(tiny.photos(1)), "no sources, so it reads nothing; leave the inputs out"),
        (lambda: lm.generate(True), "no sources, so it reads nothing"),
        (lambda: lm.generate(input_ids=[[4]]), "what a text begins with is decoder_input_ids"),
        (lambda: lm.generate(decoder_input_ids=[4]), r"of shape \[1, T\], not int64 of shape \[1\]"),
        (lambda: lm.generate(decoder_input_ids=np.zeros((0, 2), int)), r"not int64 of shape \[0, 2\]"),
        (lambda: lm.generate(2, decoder_input_ids=[[4]]), r"of shape \[2, T\]"),
        (
            lambda: lm.generate(decoder_input_ids=[[tiny.PAD, 4], [5, 6]]),
            "have the pad token, 0, and prompts are not",
        ),
        (lambda: lm.generate(output_attentions=True), "this model has none: it has no sources"),
        (lambda: lm.generate(source_weights={"a": 1}), "models with several sources, and this one has none"),
        (lambda: lm.generate(guidance={"a": 1}), "guidance needs a model with several sources"),
        (lambda: lm.generate(encoder_no_repeat_ngram_size=2), "because this model has no source of tokens"),
    ]
    for call, sentence in refused:
        with pytest.raises(InputError, match=sentence):
            call()
    folder = str(lm.folder.path)
    for arguments in (["caption", "--model", folder, "x.jpg"], ["transcribe", "--model", folder, "x.wav"]):
        assert main(arguments) == 2
        assert "a decoder without sources" in capsys.readouterr().err
    for arguments in (["quantize", folder, "--variants", "int8"], ["evaluate", folder, "--data", "x.jsonl"]):
        assert main(arguments) == 2
        assert "a decoder without sources" in capsys.readouterr().err


def test_what_is_encoded_for_another_model_is_refused(lm: Model, captioner: Model) -> None:
    with pytest.raises(InputError, match="it has other sources"):
        lm.generate(captioner.encode(tiny.photos(1)))
    with pytest.raises(InputError, match="it has other sources"):
        captioner.generate(lm.encode())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"task": "image-to-text"}, "'sources' is wrong; it must be one, called encoder, where there is no fusion"),
        ({"fusion": "flat"}, "'sources' is wrong; it must be 2 to 16"),
        (
            {"sources": {"encoder": {"inputs": ["pixel_values"], "longest": None, "absent": "refuse"}}},
            "'task' is wrong",
        ),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(
    lm: Model, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    (tmp_path / "fuseline.json").write_text(
        json.dumps(json.loads((lm.folder.path / "fuseline.json").read_text()) | change)
    )
    with pytest.raises(FolderError, match=sentence):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"add_cross_attention": True}, "the GPT-2 decoder has cross-attention and nothing to read; export the"),
        ({"bos_token_id": None}, "bos_token_id"),
    ],
)
def test_checkpoints_that_cannot_stand_alone_are_refused(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    reference = language_models.language_model(0, ends=False, **fields)
    language_models.write_checkpoint(reference, tmp_path / "checkpoint")
    with pytest.raises(ExportError, match=sentence):
        export(tmp_path / "checkpoint", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize(("weights", "normalize"), [((1.0, 0.3), True), ((1.0, 0.3), False), ((1.2, -0.2), True)])
def test_it_has_its_say_beside_a_captioner(
    captioner: Model, lm: Model, weights: tuple[float, float], normalize: bool, beams: int
) -> None:
    photos = tiny.photos(6, seed=7)
    together = fuseline.ensemble([captioner, lm], weights, normalize=normalize)
    found = together.generate(photos, num_beams=beams)
    reference = _Reference([captioner, lm], weights, "log_linear", normalize)
    for number, photo in enumerate(photos):
        tokens, score = reference.best(photo[None], beams)
        assert tiny.ended(found.sequences[number], tiny.END) == tokens
        assert found.sequences_scores[number] == pytest.approx(score, abs=2e-5)
    alone = captioner.generate(photos, num_beams=beams)
    assert found.sequences.tolist() != alone.sequences.tolist()


class _Reference(Reference):
    """Its `best` encodes a photo by each model; those without sources get nothing."""

    def __init__(self, models: list[Model], *rest: Any) -> None:
        super().__init__(models, *rest)
        self.models = [model if model.folder.sources else _Unread(model) for model in models]  # type: ignore[misc]


class _Unread:
    def __init__(self, model: Model) -> None:
        self.decoder = model.decoder

    def encode(self, photo: np.ndarray) -> Encoded:
        return Encoded(len(photo), {}, sources=())


def test_inputs_are_those_of_the_others(captioner: Model, lm: Model) -> None:
    photos = tiny.photos(3, seed=5)
    first, last = (fuseline.ensemble(pair, [1, 1]) for pair in ([captioner, lm], [lm, captioner]))
    expected = first.generate(photos, num_beams=2).sequences.tolist()
    ways: list[Callable[[], Any]] = [
        lambda: last.generate(photos, num_beams=2),
        lambda: first.generate({0: photos}, num_beams=2),
        lambda: last.generate({1: {"pixel_values": photos}}, num_beams=2),
        lambda: last.generate([photos], num_beams=2),
        lambda: last.generate(last.encode(photos), num_beams=2),
        lambda: fuseline.ensemble([fuseline.ensemble([captioner, lm], [1, 1])], [1]).generate(photos, num_beams=2),
    ]
    for way in ways:
        assert way().sequences.tolist() == expected
    assert last.task == "image-to-text" and last.inputs is captioner.inputs
    watched = [each.generate(photos, output_attentions=True, num_beams=1) for each in (first, last)]
    assert watched[0].cross_attentions is not None and watched[1].cross_attentions is not None
    assert np.array_equal(watched[0].cross_attentions[0], watched[1].cross_attentions[0])
    with pytest.raises(InputError, match="inputs by model must have 1, not 0, 1"):
        last.generate({0: photos, 1: photos})
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    from PIL import Image

    text = fuseline.pipeline("image-to-text", last)(Image.fromarray(picture))[0]["generated_text"]
    made = captioner.inputs([Image.fromarray(picture)])
    assert text == last.decode(last.generate(made).sequences)[0]
    narrow = [tiny.ended(row, tiny.END) for row in first.generate(photos).sequences]
    each = [tiny.ended(first.generate(photos[at : at + 1]).sequences[0], tiny.END) for at in range(3)]
    assert narrow == each


def test_several_language_models_are_one(home: Path, lm: Model) -> None:
    other = Model.from_pretrained(exported(home, "tied", 1)[1], threads=1)
    begins = language_models.beginnings(4, 2)
    together = fuseline.ensemble([lm, other], [1, 0])
    assert (
        together.generate(decoder_input_ids=begins).sequences.tolist()
        == lm.generate(decoder_input_ids=begins).sequences.tolist()
    )
    both = fuseline.ensemble([lm, other])
    assert (
        both.generate(decoder_input_ids=begins).sequences.tolist()
        != together.generate(decoder_input_ids=begins).sequences.tolist()
    )
    assert both.generate().sequences.shape[0] == 1


def test_beside_models_of_texts_and_of_speech(tmp_path: Path) -> None:
    def beside(folder: Path, given: Any) -> None:
        model = Model.from_pretrained(folder, threads=1)
        config = model.generation_config
        start = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
        special = {"bos_token_id": start, "eos_token_id": config.eos_token_id, "pad_token_id": config.pad_token_id}
        reference = language_models.language_model(0, ends=False, vocab_size=model.folder.decoder.vocab_size, **special)
        checkpoint = language_models.write_checkpoint(reference, folder.with_name("checkpoint of words"))
        (checkpoint / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
        export(checkpoint, folder.with_name("words"), ["fp32"])
        words = Model.from_pretrained(folder.with_name("words"), threads=1)
        without, with_ = (fuseline.ensemble([words, model], [weight, 1]) for weight in (0, 2))
        plain = model.generate(given, num_beams=2, max_new_tokens=8).sequences.tolist()
        assert without.generate(given, num_beams=2, max_new_tokens=8).sequences.tolist() == plain
        assert with_.generate(given, num_beams=2, max_new_tokens=8).sequences.tolist() != plain

    text_models.write_checkpoint(text_models.text_model("bart", 0), tmp_path / "text" / "checkpoint")
    export(tmp_path / "text" / "checkpoint", tmp_path / "text" / "folder", ["fp32"])
    rows = text_models.batch([text_models.texts(20)[1][:7]] * 2, text_models.PAD)
    beside(tmp_path / "text" / "folder", {name: tensor.numpy() for name, tensor in rows.items()})
    whisper = small_whisper.exported(tmp_path / "speech", 0)[0]
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    beside(whisper, Model.from_pretrained(whisper, threads=1).inputs([sound]))
