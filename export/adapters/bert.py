"""Hugging Face BertLMHeadModel with cross-attention, from its state dict to graphs; the core of all that are like it.

Source: transformers' modeling_bert.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..encoders.bert_like import BertEncoder
from ..graphs.architecture import Pen, place
from ..graphs.graph import Activation, Array, Table, embedding
from ..graphs.tensors import Tensors
from .layer_pen import Inputs, LayerPen
from .registry import register
from .text_decoder import TextDecoder


class BertLike(TextDecoder):
    """Every part added to its input and normalized after it; a head that is a linear layer, a norm and the table."""

    fields: ClassVar = BertEncoder.fields  # the decoder's section has the names of the encoder's
    defaults: ClassVar = {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
    }
    body: ClassVar[str] = "bert"
    transform: ClassVar[tuple[str, str] | None] = (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
    )
    bias: ClassVar[str] = "cls.predictions.bias"
    has_token_types: ClassVar[bool] = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        if self.of["position_embedding_type"] != "absolute":
            found = self.of["position_embedding_type"]
            raise self.refuse(f"has position_embedding_type {found!r}, and only 'absolute' is known")
        if not (self.of["is_decoder"] and self.of["add_cross_attention"]):
            raise self.refuse("is none: its config must say is_decoder = true and add_cross_attention = true")

    def head_activation(self) -> Activation:
        """What the head's linear layer ends in."""
        return self.sizes.activation

    def tensors(self) -> Tensors:
        width, inner, e = self.sizes.width, self.sizes.inner, f"{self.body}.embeddings"
        tables = {f"{e}.position_embeddings.weight": (int(self.of["max_position_embeddings"]), width)}
        if self.has_token_types:
            tables[f"{e}.token_type_embeddings.weight"] = (int(self.of["type_vocab_size"]), width)
        wanted = Tensors(norms={f"{e}.LayerNorm": width}, others=tables | {self.bias: (self.sizes.vocab_size,)})
        if self.transform is not None:
            dense, norm = self.transform
            wanted.linears[dense], wanted.norms[norm] = (width, width), width
        linears = {"intermediate.dense": (width, inner), "output.dense": (inner, width)}
        for attention, inputs in (("attention", width), ("crossattention", self.cross_width())):
            linears |= {f"{attention}.{name}": (width, width) for name in ("self.query", "output.dense")}
            linears |= {f"{attention}.self.{name}": (inputs, width) for name in ("key", "value")}
        norms = ("attention.output.LayerNorm", "crossattention.output.LayerNorm", "output.LayerNorm")
        for layer in range(self.sizes.layers):
            wanted.linears.update({f"{self._at(layer)}.{name}": dims for name, dims in linears.items()})
            wanted.norms.update({f"{self._at(layer)}.{name}": width for name in norms})
        return wanted

    def embed(self, pen: Pen, inputs: Inputs, tokens: Table, positions: int) -> str:
        e = f"{self.body}.embeddings"
        table_PE = self.position_table(pen.weights[f"{e}.position_embeddings.weight"], positions)
        if self.has_token_types:
            table_PE = table_PE + pen.weights[f"{e}.token_type_embeddings.weight"][0]  # all tokens are of type 0
        embedded_RTE = embedding(pen.g, inputs.ids_RT, tokens)
        placed_RTE = place(pen, embedded_RTE, self.places(pen, inputs), table_PE, f"{e}.position_embeddings.weight")
        return pen.norm(placed_RTE, f"{e}.LayerNorm")

    def position_table(self, table_PE: Array, positions: int) -> Array:
        """What of the table of positions is kept."""
        return table_PE[:positions]

    def places(self, pen: Pen, inputs: Inputs) -> str:
        """Rows of that table, int64[T] or int64[R, T]."""
        return inputs.step.positions_T

    def layer(self, pen: LayerPen, hidden_NE: str) -> str:
        at, scale = self._at(pen.index), float(self.sizes.head_size**-0.5)
        qkv = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        mixed_NE = pen.self_attention(pen.linear(hidden_NE, *qkv, name=f"{at}.attention.self.qkv"), scale)
        hidden_NE = self._output(pen, mixed_NE, f"{at}.attention.output", hidden_NE)
        hidden_NE = pen.cross_attention_layers(hidden_NE, self.cross_layer)
        inner_NI = pen.linear(hidden_NE, f"{at}.intermediate.dense", activation=self.sizes.activation)
        return self._output(pen, inner_NI, f"{at}.output", hidden_NE)

    def cross_layer(self, pen: LayerPen, hidden_NE: str) -> str:
        """float32[N, E] -> the same: its cross-attention."""
        at = f"{self._at(pen.index)}.crossattention"
        query_NE = pen.cross_query(hidden_NE, f"{at}.self.query")
        mixed_NE = pen.cross_attention(query_NE, float(self.sizes.head_size**-0.5))
        return pen.cross_norm_after(
            pen.cross_output(mixed_NE, f"{at}.output.dense", hidden_NE), f"{at}.output.LayerNorm"
        )

    def finish(self, pen: Pen, hidden_RE: str) -> str:
        if self.transform is None:
            return hidden_RE
        dense, norm = self.transform
        return pen.norm(pen.linear(hidden_RE, dense, activation=self.head_activation()), norm)

    def head_bias(self, weights: Mapping[str, Array]) -> Array | None:
        return np.asarray(weights[self.bias])

    def cross_kv(self, weights: Mapping[str, Array], layer: int) -> dict[str, tuple[str, Array, Array]]:
        at = f"{self._at(layer)}.crossattention.self"
        names = {part: f"{at}.{part}" for part in ("key", "value")}
        return {part: (name, weights[f"{name}.weight"], weights[f"{name}.bias"]) for part, name in names.items()}

    def _at(self, layer: int) -> str:
        return f"{self.body}.encoder.layer.{layer}"

    def _output(self, pen: Pen, x: str, name: str, residual: str) -> str:
        return pen.norm(pen.linear(x, f"{name}.dense", residual=residual), f"{name}.LayerNorm")


@register("BertLMHeadModel", "bert")
class Bert(BertLike):
    """Positions from 0, and token types."""

    title = "BERT"
    tokens = "bert.embeddings.word_embeddings"
    head = "cls.predictions.decoder"
