"""Small real models of speech, with random weights that say varied things; see tests/tiny.py for why.

Sizes are odd where they may be, so that no two dimensions are taken for each other. Whisper's clips are of 2 seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    GenerationMixin,
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    PretrainedConfig,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from tests import tiny

VOCAB_SIZE = 97
START, PAD, END = 0, 1, 2
SECONDS = 2  # of Whisper's clips
TOKENS = {"bos_token_id": START, "pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": START}
# By how much matrices, tables of tokens, positions and convolutions are multiplied.
SCALES = {"whisper": (20.0, 5.0, 60.0, 20.0), "moonshine": (15.0, 10.0, 1.0, 4.0)}


def _whisper(**fields: Any) -> PretrainedConfig:
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "d_model": 30,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_attention_heads": 3,
        "decoder_attention_heads": 5,
        "encoder_ffn_dim": 52,
        "decoder_ffn_dim": 44,
        "max_source_positions": 50 * SECONDS,
        "max_target_positions": 70,
        "begin_suppress_tokens": None,
    }
    return WhisperConfig(**sizes | TOKENS | fields)


def _moonshine(**fields: Any) -> PretrainedConfig:
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 40,
        "intermediate_size": 52,
        "encoder_num_hidden_layers": 2,
        "decoder_num_hidden_layers": 3,
        "encoder_num_attention_heads": 4,
        "decoder_num_attention_heads": 4,
        "max_position_embeddings": 70,
    }
    return MoonshineConfig(**sizes | TOKENS | fields)


MODELS: dict[str, tuple[Any, Callable[[], PretrainedConfig]]] = {
    "whisper": (WhisperForConditionalGeneration, _whisper),
    "whisper v3": (WhisperForConditionalGeneration, lambda: _whisper(num_mel_bins=128, decoder_layers=1)),
    "whisper scaled": (
        WhisperForConditionalGeneration,
        lambda: _whisper(scale_embedding=True, activation_function="relu"),
    ),
    "moonshine": (MoonshineForConditionalGeneration, _moonshine),
    "moonshine biased": (
        MoonshineForConditionalGeneration,
        lambda: _moonshine(attention_bias=True, partial_rotary_factor=0.62, rope_theta=500.0),
    ),
}


# As the real ones have it: the end token, and all above it, is no text.
END_LAST: dict[str, tuple[Any, Callable[[], PretrainedConfig]]] = {
    "whisper, its end last": (
        WhisperForConditionalGeneration,
        lambda: _whisper(eos_token_id=VOCAB_SIZE - 1, pad_token_id=VOCAB_SIZE - 1),
    )
}


# Whose parts have as many layers, which optimum-onnx takes for granted.
EVEN: dict[str, tuple[Any, Callable[[], PretrainedConfig]]] = {
    "moonshine, even": (MoonshineForConditionalGeneration, lambda: _moonshine(encoder_num_hidden_layers=3))
}


@cache
def speech_model(name: str, seed: int) -> Any:
    """The model of that name in MODELS, END_LAST or EVEN, float32, in eval mode, with the reference's attention.

    It is shared, so not to be changed.
    """
    torch.manual_seed(seed)
    kind, config = (MODELS | END_LAST | EVEN)[name]
    made = config()
    made._attn_implementation = "eager"
    model = kind(made).eval()
    model.generation_config.max_length, model.generation_config.num_beams = tiny.MAX_LENGTH, tiny.NUM_BEAMS
    for field, token in TOKENS.items():
        setattr(model.generation_config, field, getattr(model.config, field, token))
    _enliven(model)
    return model


def clips(count: int, seed: int = 0) -> list[npt.NDArray[np.float32]]:
    """Sounds of 0.2 to 2 seconds at 16 kHz: tones that glide, in syllables, and noise."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        seconds = np.arange(random.integers(3_200, 32_000)) / 16_000
        pitch = random.uniform(80, 400) * (1 + 0.3 * np.sin(2 * np.pi * random.uniform(0.3, 3) * seconds))
        phase, loud = 2 * np.pi * np.cumsum(pitch) / 16_000, random.uniform(0, 1, 9)
        voice = sum(loud[step - 1] * np.sin(step * phase) for step in range(1, 10))
        syllables = np.clip(np.sin(2 * np.pi * random.uniform(1, 5) * seconds + random.uniform(0, 6)), 0, 1)
        made.append((0.1 * voice * syllables + random.normal(0, 0.01, len(seconds))).astype(np.float32))
    return made


def extractor(model: Any) -> Any:
    """The feature extractor that a checkpoint of the model comes with."""
    if model.config.model_type == "moonshine":
        return Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=False, return_attention_mask=True)
    return WhisperFeatureExtractor(feature_size=model.config.num_mel_bins, chunk_length=SECONDS)


def batch(model: Any, sounds: list[npt.NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    """The model's inputs, as its extractor makes them."""
    made = extractor(model)(sounds, sampling_rate=16_000, return_tensors="pt", padding=_padding(model))
    return {name: made[name] for name in ("input_features", "input_values", "attention_mask") if name in made}


def _padding(model: Any) -> Any:
    return True if model.config.model_type == "moonshine" else "max_length"


def generate(model: Any, inputs: dict[str, torch.Tensor], **options: Any) -> Any:
    """What the decoder says by the search of all models, int64[B, T]: Whisper's own does more."""
    return GenerationMixin.generate(model, **inputs, **options)


def write_checkpoint(model: Any, folder: Path) -> Path:
    """Save the model as a folder of the hub has it: configurations, safetensors, extractor, tokenizer."""
    model.save_pretrained(folder)
    extractor(model).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tiny.word_tokenizer(VOCAB_SIZE))
    specials = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | specials))
    return folder


def _enliven(model: Any) -> None:
    """Enlarge matrices and tables, and move norms and biases off their starting values, in place."""
    matrices, tables, positions, kernels = SCALES[model.config.model_type]
    tokens = model.get_output_embeddings().weight
    with torch.no_grad():
        for name, tensor in model.named_parameters():  # a tied tensor comes once
            if "position" in name:
                tensor.mul_(positions)
            elif tensor.dim() == 1:
                tensor.add_(torch.randn_like(tensor) * 0.1)
            elif tensor.dim() == 3:
                tensor.mul_(kernels)
            else:
                tensor.mul_(tables if tensor is tokens else matrices)
