"""Small real models of every architecture, with random weights that say varied things; see tests/tiny.py for why.

Sizes are odd where they may be, so that no two dimensions are taken for each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartConfig,
    BeitConfig,
    BertConfig,
    BertGenerationConfig,
    BlenderbotConfig,
    BlipConfig,
    BlipForConditionalGeneration,
    CamembertConfig,
    Data2VecTextConfig,
    DeiTConfig,
    DonutSwinConfig,
    ElectraConfig,
    MarianConfig,
    MBartConfig,
    MegatronBertConfig,
    MvpConfig,
    PegasusConfig,
    PLBartConfig,
    PretrainedConfig,
    RemBertConfig,
    RobertaConfig,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    XGLMConfig,
    XLMRobertaConfig,
)

from tests import tiny

VOCAB_SIZE = 97
# Token ids that every model but BLIP has: pad is not 0, so that a rule about it shows.
START, PAD, END = 0, 1, 2
# Found by trying: 20 photos give 16 or more different texts, and float32 is within 5e-5 of float64. Matrices scaled by
# 18 made that 6e-4, and rounding decided between texts.
MATRIX_SCALE, TABLE_SCALE, POSITION_SCALE = 10.0, 4.0, 25.0


def _vit(width: int = 24, **fields: Any) -> PretrainedConfig:
    return ViTConfig(**_vision(width) | fields)  # type: ignore[no-untyped-call]


def _vision(width: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 56,
        "image_size": tiny.PHOTO,
        "patch_size": 8,
    }


def _bert_like(kind: Callable[..., PretrainedConfig], **fields: Any) -> PretrainedConfig:
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 30,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "intermediate_size": 44,
        "max_position_embeddings": 40,
        "is_decoder": True,
        "add_cross_attention": True,
    }
    return kind(**sizes | _tokens() | fields)


def _bart_like(kind: Callable[..., PretrainedConfig], **fields: Any) -> PretrainedConfig:
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "d_model": 30,
        "decoder_layers": 2,
        "decoder_attention_heads": 5,
        "decoder_ffn_dim": 44,
        "max_position_embeddings": 40,
        "is_decoder": True,
        "add_cross_attention": True,
    }
    return kind(**sizes | _tokens() | fields)


def _xglm(**fields: Any) -> PretrainedConfig:
    names = {"decoder_layers": "num_layers", "decoder_attention_heads": "attention_heads", "decoder_ffn_dim": "ffn_dim"}
    return _bart_like(
        lambda **sizes: XGLMConfig(**{names.get(name, name): size for name, size in sizes.items()}), **fields
    )


def _tokens() -> dict[str, int]:
    return {"bos_token_id": START, "pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": START}


def _donut_swin() -> PretrainedConfig:
    # 40 x 32 pixels are 10 x 8 patches, which windows of 4 do not divide.
    stages: dict[str, Any] = {"embed_dim": 12, "depths": [1, 2], "num_heads": [2, 3], "window_size": 4}
    return DonutSwinConfig(image_size=[40, 32], patch_size=4, **stages)  # type: ignore[no-untyped-call]


# Encoder and decoder of every model, by a name that says what is particular.
MODELS: dict[str, Callable[[], tuple[PretrainedConfig, PretrainedConfig]]] = {
    "bert": lambda: (_vit(20), _bert_like(BertConfig)),
    "bert, untied, relu": lambda: (
        _vit(),
        _bert_like(BertConfig, tie_word_embeddings=False, hidden_act="relu", layer_norm_eps=1e-3),
    ),
    "roberta": lambda: (_vit(), _bert_like(RobertaConfig, pad_token_id=PAD, type_vocab_size=1)),
    "xlm-roberta": lambda: (_vit(), _bert_like(XLMRobertaConfig, pad_token_id=PAD, type_vocab_size=1)),
    "camembert": lambda: (_vit(), _bert_like(CamembertConfig, layer_norm_eps=1e-5)),
    "data2vec": lambda: (_vit(20), _bert_like(Data2VecTextConfig, type_vocab_size=1)),
    "bert generation": lambda: (_vit(20), _bert_like(BertGenerationConfig)),
    "electra": lambda: (_vit(), _bert_like(ElectraConfig, embedding_size=30, hidden_act="relu")),
    "bart": lambda: (_vit(), _bart_like(BartConfig, scale_embedding=False)),
    "blenderbot": lambda: (_vit(), _bart_like(BlenderbotConfig, scale_embedding=True)),
    "marian": lambda: (_vit(), _bart_like(MarianConfig, scale_embedding=True, activation_function="relu")),
    "mvp": lambda: (_vit(), _bart_like(MvpConfig)),
    "pegasus": lambda: (_vit(), _bart_like(PegasusConfig)),
    "plbart": lambda: (_vit(), _bart_like(PLBartConfig)),
    "trocr, learned": lambda: (
        DeiTConfig(**_vision(24)),  # type: ignore[no-untyped-call]
        _bart_like(TrOCRConfig, cross_attention_hidden_size=24, scale_embedding=True, activation_function="relu"),
    ),
    "trocr, sinusoidal": lambda: (
        BeitConfig(**_vision(24), use_relative_position_bias=True),  # type: ignore[no-untyped-call]
        _bart_like(TrOCRConfig, use_learned_position_embeddings=False, layernorm_embedding=False),
    ),
    "donut": lambda: (_donut_swin(), _bart_like(MBartConfig, scale_embedding=True)),
    "xglm": lambda: (_vit(), _xglm(scale_embedding=True)),
    "xglm, pad row": lambda: (_vit(), _xglm(scale_embedding=False, activation_function="relu", pad_token_id=7)),
}

# Those that have no adapter, and that optimum-onnx exports.
ONLY_BY_OPTIMUM: dict[str, Callable[[], tuple[PretrainedConfig, PretrainedConfig]]] = {
    "megatron-bert": lambda: (_vit(), _bert_like(MegatronBertConfig)),
    "rembert": lambda: (_vit(), _bert_like(RemBertConfig, input_embedding_size=18, output_embedding_size=22)),
}


def vision_encoder_decoder(name: str, seed: int) -> Any:
    """The VisionEncoderDecoderModel of that name in one of the tables above, float32, in eval mode."""
    torch.manual_seed(seed)
    vision, text = (MODELS | ONLY_BY_OPTIMUM)[name]()
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    config.tie_word_embeddings = text.tie_word_embeddings
    model: Any = VisionEncoderDecoderModel(config)
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id, settings.eos_token_id, settings.pad_token_id = START, END, PAD
    model.generation_config.max_length, model.generation_config.num_beams = tiny.MAX_LENGTH, tiny.NUM_BEAMS
    return _lively(model, model.decoder, END)


def blip(seed: int) -> Any:
    """A BlipForConditionalGeneration, whose texts end at its sep token; float32, in eval mode."""
    torch.manual_seed(seed)
    text = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 30,
        "encoder_hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "intermediate_size": 44,
        "max_position_embeddings": 40,
        "bos_token_id": 95,
        "sep_token_id": 3,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    vision = _vision(24) | {"initializer_range": 0.02}  # 1e-10 by default, which shows no photo
    config = BlipConfig(text_config=text, vision_config=vision)  # type: ignore[no-untyped-call]
    model: Any = BlipForConditionalGeneration(config)  # type: ignore[no-untyped-call]
    return _lively(model, model.text_decoder, 3)


def photos(model: Any, count: int, seed: int = 0) -> Any:
    """pixel_values of the model's size, float32[count, 3, height, width], as different as photos are."""
    vision = getattr(model.config, "encoder", None) or model.config.vision_config
    size = vision.image_size
    height, width = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, height // 8, width // 8, generator=generator)
    return coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def write_checkpoint(model: Any, folder: Path) -> Path:
    """Save the model as a folder of the hub has it: configurations, safetensors, tokenizer, image processor."""
    model.save_pretrained(folder)
    height, width = photos(model, 1).shape[2:]
    processor = tiny.preprocessor_config() | {"size": {"height": height, "width": width}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "tokenizer.json").write_text(tiny.word_tokenizer(VOCAB_SIZE))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def _lively(model: Any, decoder: Any, end: int) -> Any:
    model.eval()
    tables = {id(module.weight) for module in (decoder.get_input_embeddings(), decoder.get_output_embeddings())}
    with torch.no_grad():
        for name, tensor in model.named_parameters():  # a tied tensor comes once
            if "position_embedding" in name or "embed_positions" in name:
                if not name.startswith(("encoder.", "vision_model.")):
                    tensor.mul_(POSITION_SCALE)
            elif id(tensor) in tables:
                tensor.mul_(TABLE_SCALE)
            elif tensor.dim() > 1 and "class_embedding" not in name:
                tensor.mul_(MATRIX_SCALE)
            else:
                tensor.add_(torch.randn_like(tensor) * 0.1)
    _make_end_likely(model, decoder, end)
    return model


def _make_end_likely(model: Any, decoder: Any, end: int) -> None:
    """Swap the end's rows with those of a word that about 0.4 of the texts come to after their first words."""
    pixel_values = photos(model, 40, seed=1)
    texts = model.generate(pixel_values, num_beams=2, max_length=tiny.MAX_LENGTH, min_length=tiny.MAX_LENGTH)
    heard = torch.nn.functional.one_hot(texts, VOCAB_SIZE).cumsum(dim=1) > 0  # [photos, positions, words]
    late = (heard[:, -1] & ~heard[:, 3]).float().mean(dim=0) - heard[:, 3].float().mean(dim=0)
    late[texts[0, 0]] = late[[0, 1]] = -1.0
    word = int((late - 0.4).abs().argmin())
    with torch.no_grad():
        for rows in {decoder.get_input_embeddings().weight, decoder.get_output_embeddings().weight}:
            rows[[end, word]] = rows[[word, end]]
