"""Checkpoints of text to text in the sizes that people use, with random weights from a seed: `build(name, folder)`.

Runs where transformers is installed. Each has a tokenizer of one word a token, since what is timed begins and ends with
tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

SEED = 0
_PAD, _END = 0, 1


def _marian() -> Any:
    """Helsinki-NLP/opus-mt-*: 6 + 6 layers of 512, 58,101 words."""
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=58101,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        max_position_embeddings=512,
        activation_function="swish",
        scale_embedding=True,
        forced_eos_token_id=None,
        **_tokens() | {"pad_token_id": 58100, "decoder_start_token_id": 58100},  # the last, as published
    )
    return MarianMTModel(config)


def _t5_small() -> Any:
    """google-t5/t5-small: 6 + 6 layers of 512, 32,128 words."""
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(vocab_size=32128, **_tokens()))


def _bart_base() -> Any:
    """facebook/bart-base: 6 + 6 layers of 768, 50,265 words."""
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=50265,
        d_model=768,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=12,
        decoder_attention_heads=12,
        encoder_ffn_dim=3072,
        decoder_ffn_dim=3072,
        forced_eos_token_id=None,
        normalize_before=False,  # these two are for CTranslate2's converter
        normalize_embedding=True,
        **_tokens(),
    )
    return BartForConditionalGeneration(config)


def _m2m100() -> Any:
    """facebook/m2m100_418M: 12 + 12 layers of 1,024, 128,112 words."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    config = M2M100Config(
        vocab_size=128112,
        d_model=1024,
        encoder_layers=12,
        decoder_layers=12,
        encoder_ffn_dim=4096,
        decoder_ffn_dim=4096,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        scale_embedding=True,
        **_tokens(),
    )
    return M2M100ForConditionalGeneration(config)


MODELS: Mapping[str, Callable[[], Any]] = {
    "opus-mt": _marian,
    "t5-small": _t5_small,
    "bart-base": _bart_base,
    "m2m100-418m": _m2m100,
}


def _tokens() -> dict[str, int]:
    return {"pad_token_id": _PAD, "eos_token_id": _END, "bos_token_id": _END, "decoder_start_token_id": _PAD}


def build(name: str, folder: Path) -> None:
    """Write the checkpoint of that name."""
    torch.manual_seed(SEED)
    model = MODELS[name]().eval()
    _draw(model)
    model.save_pretrained(folder)
    words = _tokenizer(model.config.vocab_size, model.config.pad_token_id)
    (folder / "tokenizer.json").write_text(words, encoding="utf-8")
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about | {"unk_token": "<unk>"}))


def _draw(model: Any) -> None:
    """Matrices by their inputs, so that what is given counts; as transformers draws them they say one word for ever."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.dim() == 2 and "position" not in name and "relative" not in name:
                rows = tensor.shape[0] == model.config.vocab_size
                gain = 2.0 if rows else 1.5
                if model.config.model_type == "t5" and name.endswith("Attention.q.weight"):
                    gain *= model.config.d_kv**-0.5  # its scores are not scaled, and its own weights are drawn so
                tensor.normal_(0.0, gain * tensor.shape[1] ** -0.5)


def _tokenizer(vocab_size: int, pad: int) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {f"word{index}": index for index in range(vocab_size) if index not in (pad, _END, 2)}
    tokenizer = Tokenizer(models.WordLevel(words | {"<pad>": pad, "</s>": _END, "<unk>": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", _END)])
    return str(tokenizer.to_str())
