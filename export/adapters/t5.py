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
from .registry import register_model
from .text_decoder import Inputs, Layer, TextDecoder
from .text_to_text import TextToText


class T5Stack(Architecture):
    """Every part behind an RMS norm; no biases, attention that is not scaled, and distances that add to its scores."""

    title = "T5"
    fields: ClassVar = {
        "heads": "num_heads",
        "head_size": "d_kv",
        "width": "d_model",
        "inner": "d_ff",
        "activation": "dense_act_fn",
        "epsilon": "layer_norm_epsilon",
    }
    attentions: ClassVar[tuple[str, ...]]
    """of a layer, in their order"""

    def __init__(self, config: Mapping[str, Any]) -> None:
        kind = str(config["feed_forward_proj"])
        self.gated, name = kind.startswith("gated-"), kind.removeprefix("gated-")
        name = "gelu_new" if kind == "gated-gelu" else name  # as T5Config reads it
        if name not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise self.refuse(f"has feed_forward_proj {kind!r}; known are {known}, alone or after 'gated-'")
        super().__init__({**config, "dense_act_fn": name})
        self.buckets, self.farthest = (int(self.of[f"relative_attention_{n}"]) for n in ("num_buckets", "max_distance"))
        if self.buckets < 4 or self.farthest <= self.buckets // 2:
            given = f"relative_attention_num_buckets {self.buckets} and relative_attention_max_distance {self.farthest}"
            raise self.refuse(f"has {given}; the distance must be more than half the buckets, of at least 4")

    def count_positions(self) -> int:
        return UNBOUNDED

    def tensors(self) -> Tensors:
        width, mixed, inner = self.sizes.width, self.sizes.attention, self.sizes.inner
        wanted = Tensors(others={f"{self.part}.final_layer_norm.weight": (width,)})
        wanted.others[f"{self._at(0, 0)}.SelfAttention.relative_attention_bias.weight"] = (
            self.buckets,
            self.sizes.heads,
        )
        for layer in range(self.sizes.layers):
            for number, name in enumerate(self.attentions):
                at = f"{self._at(layer, number)}.{name}"
                wanted.matrices.update({f"{at}.{each}": (width, mixed) for each in "qkv"} | {f"{at}.o": (mixed, width)})
            dense = f"{self._at(layer, len(self.attentions))}.DenseReluDense"
            names = ("wi_0", "wi_1") if self.gated else ("wi",)
            wanted.matrices.update(
                {f"{dense}.{each}": (width, inner) for each in names} | {f"{dense}.wo": (inner, width)}
            )
            norms = (f"{self._at(layer, number)}.layer_norm.weight" for number in range(len(self.attentions) + 1))
            wanted.others.update(dict.fromkeys(norms, (width,)))
        return wanted

    def begin(self, pen: Pen, ids: str, tokens: Table) -> str:
        """Tokens embedded, and the table of distances stored: float32[H, M], of an encoder float32[H, 2 M - 1]."""
        import torch
        from transformers.models.t5.modeling_t5 import T5Attention

        both = self.part == "encoder"  # directions; p - q for key position p and query position q
        relative = torch.arange(-self.farthest, self.farthest + 1) if both else -torch.arange(self.farthest + 1)
        buckets: Array = T5Attention._relative_position_bucket(relative, both, self.buckets, self.farthest).numpy()
        bias_KH = pen.weights[f"{self._at(0, 0)}.SelfAttention.relative_attention_bias.weight"]
        pen.g.weight(self.distances, np.ascontiguousarray(bias_KH[buckets].T))
        return embedding(pen.g, ids, tokens)

    @property
    def distances(self) -> str:
        """The name of that table, which all layers share."""
        return f"{self.part}.distance_bias"

    def normed(self, pen: Pen, hidden: str, layer: int, number: int) -> str:
        """What part `number` of a layer reads."""
        return pen.rms_norm(hidden, f"{self._at(layer, number)}.layer_norm")

    def attended(self, pen: EncoderLayer | Layer, hidden: str) -> str:
        """A layer's self-attention, added to its input."""
        at = f"{self._at(pen.index, 0)}.SelfAttention"
        qkv = pen.linear(self.normed(pen, hidden, pen.index, 0), *(f"{at}.{each}" for each in "qkv"), name=f"{at}.qkv")
        return pen.linear(pen.self_attention(qkv, 1.0, self.distances), f"{at}.o", residual=hidden)

    def fed(self, pen: EncoderLayer | Layer, hidden: str) -> str:
        """A layer's last part, added to its input."""
        number, ending = len(self.attentions), {"activation": self.sizes.activation}
        at, normed = f"{self._at(pen.index, number)}.DenseReluDense", self.normed(pen, hidden, pen.index, number)
        inner = pen.linear(normed, f"{at}.{'wi_0' if self.gated else 'wi'}", **ending)
        if self.gated:
            inner = pen.linear(normed, f"{at}.wi_1", factor=inner)
        return pen.linear(inner, f"{at}.wo", residual=hidden)

    def _at(self, layer: int, number: int) -> str:
        return f"{self.part}.block.{layer}.layer.{number}"


class T5Encoder(T5Stack, TextEncoder):
    """All positions see each other."""

    fields: ClassVar = {**T5Stack.fields, "layers": "num_layers"}
    tokens = "encoder.embed_tokens"
    attentions = ("SelfAttention",)

    def embed(self, pen: Pen, texts: SourceTexts, tokens: Table) -> str:
        return self.begin(pen, texts.ids_BS, tokens)

    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        return self.fed(pen, self.attended(pen, hidden_BSE))

    def finish(self, pen: Pen, hidden_BSE: str) -> str:
        return pen.rms_norm(hidden_BSE, "encoder.final_layer_norm")


class T5Decoder(T5Stack, TextDecoder):
    """A head that is the embedding reads what is scaled down."""

    fields: ClassVar = {**T5Stack.fields, "layers": "num_decoder_layers"}
    prefixes = ("",)
    tokens = "decoder.embed_tokens"
    head = "lm_head"
    attentions = ("SelfAttention", "EncDecAttention")

    def embed(self, pen: Pen, inputs: Inputs, tokens: Table, positions: int) -> str:
        return self.begin(pen, inputs.ids_RT, tokens)

    def layer(self, pen: Layer, hidden_NE: str) -> str:
        hidden_NE, at = self.attended(pen, hidden_NE), f"{self._at(pen.index, 1)}.EncDecAttention"
        query_NE = pen.linear(self.normed(pen, hidden_NE, pen.index, 1), f"{at}.q")
        return self.fed(pen, pen.linear(pen.cross_attention(query_NE, 1.0), f"{at}.o", residual=hidden_NE))

    def finish(self, pen: Pen, hidden_RE: str) -> str:
        hidden_RE = pen.rms_norm(hidden_RE, "decoder.final_layer_norm")
        scale = pen.g.scalar(float(self.sizes.width**-0.5), np.float32) if self.sizes.tied else ""
        return pen.g.op("Mul", hidden_RE, scale) if scale else hidden_RE

    def cross_kv(self, weights: Mapping[str, Array], layer: int) -> dict[str, tuple[str, Array, Array]]:
        at, bias_E = f"{self._at(layer, 1)}.EncDecAttention", np.zeros(self.sizes.attention, np.float32)
        return {part: (f"{at}.{part[0]}", weights[f"{at}.{part[0]}.weight"], bias_E) for part in ("key", "value")}


@register_model("T5ForConditionalGeneration", "T5WithLMHeadModel", "t5")
class T5(TextToText):
    """Of all sizes and versions; the second name is what old files call it."""

    loader, text_encoder, decoder = "T5ForConditionalGeneration", T5Encoder, T5Decoder


@register_model("MT5ForConditionalGeneration", "mt5")
class Mt5(T5):
    """A T5 of other defaults."""

    loader = "MT5ForConditionalGeneration"
