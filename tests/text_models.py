"""Small real models of text to text, with random weights that say varied things; see tests/tiny.py for why.

Sizes are odd where they may be, so that no two dimensions are taken for each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertGenerationConfig,
    CamembertConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    GPT2Config,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PretrainedConfig,
    RobertaConfig,
    T5Config,
    T5ForConditionalGeneration,
    XLMRobertaConfig,
)

from tests import tiny

VOCAB_SIZE = 97
START, PAD, END = 0, 1, 2  # pad is not 0, so that a rule about it shows
LONGEST = 60  # tokens of a text
TOKENS = {"bos_token_id": START, "pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": START}
# By how much matrices, tables of tokens and positions are multiplied, found by trying: 20 texts give 15 or more
# different ones, and float32 is within 5e-5 of float64. Sinusoidal positions are as they are, since no checkpoint
# stores them.
SCALES = {
    "bart": (9.0, 25.0, 15.0),
    "encoder-decoder": (9.0, 25.0, 15.0),
    "mbart": (20.0, 10.0, 1.0),
    "pegasus": (20.0, 10.0, 1.0),
    "marian": (9.0, 25.0, 1.0),
    "m2m_100": (20.0, 10.0, 1.0),
    "t5": (1.5, 0.3, 5.0),
    "mt5": (1.5, 0.3, 5.0),
}


def _bart(kind: Callable[..., PretrainedConfig], **fields: Any) -> PretrainedConfig:
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "d_model": 30,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_attention_heads": 3,
        "decoder_attention_heads": 5,
        "encoder_ffn_dim": 52,
        "decoder_ffn_dim": 44,
        "max_position_embeddings": 70,
        "forced_eos_token_id": None,
    }
    return kind(**sizes | TOKENS | fields)


def _t5(kind: Callable[..., PretrainedConfig] = T5Config, **fields: Any) -> PretrainedConfig:
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "d_model": 30,
        "d_kv": 7,
        "d_ff": 44,
        "num_layers": 3,
        "num_decoder_layers": 2,
        "num_heads": 5,
        "relative_attention_num_buckets": 12,
        "relative_attention_max_distance": 20,
    }
    return kind(**sizes | TOKENS | fields)


def _bert(kind: Callable[..., PretrainedConfig], width: int = 30, **fields: Any) -> PretrainedConfig:
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "intermediate_size": 44,
        "max_position_embeddings": 70,
    }
    return kind(**sizes | TOKENS | fields)


def _gpt2() -> PretrainedConfig:
    sizes = {"vocab_size": VOCAB_SIZE, "n_embd": 28, "n_layer": 2, "n_head": 4, "n_positions": 40}
    return GPT2Config(**sizes, **TOKENS)  # type: ignore[arg-type]


def _pair(encoder: PretrainedConfig, decoder: PretrainedConfig) -> PretrainedConfig:
    """As from_encoder_decoder_configs makes it, with the tokens of both."""
    return EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder, **TOKENS)


# Class and configuration of every model, by a name that says what is particular.
MODELS: dict[str, tuple[Callable[[Any], Any], Callable[[], PretrainedConfig]]] = {
    "bart": (BartForConditionalGeneration, lambda: _bart(BartConfig)),
    "bart, scaled, swish": (
        BartForConditionalGeneration,
        lambda: _bart(BartConfig, scale_embedding=True, activation_function="swish", tie_word_embeddings=False),
    ),
    "mbart": (MBartForConditionalGeneration, lambda: _bart(MBartConfig, scale_embedding=True)),
    "pegasus": (PegasusForConditionalGeneration, lambda: _bart(PegasusConfig, scale_embedding=True)),
    "marian": (
        MarianMTModel,
        lambda: _bart(MarianConfig, scale_embedding=True, activation_function="swish", decoder_start_token_id=PAD),
    ),
    "marian, separate": (
        MarianMTModel,
        lambda: _bart(
            MarianConfig,
            share_encoder_decoder_embeddings=False,
            scale_embedding=True,
            activation_function="relu",
        ),
    ),
    "m2m_100": (M2M100ForConditionalGeneration, lambda: _bart(M2M100Config, scale_embedding=True)),
    "m2m_100, pad row": (M2M100ForConditionalGeneration, lambda: _bart(M2M100Config, pad_token_id=7)),
    "t5": (T5ForConditionalGeneration, lambda: _t5(pad_token_id=0, decoder_start_token_id=0)),
    "t5 v1.1": (
        T5ForConditionalGeneration,
        lambda: _t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_decoder_layers=None),
    ),
    "t5, silu": (T5ForConditionalGeneration, lambda: _t5(feed_forward_proj="gated-silu", d_kv=6)),
    "mt5": (MT5ForConditionalGeneration, lambda: _t5(MT5Config)),
    "bert, bert": (EncoderDecoderModel, lambda: _pair(_bert(BertConfig), _bert(BertConfig))),
    "roberta, roberta": (EncoderDecoderModel, lambda: _pair(_bert(RobertaConfig), _bert(RobertaConfig))),
    "xlm-roberta, bert": (
        EncoderDecoderModel,
        lambda: _pair(_bert(XLMRobertaConfig, 20, hidden_act="relu", layer_norm_eps=1e-5), _bert(BertConfig)),
    ),
    "camembert, gpt2": (EncoderDecoderModel, lambda: _pair(_bert(CamembertConfig, type_vocab_size=1), _gpt2())),
    "bert generation": (EncoderDecoderModel, lambda: _pair(_bert(BertGenerationConfig), _bert(BertGenerationConfig))),
}


@cache
def text_model(name: str, seed: int) -> Any:
    """The model of that name in MODELS, float32, in eval mode, with the attention that the reference has.

    It is shared, so not to be changed.
    """
    torch.manual_seed(seed)
    kind, config = MODELS[name]
    made = config()
    made._attn_implementation = "eager"
    model = kind(made).eval()
    model.generation_config.max_length, model.generation_config.num_beams = tiny.MAX_LENGTH, tiny.NUM_BEAMS
    for field, token in TOKENS.items():
        setattr(model.generation_config, field, getattr(model.config, field, token))
    _enliven(model)
    _make_end_likely(model)
    return model


def texts(count: int, seed: int = 0) -> list[list[int]]:
    """Token ids of texts of 1 to 60 tokens, the shortest and the longest among the first."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [1, LONGEST, *torch.randint(2, LONGEST, (max(count - 2, 0),), generator=generator).tolist()]
    return [torch.randint(8, VOCAB_SIZE, (length,), generator=generator).tolist() for length in lengths[:count]]


def batch(rows: list[list[int]], pad: int) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask, int64[B, S], padded on the right."""
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([row + [pad] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
    }


def write_checkpoint(model: Any, folder: Path) -> Path:
    """Save the model as a folder of the hub has it: configurations, safetensors, tokenizer."""
    model.save_pretrained(folder)
    if model.config.model_type == "bart" and not model.config.tie_word_embeddings:
        # save_pretrained leaves out what from_pretrained then makes up at random; published ones have it.
        whole = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
        save_file(whole, folder / "model.safetensors", {"format": "pt"})
    (folder / "tokenizer.json").write_text(tiny.word_tokenizer(VOCAB_SIZE))
    specials = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | specials))
    return folder


def _enliven(model: Any) -> None:
    """Enlarge matrices and tables, and move norms and biases off their starting values, in place."""
    matrices, tables, positions = SCALES.get(model.config.model_type, SCALES["bart"])
    found = {id(each.weight) for each in (*_embeddings(model), model.get_output_embeddings())}
    with torch.no_grad():
        for name, tensor in model.named_parameters():  # a tied tensor comes once
            if "position" in name or "relative_attention_bias" in name or "wpe" in name:
                tensor.mul_(positions)
            elif tensor.dim() == 1:
                tensor.add_(torch.randn_like(tensor) * 0.1)
            else:
                tensor.mul_(tables if id(tensor) in found else matrices)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.add_(torch.randn_like(model.final_logits_bias) * 0.3)


def _embeddings(model: Any) -> list[Any]:
    return [model.get_input_embeddings(), model.get_decoder().get_input_embeddings()]


def _make_end_likely(model: Any) -> None:
    """Swap the end's rows with those of a word that about 0.4 of the texts come to after their first words."""
    inputs = batch(texts(40, seed=1), model.config.pad_token_id)
    said = model.generate(**inputs, num_beams=2, max_length=tiny.MAX_LENGTH, min_length=tiny.MAX_LENGTH)
    heard = torch.nn.functional.one_hot(said, VOCAB_SIZE).cumsum(dim=1) > 0  # [texts, positions, words]
    late = (heard[:, -1] & ~heard[:, 3]).float().mean(dim=0) - heard[:, 3].float().mean(dim=0)
    late[said[0, 0]] = late[:8] = -1.0
    word = int((late - 0.4).abs().argmin())
    tables = [*_embeddings(model), model.get_output_embeddings()]
    with torch.no_grad():
        for rows in {each.weight for each in tables}:
            rows[[END, word]] = rows[[word, END]]
