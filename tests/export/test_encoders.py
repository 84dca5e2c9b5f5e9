"""Vision encoders that torch traces, each before a small decoder, against transformers on the same weights.

Photos have 32 pixels a side, whatever the encoder's image_size is: some take any size. Token ids are equal, logits
within 2e-4, the project's bound, but for ROUNDED.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from fuseline import Model
from fuseline.errors import ExportError
from fuseline.export import export
from fuseline.export.encoders.traced import ENCODERS
from tests import tiny, zoo

FLAT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": tiny.PHOTO,
    "patch_size": 8,
}
VIT = {**FLAT, "intermediate_size": 56}
STAGES: dict[str, Any] = {
    "image_size": tiny.PHOTO,
    "patch_size": 4,
    "embed_dim": 12,
    "depths": [1, 2],
    "num_heads": [2, 3],
    "window_size": 4,
}
# Configuration class and fields, by a name that says what is particular.
CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "beit, of another size": ("BeitConfig", {**VIT, "image_size": 48, "use_absolute_position_embeddings": True}),
    "beit, biases shared by layers": ("BeitConfig", {**VIT, "use_shared_relative_position_bias": True}),
    "chinese clip": ("ChineseCLIPVisionConfig", VIT),
    "clip": ("CLIPVisionConfig", {**VIT, "hidden_act": "gelu"}),
    "data2vec": ("Data2VecVisionConfig", {**VIT, "use_relative_position_bias": True}),
    "dinov2": ("Dinov2Config", FLAT),
    "dinov2, swiglu, of another size": ("Dinov2Config", {**FLAT, "image_size": 48, "use_swiglu_ffn": True}),
    "dinov2 with registers": (
        "Dinov2WithRegistersConfig",
        {**FLAT, "image_size": 48, "num_register_tokens": 2},
    ),
    "i-jepa": ("IJepaConfig", VIT),
    "siglip": ("SiglipVisionConfig", VIT),
    "swin": ("SwinConfig", {**STAGES, "qkv_bias": False}),
    "swin v2": ("Swinv2Config", STAGES),
    "vit msn": ("ViTMSNConfig", VIT),
    "yolos": ("YolosConfig", {**VIT, "image_size": [32, 32], "num_detection_tokens": 3}),
}
QUICK = ("siglip",)
# With weights this large and no norm at its end an encoder shows rounding: float32 in torch is 2e-3 from float64 too.
ROUNDED = ("chinese clip", "clip", "swin v2")


def model_of(name: str) -> Any:
    kind, fields = CASES[name]
    return tiny.tiny_vit_gpt2(0, vision=getattr(transformers, kind)(**fields))


def test_every_encoder_has_a_case() -> None:
    written_or_in_the_zoo = {"deit", "donut-swin", "vit"}
    assert {getattr(transformers, kind).model_type for kind, _ in CASES.values()} | written_or_in_the_zoo == set(
        ENCODERS
    )


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in CASES])
def test_token_ids_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    reference = model_of(name)
    agreement = export(tiny.write_checkpoint(reference, tmp_path / "source"), tmp_path / "out").agreement["fp32"]
    assert (agreement.greedy, agreement.beam) == (1.0, 1.0)
    assert agreement.logits < (5e-3 if name in ROUNDED else 2e-4)
    model, pixels, texts = Model.from_pretrained(tmp_path / "out", threads=1), tiny.photos(6), set()
    for beams in (1, 4):
        options = {"num_beams": beams, "max_length": tiny.MAX_LENGTH}
        rows = reference.generate(torch.from_numpy(pixels), **options).numpy()
        expected = [tiny.ended(row, tiny.END) for row in rows]
        for batch in (1, 3):
            for first in range(0, len(pixels), batch):
                found = model.generate(pixels[first : first + batch], **options).sequences
                assert [tiny.ended(row, tiny.END) for row in found] == expected[first : first + batch]
        texts.update(expected)
    assert len(texts) > 2, "the photos should be told apart, or the test shows nothing"


@pytest.mark.parametrize(
    "fields",
    [
        {"architectures": None, "model_type": "vision-encoder-decoder"},
        {"transformers_version": None, "torch_dtype": "float16", "dtype": None},
        {"decoder": {"is_decoder": False, "is_encoder_decoder": True}},
        {"decoder": {"cross_attention_hidden_size": 32, "architectures": None}},
        {"tie_word_embeddings": True, "decoder": {"tie_word_embeddings": True}},
    ],
    ids=lambda fields: " ".join(fields),
)
def test_what_configurations_say_otherwise(fields: dict[str, Any], tmp_path: Path) -> None:
    """transformers sets what a decoder is; names, versions and types of numbers change no text."""
    source = tiny.write_checkpoint(tiny.tiny_model(0), tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    decoder = config["decoder"] | fields.get("decoder", {})
    (source / "config.json").write_text(json.dumps({**config, **fields, "decoder": decoder}))
    agreement = export(source, tmp_path / "out").agreement["fp32"]
    assert (agreement.greedy, agreement.beam, agreement.first_difference) == (1.0, 1.0, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_the_size_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    source = tiny.write_checkpoint(tiny.tiny_vit_gpt2(1).to(dtype), tmp_path / "source")
    assert export(source, tmp_path / "out").agreement["fp32"].beam == 1.0


def test_a_decoder_that_transformers_cannot_make_is_refused(tmp_path: Path) -> None:
    source = zoo.write_checkpoint(zoo.vision_encoder_decoder("bert", 0), tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config["decoder"]["cross_attention_hidden_size"] = 31
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="cannot make a model of config.json: ValueError: If `cross_attention_hidden"):
        export(source, tmp_path / "out")
