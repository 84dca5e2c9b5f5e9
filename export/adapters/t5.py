"""Hugging Face T5ForConditionalGeneration (v1.0, v1.1, Flan, ByT5) and MT5ForConditionalGeneration, both parts.

Source: transformers' modeling_t5.py for the arithmetic and the tensors' names (arXiv:1910.10683).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..encoders.text_encoder import EncoderLayer, SourceTexts, TextEncoder
from ..graphs.architecture import UNBOUNDED, Architecture, Pen
from ..graphs.graph import ACTIVATIONS, Array, Table, embedding
from ..graphs.tensors import Tensors
from .layer_pen import Inputs, LayerPen
from .registry import register_model
from .text_decoder import TextDecoder
from .text_to_text import TextToText


class T5Stack(Architecture):
    """Every part behind an RMS norm; no biases, attention that is not scaled, and distances that add to its scores."""

    title = "T5"
    fields: ClassVar = {"heads": "num_heads", "head_size": "d_kv", "width": "d_model", "inner": "d_ff"} | {
        "activation": "dense_act_fn", "epsilon": "layer_norm_epsilon"
    }  # fmt: skip
    attentions: ClassVar[tuple[str, ...]]  # of a layer, in their order

    def __init__(self, config: Mapping[str, Any]) -> None:
        kind = str(config["feed_forward_proj"])
        name = "gelu_new" if kind == "gated-gelu" else kind.removeprefix("gated-")  # as T5Config reads it
        if name not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise self.refuse(f"has feed_forward_proj {kind!r}; known are {known}, alone or after 'gated-'")
        super().__init__({**config, "dense_act_fn": name})
        self.first_layers = ("wi_0", "wi_1") if kind.startswith("gated-") else ("wi",)
        self.buckets, self.farthest = (int(self.of[f"relative_attention_{n}"]) for n in ("num_buckets", "max_distance"))
        self.distances = f"{self.part}.distance_bias"  # the name of a table that all layers share
        self.buckets_of = f"{self._at(0, 0)}.SelfAttention.relative_attention_bias.weight"
        if self.buckets < 4 or self.farthest <= self.buckets // 2:
            given = f"relative_attention_num_buckets {self.buckets} and relative_attention_max_distance {self.farthest}"
            raise self.refuse(f"has {given}; the distance must be more than half the buckets, of at least 4")

    def count_positions(self) -> int:
        return UNBOUNDED

    def tensors(self) -> Tensors:
        width, mixed, inner = self.sizes.width, self.sizes.attention, self.sizes.inner
        wanted = Tensors(others={self.buckets_of: (self.buckets, self.sizes.heads)})
        norms = [f"{self.part}.final_layer_norm.weight"]
        for layer in range(self.sizes.layers):
            parts = [f"{self._at(layer, number)}.{name}" for number, name in enumerate(self.attentions)]
            for at in parts:
                wanted.matrices.update({f"{at}.{each}": (width, mixed) for each in "qkv"} | {f"{at}.o": (mixed, width)})
            dense = f"{self._at(layer, len(parts))}.DenseReluDense"
            wanted.matrices.update({f"{dense}.{each}": (width, inner) for each in self.first_layers})
            wanted.matrices[f"{dense}.wo"] = (inner, width)
            norms += [f"{self._at(layer, number)}.layer_norm.weight" for number in range(len(parts) + 1)]
        wanted.others.update(dict.fromkeys(norms, (width,)))
        return wanted

    def embedded(self, pen: Pen, ids: str, tokens: Table) -> str:
        """Tokens embedded, and the table of distances stored: float32[H, M], of an encoder float32[H, 2 M - 1]."""
        import torch
        from transformers.models.t5.modeling_t5 import T5Attention

        both = self.part == "encoder"  # directions; p - q for key position p and query position q
        relative = torch.arange(-self.farthest, self.farthest + 1) if both else -torch.arange(self.farthest + 1)
        found_D = T5Attention._relative_position_bucket(relative, both, self.buckets, self.farthest).numpy()  # type: ignore[no-untyped-call]
        pen.g.weight(self.distances, np.ascontiguousarray(pen.weights[self.buckets_of][found_D].T))
        return embedding(pen.g, ids, tokens)

    def normed(self, pen: Pen, hidden: str, layer: int, number: int) -> str:
        """What part `number` of a layer reads."""
        return pen.rms_norm(hidden, f"{self._at(layer, number)}.layer_norm")

    def attended(self, pen: EncoderLayer | LayerPen, hidden: str) -> str:
        """A layer's self-attention, added to its input."""
        at = f"{self._at(pen.index, 0)}.SelfAttention"
        qkv = pen.linear(self.normed(pen, hidden, pen.index, 0), *(f"{at}.{each}" for each in "qkv"), name=f"{at}.qkv")
        return pen.linear(pen.self_attention(qkv, 1.0, self.distances), f"{at}.o", residual=hidden)

    def fed(self, pen: EncoderLayer | LayerPen, hidden: str) -> str:
        """A layer's last part, added to its input."""
        normed = self.normed(pen, hidden, pen.index, len(self.attentions))
        dense = f"{self._at(pen.index, len(self.attentions))}.DenseReluDense"
        first, *gated = (f"{dense}.{name}" for name in self.first_layers)
        inner = pen.linear(normed, first, activation=self.sizes.activation)
        inner = pen.linear(normed, *gated, factor=inner) if gated else inner
        return pen.linear(inner, f"{dense}.wo", residual=hidden)

    def _at(self, layer: int, number: int) -> str:
        return f"{self.part}.block.{layer}.layer.{number}"


class T5Encoder(T5Stack, TextEncoder):
    """All positions see each other."""

    fields: ClassVar = {**T5Stack.fields, "layers": "num_layers"}
    tokens, attentions = "encoder.embed_tokens", ("SelfAttention",)

    def embed(self, pen: Pen, texts: SourceTexts, tokens: Table) -> str:
        return self.embedded(pen, texts.ids_BS, tokens)

    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        return self.fed(pen, self.attended(pen, hidden_BSE))

    def finish(self, pen: Pen, hidden_BSE: str) -> str:
        return pen.rms_norm(hidden_BSE, "encoder.final_layer_norm")


class T5Decoder(T5Stack, TextDecoder):
    """A head that is the embedding reads what is scaled down."""

    fields: ClassVar = {**T5Stack.fields, "layers": "num_decoder_layers"}
    tokens, head, attentions = "decoder.embed_tokens", "lm_head", ("SelfAttention", "EncDecAttention")

    def embed(self, pen: Pen, inputs: Inputs, tokens: Table, positions: int) -> str:
        return self.embedded(pen, inputs.ids_RT, tokens)

    def layer(self, pen: LayerPen, hidden_NE: str) -> str:
        hidden_NE, at = self.attended(pen, hidden_NE), f"{self._at(pen.index, 1)}.EncDecAttention"
        query_NE = pen.linear(self.normed(pen, hidden_NE, pen.index, 1), f"{at}.q")
        return self.fed(pen, pen.linear(pen.cross_attention(query_NE, 1.0), f"{at}.o", residual=hidden_NE))

    def finish(self, pen: Pen, hidden_RE: str) -> str:
        hidden_RE = pen.rms_norm(hidden_RE, "decoder.final_layer_norm")
        scale = float(self.sizes.width**-0.5)
        return pen.g.op("Mul", hidden_RE, pen.g.scalar(scale, np.float32)) if self.sizes.tied else hidden_RE

    def cross_kv(self, weights: Mapping[str, Array], layer: int) -> dict[str, tuple[str, Array, Array]]:
        at, bias_E = f"{self._at(layer, 1)}.EncDecAttention", np.zeros(self.sizes.attention, np.float32)
        return {part: (f"{at}.{part[0]}", weights[f"{at}.{part[0]}.weight"], bias_E) for part in ("key", "value")}


@register_model("T5ForConditionalGeneration", "T5WithLMHeadModel", "t5")
class T5(TextToText):
    """Of all sizes and versions; the second name is what old files call it."""

    loader, encoder_class, decoder = "T5ForConditionalGeneration", T5Encoder, T5Decoder


@register_model("MT5ForConditionalGeneration", "mt5")
class Mt5(T5):
    """A T5 of other defaults."""

    loader = "MT5ForConditionalGeneration"
