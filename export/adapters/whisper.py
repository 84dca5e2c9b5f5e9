"""Hugging Face WhisperForConditionalGeneration, both parts, of all sizes (arXiv:2212.04356).

Source: transformers' modeling_whisper.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from onnx import TensorProto

from fuseline.folders.tensors import INPUT_FEATURES

from ..encoders.speech_encoder import SpeechEncoder, convolution, convolutions
from ..encoders.written import EncoderLayer, all_lengths
from ..graphs.architecture import Pen
from ..graphs.graph import Array
from ..graphs.tensors import Tensors
from .bart import BartLike
from .layer_pen import Inputs
from .registry import register_model
from .speech_to_text import SpeechToText

BODY = "model.encoder"
_WITHOUT_BIAS = ".k_proj"


class WhisperEncoder(SpeechEncoder):
    """Two convolutions, the second of which halves the frames, and layers normalized before every part."""

    title, inputs = "Whisper", (INPUT_FEATURES,)
    fields: ClassVar = {
        "layers": "encoder_layers",
        "heads": "encoder_attention_heads",
        "width": "d_model",
        "inner": "encoder_ffn_dim",
        "positions": "max_source_positions",
        "activation": "activation_function",
    }
    tokens = f"{BODY}.conv1"

    def tensors(self) -> Tensors:
        width, inner, bands = self.sizes.width, self.sizes.inner, int(self.of["num_mel_bins"])
        wanted = convolutions({f"{BODY}.conv1": (width, bands, 3), f"{BODY}.conv2": (width, width, 3)})
        wanted.others[f"{BODY}.embed_positions.weight"] = (self.sizes.positions, width)
        wanted.norms[f"{BODY}.layer_norm"] = width
        for at in map(_at, range(self.sizes.layers)):
            wanted.linears.update(
                {f"{at}.self_attn.{name}": (width, width) for name in ("q_proj", "v_proj", "out_proj")}
            )
            wanted.matrices[f"{at}.self_attn.k_proj"] = (width, width)
            wanted.linears.update({f"{at}.fc1": (width, inner), f"{at}.fc2": (inner, width)})
            wanted.norms.update({f"{at}.{name}": width for name in ("self_attn_layer_norm", "final_layer_norm")})
        return wanted

    def begin(self, pen: Pen) -> tuple[str, str]:
        g, bands = pen.g, int(self.of["num_mel_bins"])
        features = g.input(INPUT_FEATURES, TensorProto.FLOAT, ["B", bands, 2 * self.sizes.positions])
        hidden_BEF = g.op("Gelu", convolution(pen, features, f"{BODY}.conv1", pad=1))
        hidden_BES = g.op("Gelu", convolution(pen, hidden_BEF, f"{BODY}.conv2", stride=2, pad=1))
        hidden_BSE = g.op("Transpose", hidden_BES, perm=[0, 2, 1])
        positions_SE = g.weight(f"{BODY}.embed_positions.weight", pen.weights[f"{BODY}.embed_positions.weight"])
        hidden_BSE = g.op("Add", hidden_BSE, positions_SE)
        return hidden_BSE, all_lengths(g, hidden_BSE)

    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        at = _at(pen.index)
        qkv = [f"{at}.self_attn.{part}_proj" for part in "qkv"]
        qkv_BS3E = pen.linear(pen.norm(hidden_BSE, f"{at}.self_attn_layer_norm"), *qkv, name=f"{at}.self_attn.qkv_proj")
        mixed_BSE = pen.self_attention(qkv_BS3E, float(self.sizes.head_size**-0.5))
        hidden_BSE = pen.linear(mixed_BSE, f"{at}.self_attn.out_proj", residual=hidden_BSE)
        normed_BSE = pen.norm(hidden_BSE, f"{at}.final_layer_norm")
        inner_BSI = pen.linear(normed_BSE, f"{at}.fc1", activation=self.sizes.activation)
        return pen.linear(inner_BSI, f"{at}.fc2", residual=hidden_BSE)

    def finish(self, pen: Pen, hidden_BSE: str) -> str:
        return pen.norm(hidden_BSE, f"{BODY}.layer_norm")


class WhisperDecoder(BartLike):
    """Normalized before every part; keys have no bias, and the first token has position 0."""

    title = "Whisper"
    norm_first, norms_embedding, offset = True, False, 0
    fields: ClassVar = {**BartLike.fields, "positions": "max_target_positions"}
    head = "proj_out"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__({**config, "scale_embedding": False})  # transformers reads it, and scales nothing

    def tensors(self) -> Tensors:
        wanted = super().tensors()
        for name in [name for name in wanted.linears if name.endswith(_WITHOUT_BIAS)]:
            wanted.matrices[name] = wanted.linears.pop(name)
        return wanted

    def positions_of(self, pen: Pen, inputs: Inputs, positions: int) -> tuple[str, Array]:
        return inputs.step.positions_T, pen.weights["model.decoder.embed_positions.weight"][:positions]

    def cross_kv(self, weights: Mapping[str, Array], layer: int) -> dict[str, tuple[str, Array, Array]]:
        at = f"model.decoder.layers.{layer}.encoder_attn"
        biases = {"key": np.zeros(self.sizes.width, np.float32), "value": weights[f"{at}.v_proj.bias"]}
        return {part: (f"{at}.{part[0]}_proj", weights[f"{at}.{part[0]}_proj.weight"], biases[part]) for part in biases}


def _at(layer: int) -> str:
    return f"{BODY}.layers.{layer}"


@register_model("WhisperForConditionalGeneration", "whisper")
class Whisper(SpeechToText):
    """Multilingual and English, distilled ones and Turbo's four layers too: config.json says how many of each."""

    loader, encoder_class, decoder = "WhisperForConditionalGeneration", WhisperEncoder, WhisperDecoder

    def check(self, config: Mapping[str, Any]) -> None:
        super().check(config)
        if config.get("use_weighted_layer_sum"):
            raise WhisperEncoder(config).refuse("has use_weighted_layer_sum, which is of classifiers")
