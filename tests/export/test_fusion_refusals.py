"""fuseline.export.fusion: what is refused, each by one sentence."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel, GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

from fuseline import InputError
from fuseline.export.fusion import FusionEncoderDecoder
from tests import fusion_models as models

NAMES = ("image", "hint", "other")


@cache
def model_of(mode: str) -> Any:
    """Shared by tests, so not to be changed."""
    return models.fusion_model(mode)


PHOTOS, IDS = torch.zeros(2, 3, 32, 32), torch.ones(2, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("inputs", "weights", "sentence"),
    [
        ({}, None, "all sources are absent; give at least one of image, hint, other"),
        (PHOTOS, None, "inputs must be a mapping by source"),
        ({"picture": PHOTOS}, None, "'picture', which is no source of this model; it has image, hint, other"),
        ({"image": "a photo"}, None, "pixel_values of source image must be an array of numbers, not 'a photo'"),
        ({"image": {"pixels": PHOTOS}}, None, "source image must have pixel_values; it has pixels"),
        ({"image": {"pixel_values": PHOTOS, "mask": IDS}}, None, "source image has mask, which its ViTModel does not"),
        ({"image": PHOTOS[:0]}, None, "pixel_values of source image must have at least one value"),
        ({"image": PHOTOS, "hint": IDS[:1]}, None, "sources have different numbers of inputs: image 2, hint 1"),
        ({"hint": IDS[0]}, None, r"input_ids of source hint must be whole numbers of shape \[B, S\], not \[4\]"),
        (
            {"hint": {"input_ids": IDS, "attention_mask": torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]])}},
            None,
            "attention_mask of source hint, input 2, must be ones and then zeros; pad on the right",
        ),
        ({"hint": {"input_ids": IDS, "attention_mask": IDS[:, :2]}}, None, "must have the shape of input_ids"),
        ({"image": PHOTOS}, {"picture": 1}, "source_weights has 'picture', which is no source of this model"),
        ({"image": PHOTOS}, {"image": -1}, "the weight of source image is -1.0; weights are finite and not negative"),
        ({"image": PHOTOS}, {"image": float("nan")}, "the weight of source image is nan"),
        ({"image": PHOTOS}, {"image": [1, float("inf")]}, "the weight of source image is inf"),
        ({"image": PHOTOS}, {"image": [1, 1, 1]}, "one number, or one for each of 2 inputs; its shape is \\[3\\]"),
        ({"image": PHOTOS}, {"image": "much"}, "the weight of source image must be a number, not 'much'"),
        ({"image": PHOTOS}, 0.5, "source_weights must be a mapping by source"),
        ({"image": PHOTOS}, {"image": [1, 0]}, "all sources of input 2 are absent"),
        ({"image": PHOTOS}, {"image": 0}, "all sources of input 1 are absent"),
        ({"hint": {"input_ids": IDS, "attention_mask": 0 * IDS}}, None, "all sources of input 1 are absent"),
    ],
)
def test_bad_inputs_are_refused(inputs: Any, weights: Any, sentence: str) -> None:
    for call in (model_of("flat").generate, lambda *given: model_of("flat")(*given, labels=IDS)):
        with pytest.raises(InputError, match=sentence):
            call(inputs, weights)


def _without_cross_attention() -> Any:
    return GPT2LMHeadModel(GPT2Config(n_embd=30, n_head=5, n_layer=1, vocab_size=9))  # type: ignore[no-untyped-call]


def _unknown() -> Any:
    return OPTForCausalLM(OPTConfig(hidden_size=20, ffn_dim=20, num_hidden_layers=1, num_attention_heads=2))


@pytest.mark.parametrize(
    ("names", "options", "sentence"),
    [
        (["image"], {"decoder": _without_cross_attention}, "has no cross-attention; make it with is_decoder=True and"),
        (["image"], {"decoder": _unknown}, "the decoder is of type OPTForCausalLM, which cannot read several sources"),
        (["image"], {"fusion": "late"}, "fusion is 'late'; it must be one of flat, mix, parallel"),
        ([], {}, "encoders is empty; give at least one source"),
        (["an image"], {}, "'an image' cannot name a source"),
        (["values"], {}, "'values' cannot name a source"),
        (["image"], {"absent": {"hint": "skip"}}, "absent has 'hint', which is no source of this model; it has image"),
        (["image"], {"absent": {"image": "never"}}, "absent of source image is 'never'; it must be one of skip, zeros"),
        (["hint"], {"absent": {"hint": "zeros"}}, 'absent of source hint cannot be "zeros", since it reads input_ids'),
    ],
)
def test_what_cannot_be_put_together(names: list[str], options: dict[str, Any], sentence: str) -> None:
    encoders = {name: models.bert() if name == "hint" else models.vit() for name in names}
    writer = options.pop("decoder", lambda: models.decoder("gpt2"))()
    with pytest.raises(InputError, match=sentence):
        FusionEncoderDecoder(encoders, writer, **options)


def test_an_encoder_must_be_one_of_transformers() -> None:
    with pytest.raises(InputError, match="source image must have an encoder of transformers, not Linear"):
        FusionEncoderDecoder({"image": torch.nn.Linear(2, 2)}, models.decoder("gpt2"))  # type: ignore[dict-item]

    class Mine(BertModel):
        pass

    with pytest.raises(InputError, match="Mine is no model class that transformers has for bert"):
        FusionEncoderDecoder({"hint": Mine(models.bert().config)}, models.decoder("gpt2"))


def test_folders_that_are_no_fusion_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config.json; give a folder that save_pretrained wrote"):
        FusionEncoderDecoder.from_pretrained(tmp_path)
    models.bert().save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="cannot be read as a fusion model"):
        FusionEncoderDecoder.from_pretrained(tmp_path / "bert")
    model_of("gated").save_pretrained(tmp_path / "gated")
    config = json.loads((tmp_path / "gated/config.json").read_text())
    path = tmp_path / "gated/config.json"
    more = {"sources": [*NAMES, "more"], "shared": {"other": "image", "more": "hint"}}
    path.write_text(json.dumps(config | more))
    with pytest.raises(InputError, match=r"lacks the weights fusion.0.sources.more.gate, fusion.0.sources.more.k.bias"):
        FusionEncoderDecoder.from_pretrained(tmp_path / "gated")
    config["encoders"]["hint"]["architectures"] = ["BertModel.from_pretrained"]
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="is no model class that transformers has for bert"):
        FusionEncoderDecoder.from_pretrained(tmp_path / "gated")


def test_a_configuration_brings_no_code(tmp_path: Path) -> None:
    model_of("flat").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for part in (config, config["decoder"], config["encoders"]["hint"]):
        part |= {"auto_map": {"AutoModel": "code.Mine"}, "_attn_implementation_internal": "somebody/kernels"}
    path.write_text(json.dumps(config))
    again = FusionEncoderDecoder.from_pretrained(tmp_path)
    for part in (again.config, again.decoder.config, again.encoders["hint"].config):
        assert not hasattr(part, "auto_map") and part._attn_implementation == "sdpa"
    for name, tensor in model_of("flat").state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
