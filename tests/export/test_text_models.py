"""Every architecture of text to text, from weights to graphs and to texts, against transformers on the same weights.

Tolerance: token ids are equal; float32 logits of size 1 to 12 within 2e-4, the project's bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from fuseline.errors import ExportError
from fuseline.export.adapters import model_adapter
from fuseline.export.adapters.t5 import T5Decoder, T5Encoder
from fuseline.export.encoders.bert_like import BertEncoder
from fuseline.export.graphs.weights import Scheme
from fuseline.kernels import library_info
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
ROUNDED: Mapping[Scheme, float] = {"fp16": 0.01, "int8": 0.3, "int4": 0.9}


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


def config_of(name: str, **fields: Any) -> dict[str, Any]:
    return {**text_models.MODELS[name][1]().to_dict(), **fields}


LONGEST = {"bart": 70, "m2m_100": 70, "t5": None, "mt5": None, "bert, bert": 70, "roberta, roberta": 68}


@pytest.mark.parametrize(("name", "longest"), LONGEST.items())
def test_how_long_a_text_may_be(name: str, longest: int | None) -> None:
    parts = model_adapter({"architectures": [text_models.MODELS[name][0].__name__]}).parts(
        text_models.text_model(name, 0)
    )
    assert parts.text_encoder is not None
    encoder, config = parts.text_encoder
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
