"""Hugging Face MoonshineForConditionalGeneration (arXiv:2410.15608); its encoder is encoders/moonshine.py.

Source: transformers' modeling_moonshine.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ..encoders.moonshine import AFTER, MoonshineEncoder, MoonshineStack
from ..graphs.architecture import Pen
from ..graphs.graph import Array, Table, embedding, rotary
from ..graphs.tensors import Tensors
from .layer_pen import Inputs, LayerPen
from .registry import register_model
from .speech_to_text import SpeechToText
from .text_decoder import TextDecoder


class MoonshineDecoder(MoonshineStack, TextDecoder):
    """A gated network whose two halves the checkpoint has as one layer."""

    fields: ClassVar = {
        "layers": "decoder_num_hidden_layers",
        "heads": "decoder_num_attention_heads",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "positions": "max_position_embeddings",
        "activation": "decoder_hidden_act",
    }
    tokens, head = "model.decoder.embed_tokens", "proj_out"

    def tensors(self) -> Tensors:
        width, inner = self.sizes.width, self.sizes.inner
        wanted = Tensors(others={"model.decoder.norm.weight": (width,)})
        for at in map(self.at, range(self.sizes.layers)):
            self.attention_tensors(wanted, f"{at}.self_attn")
            self.attention_tensors(wanted, f"{at}.encoder_attn")
            wanted.linears.update({f"{at}.mlp.fc1": (width, 2 * inner), f"{at}.mlp.fc2": (inner, width)})
            norms = ("input_layernorm", AFTER, "final_layernorm")
            wanted.others.update({f"{at}.{name}.weight": (width,) for name in norms})
        return wanted

    def embed(self, pen: Pen, inputs: Inputs, tokens: Table, positions: int) -> str:
        self.angles(pen.g, positions)
        return embedding(pen.g, inputs.ids_RT, tokens)

    def layer(self, pen: LayerPen, hidden_NE: str) -> str:
        at, scale, step = self.at(pen.index), float(self.sizes.head_size**-0.5), pen.step
        qkv_N3E = self.qkv(pen, pen.index, hidden_NE)
        qkv_N3E = rotary(pen.g, qkv_N3E, self.tables_of_angles, step.position_1, step.beam_table_RC, step.heads)
        mixed_NE = pen.self_attention(qkv_N3E, scale)
        hidden_NE = pen.linear(mixed_NE, f"{at}.self_attn.o_proj", residual=hidden_NE)
        query_NE = pen.linear(pen.norm(hidden_NE, f"{at}.{AFTER}"), f"{at}.encoder_attn.q_proj")
        mixed_NE = pen.cross_attention(query_NE, scale)
        hidden_NE = pen.linear(mixed_NE, f"{at}.encoder_attn.o_proj", residual=hidden_NE)
        normed_NE = pen.norm(hidden_NE, f"{at}.final_layernorm")
        gate_NI = pen.linear(normed_NE, f"{at}.mlp.gate", activation=self.sizes.activation)
        inner_NI = pen.linear(normed_NE, f"{at}.mlp.value", factor=gate_NI)
        return pen.linear(inner_NI, f"{at}.mlp.fc2", residual=hidden_NE)

    def finish(self, pen: Pen, hidden_RE: str) -> str:
        return pen.norm(hidden_RE, "model.decoder.norm")

    def cross_kv(self, weights: Mapping[str, Array], layer: int) -> dict[str, tuple[str, Array, Array]]:
        zeros_E = np.zeros(self.sizes.width, np.float32)
        names = {part: f"{self.at(layer)}.encoder_attn.{part[0]}_proj" for part in ("key", "value")}
        return {
            part: (name, weights[f"{name}.weight"], weights.get(f"{name}.bias", zeros_E))
            for part, name in names.items()
        }

    def _weights(self, state_dict: Mapping[str, Array]) -> dict[str, Array]:
        weights = super()._weights(state_dict)
        for at in map(self.at, range(self.sizes.layers)):
            for kind in ("weight", "bias"):
                value, gate = np.split(weights.pop(f"{at}.mlp.fc1.{kind}"), 2, axis=-1)
                weights |= {f"{at}.mlp.value.{kind}": value, f"{at}.mlp.gate.{kind}": gate}
        return weights


@register_model("MoonshineForConditionalGeneration", "moonshine")
class Moonshine(SpeechToText):
    """Its cost follows the length of what is said."""

    loader, encoder_class, decoder = "MoonshineForConditionalGeneration", MoonshineEncoder, MoonshineDecoder
