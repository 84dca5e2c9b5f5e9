"""Every architecture of text to text, from weights to graphs and to texts, against transformers on the same weights.

Tolerance: token ids are equal; float32 logits of size 1 to 12 within 2e-4, the project's bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fuseline import Model
from fuseline.errors import ExportError
from fuseline.export import export
from fuseline.export.adapters import model_adapter
from fuseline.export.adapters.t5 import T5Decoder, T5Encoder
from fuseline.export.encoders.bert_like import BertEncoder
from fuseline.export.graphs.weights import Scheme
from fuseline.kernels import library_info
from fuseline.kernels.layers import join_layers
from tests import text_models, tiny
from tests.text_graphs import TextGraphs

BOUND = 2e-4
CASES = [
    pytest.param(name, seed, marks=[] if seed == 0 else pytest.mark.slow, id=f"{name}, seed {seed}")
    for name in text_models.MODELS
    for seed in range(3)
]


def arrays(rows: list[list[int]], pad: int) -> dict[str, np.ndarray[Any, Any]]:
    """A batch as the graphs take it."""
    return {name: tensor.numpy() for name, tensor in text_models.batch(rows, pad).items()}


def said(model: Any, rows: list[list[int]]) -> Any:
    """What transformers says of them greedily without the last token, int64[B, T], and its logits along that."""
    inputs = text_models.batch(rows, model.config.pad_token_id)
    tokens = model.generate(**inputs, num_beams=1, max_length=tiny.MAX_LENGTH)[:, :-1]
    with torch.inference_mode():
        return tokens.numpy(), model(**inputs, decoder_input_ids=tokens).logits.numpy()


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_logits_are_those_of_transformers(name: str, seed: int) -> None:
    model, rows = text_models.text_model(name, seed), text_models.texts(7, seed)
    tokens, expected = said(model, rows)
    graphs, pad = TextGraphs(model), model.config.pad_token_id
    together = graphs.logits(arrays(rows, pad), tokens)
    assert np.abs(together - expected).max() < BOUND
    prompt = graphs.logits(arrays(rows, pad), tokens, at_once=3)
    assert np.abs(prompt - expected[:, 2:]).max() < BOUND
    alone = np.concatenate([graphs.logits(arrays([row], pad), tokens[[at]]) for at, row in enumerate(rows)])
    if library_info().path is None:  # onnxruntime's own products depend on the shape of a batch
        assert np.abs(alone - together).max() < BOUND
    else:
        np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("name", text_models.MODELS)
def test_what_is_padded_is_never_read(name: str) -> None:
    """Whatever token ids stand behind a text, its keys and values are the same."""
    model, rows = text_models.text_model(name, 0), text_models.texts(5)
    inputs = arrays(rows, model.config.pad_token_id)
    others = inputs | {"input_ids": np.where(inputs["attention_mask"] == 1, inputs["input_ids"], 50)}
    graphs = TextGraphs(model)
    kept, found = graphs.encoded(**inputs), graphs.encoded(**others)
    for name, value in kept.items():
        for at, row in enumerate(rows):
            np.testing.assert_array_equal(value[at, : len(row)], found[name][at, : len(row)])


# How far logits may move by what a scheme rounds, as a share of their spread: these weights are random and large.
ROUNDED: Mapping[Scheme, float] = {"fp16": 0.01, "bf16": 0.05, "int8": 0.3, "int4": 0.9}


@pytest.mark.parametrize("scheme", ROUNDED)
@pytest.mark.parametrize("name", ["bart", "m2m_100", "t5 v1.1", "roberta, roberta"])
def test_smaller_variants_say_nearly_the_same(name: str, scheme: Scheme) -> None:
    model, rows = text_models.text_model(name, 0), text_models.texts(7)
    tokens, expected = said(model, rows)
    graphs, pad = TextGraphs(model, scheme), model.config.pad_token_id
    together = graphs.logits(arrays(rows, pad), tokens)
    assert np.sqrt(np.square(together - expected).mean()) / expected.std() < ROUNDED[scheme]
    alone = np.concatenate([graphs.logits(arrays([row], pad), tokens[[at]]) for at, row in enumerate(rows)])
    if library_info().path is not None:
        np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("name", text_models.MODELS)
def test_linear_layers_are_fused_operators(name: str) -> None:
    """So that a row's result depends on that row alone, and 8-bit weights need no adapter to know."""
    graphs = TextGraphs(text_models.text_model(name, 0), "int8")
    for graph in (graphs.encoder, graphs.decoder):
        own = {node.op_type for node in graph.graph.node if node.domain == ""}
        assert own.isdisjoint({"MatMul", "Gemm", "Softmax", "LayerNormalization"})
        assert join_layers(graph) == []
        assert {"EncoderLayer", "DecoderLayer"} & {node.op_type for node in graph.graph.node}


QUICK = ["bart", "m2m_100", "t5 v1.1", "roberta, roberta"]
TEXTS = [
    pytest.param(name, seed, marks=[] if seed == 0 and name in QUICK else pytest.mark.slow, id=f"{name}, seed {seed}")
    for name in text_models.MODELS
    for seed in range(3)
]


@pytest.mark.parametrize(("name", "seed"), TEXTS)
def test_token_ids_equal_those_of_transformers(name: str, seed: int, tmp_path: Path) -> None:
    """20 texts of 1 to 60 tokens, one by one and in batches of 7 that differ in length, greedy and with 4 beams."""
    reference = text_models.text_model(name, seed)
    report = export(text_models.write_checkpoint(reference, tmp_path / "source"), tmp_path / "out")
    agreement = report.agreement["fp32"]
    assert (agreement.greedy, agreement.beam, agreement.first_difference) == (1.0, 1.0, None)
    assert agreement.logits < BOUND
    assert agreement.tokens == 1.0
    model, rows = Model.from_pretrained(tmp_path / "out", threads=1), text_models.texts(20, seed)
    pad, ends, heard = reference.config.pad_token_id, model.generation_config.ends, set()
    for beams in (1, 4):
        options = {"num_beams": beams, "max_length": tiny.MAX_LENGTH}
        expected: list[tuple[int, ...]] = []
        for first in range(0, len(rows), 7):
            inputs = text_models.batch(rows[first : first + 7], pad)
            expected += [tiny.ended(row, *ends) for row in reference.generate(**inputs, **options).numpy()]
        heard.update(expected)
        for batch in (1, 7):
            found: list[tuple[int, ...]] = []
            for first in range(0, len(rows), batch):
                made = model.generate(arrays(rows[first : first + batch], pad), **options)
                found += [tiny.ended(row, *ends) for row in made.sequences]
            assert found == expected
    assert len(heard) > 10, "the texts should be told apart, or the test shows nothing"


def test_what_a_folder_of_texts_says(tmp_path: Path) -> None:
    reference = text_models.text_model("t5", 0)
    source = text_models.write_checkpoint(reference, tmp_path / "source")
    export(source, tmp_path / "out", ["int8", "fp16", "int4", "fp32"])
    about = json.loads((tmp_path / "out" / "fuseline.json").read_text())
    read = {"inputs": ["input_ids", "attention_mask"], "longest": None, "absent": "refuse", "vocab_size": 97}
    assert (about["format"], about["task"], about["fusion"]) == (2, "text2text-generation", None)
    assert about["sources"] == {"encoder": read}
    assert about["default_variant"] == "int8"
    assert list(about["agreement"]) == ["int8", "fp16", "int4", "fp32"]
    assert about["agreement"]["fp32"]["inputs"] == 6
    assert about["decoder"]["max_positions"] == 1_000_000
    assert not (tmp_path / "out" / "preprocessor_config.json").exists()
    inputs = arrays(text_models.texts(3), 0)
    for variant in about["variants"]:
        model = Model.from_pretrained(tmp_path / "out", variant)
        assert model.generate(inputs, num_beams=2, max_length=8).sequences.shape[0] == 3


def test_a_model_saved_without_its_head(tmp_path: Path) -> None:
    """As facebook/bart-base is published: names without `model.`, and BartModel in config.json."""
    reference = text_models.text_model("bart", 0)
    source = text_models.write_checkpoint(reference, tmp_path / "source")
    reference.model.save_pretrained(source)
    assert json.loads((source / "config.json").read_text())["architectures"] == ["BartModel"]
    assert export(source, tmp_path / "out").agreement["fp32"].beam == 1.0


def test_sines_that_a_checkpoint_does_not_store(tmp_path: Path) -> None:
    """Pegasus computes them where they are missing, as the published checkpoints leave them out."""
    source = text_models.write_checkpoint(text_models.text_model("pegasus", 0), tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "embed_positions" not in name}
    assert len(kept) == len(weights) - 2
    save_file(kept, source / "model.safetensors", {"format": "pt"})
    assert export(source, tmp_path / "out").agreement["fp32"].beam == 1.0


def test_options_that_are_defaults_of_a_class_do_not_count(tmp_path: Path) -> None:
    """MarianConfig has forced_eos_token_id 0 by itself, which no generation_config.json made of it has to repeat."""
    source = text_models.write_checkpoint(text_models.text_model("marian", 0), tmp_path / "source")
    config = json.loads((source / "config.json").read_text()) | {"forced_eos_token_id": 0}
    (source / "config.json").write_text(json.dumps(config))
    options = json.loads((source / "generation_config.json").read_text()) | {"_from_model_config": True}
    (source / "generation_config.json").write_text(json.dumps(options))
    assert options.get("forced_eos_token_id") is None
    assert export(source, tmp_path / "out").agreement["fp32"].beam == 1.0
    assert Model.from_pretrained(tmp_path / "out").generation_config.forced_eos_token_id is None
    assert "_from_model_config" not in json.loads((tmp_path / "out" / "generation_config.json").read_text())


def test_photos_are_no_texts(tmp_path: Path) -> None:
    source = text_models.write_checkpoint(text_models.text_model("t5", 0), tmp_path / "source")
    with pytest.raises(
        ExportError, match="T5ForConditionalGeneration reads no photos, so it interpolates no positions"
    ):
        export(source, tmp_path / "out", interpolate_pos_encoding=True)


def config_of(name: str, **fields: Any) -> dict[str, Any]:
    return {**text_models.MODELS[name][1]().to_dict(), **fields}


LONGEST = {"bart": 70, "m2m_100": 70, "t5": None, "mt5": None, "bert, bert": 70, "roberta, roberta": 68}


@pytest.mark.parametrize(("name", "longest"), LONGEST.items())
def test_how_long_a_text_may_be(name: str, longest: int | None) -> None:
    parts = model_adapter({"architectures": [text_models.MODELS[name][0].__name__]}).parts(
        text_models.text_model(name, 0)
    )
    assert parts.written is not None
    encoder, config = parts.written
    assert encoder.longest(config) == longest


REFUSED: dict[str, tuple[type[Any], dict[str, Any], str]] = {
    "an unknown network": (
        T5Decoder,
        config_of("t5", feed_forward_proj="gated-tanh"),
        "the T5 decoder has feed_forward_proj 'gated-tanh'; known are gelu_new",
    ),
    "buckets that no distance fills": (
        T5Encoder,
        config_of("t5", relative_attention_num_buckets=32, relative_attention_max_distance=16),
        "the T5 encoder has relative_attention_num_buckets 32 and relative_attention_max_distance 16; the distance "
        "must be more than half the buckets, of at least 4",
    ),
    "heads of nothing": (T5Encoder, config_of("t5", d_kv=0), "d_model 30, num_heads 5 and d_kv 0 of the T5 encoder"),
    "an encoder that looks back only": (
        BertEncoder,
        config_of("bert, bert")["encoder"] | {"is_decoder": True},
        "the BERT encoder has is_decoder = true in its config, and an encoder must have false",
    ),
    "relative positions": (
        BertEncoder,
        config_of("bert, bert")["encoder"] | {"position_embedding_type": "relative_key"},
        "the BERT encoder has position_embedding_type 'relative_key', and only 'absolute' is known",
    ),
    "half a config": (BertEncoder, {"vocab_size": 97}, "the BERT encoder has no hidden_act, hidden_size, "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_form_is_refused_by_name(case: str) -> None:
    part, config, sentence = REFUSED[case]
    with pytest.raises(ExportError) as error:
        part(config)
    assert str(error.value).startswith(sentence)


UNKNOWN = {
    "LED": ({"architectures": ["LEDForConditionalGeneration"], "model_type": "led"}, "LEDForConditionalGeneration"),
    "a classifier": ({"architectures": ["BartForSequenceClassification"], "model_type": "bart"}, "BartForSequence"),
    "half a T5": ({"architectures": ["T5EncoderModel"], "model_type": "t5"}, "T5EncoderModel"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_models_that_are_not_known_are_refused_by_name(case: str) -> None:
    config, name = UNKNOWN[case]
    with pytest.raises(ExportError, match=f"the architecture {name}.* cannot be exported; known are BartForCond"):
        model_adapter(config)
