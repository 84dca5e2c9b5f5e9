"""What text encoders have in common that are like BART's.

Source: transformers' modeling_bart.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..graphs.architecture import Pen, place
from ..graphs.graph import Array, Table, embedding
from ..graphs.tensors import Tensors
from .text_encoder import EncoderLayer, SourceTexts, TextEncoder

BODY = "model.encoder"


class BartLikeEncoder(TextEncoder):
    """Self-attention and a two-layer network, normalized before or after, over learned or stored positions."""

    fields: ClassVar = {
        "layers": "encoder_layers",
        "heads": "encoder_attention_heads",
        "width": "d_model",
        "inner": "encoder_ffn_dim",
        "positions": "max_position_embeddings",
        "activation": "activation_function",
    }
    tokens = f"{BODY}.embed_tokens"
    norm_first: ClassVar[bool] = False
    """whether a part's norm comes before it, and a last one after all layers"""
    norms_embedding: ClassVar[bool] = True
    offset: ClassVar[int] = 2
    """the row of the table of positions that the first token gets"""

    def position_tensors(self) -> dict[str, tuple[int, ...]]:
        """The tensors that positions are made of."""
        return {f"{BODY}.embed_positions.weight": (self.sizes.positions + self.offset, self.sizes.width)}

    def positions_of(self, pen: Pen, texts: SourceTexts) -> tuple[str, Array]:
        """Rows, int64[S] or int64[B, S], and the table float32[P, E] they are of."""
        return texts.positions_S, pen.weights[f"{BODY}.embed_positions.weight"][self.offset :]

    def tensors(self) -> Tensors:
        width, inner = self.sizes.width, self.sizes.inner
        wanted = Tensors(others=self.position_tensors())
        if self.norms_embedding:
            wanted.norms[f"{BODY}.layernorm_embedding"] = width
        if self.norm_first:
            wanted.norms[f"{BODY}.layer_norm"] = width
        linears = {f"self_attn.{name}": (width, width) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        linears |= {"fc1": (width, inner), "fc2": (inner, width)}
        for layer in range(self.sizes.layers):
            wanted.linears.update({f"{_at(layer)}.{name}": dims for name, dims in linears.items()})
            wanted.norms.update(
                {f"{_at(layer)}.{name}": width for name in ("self_attn_layer_norm", "final_layer_norm")}
            )
        return wanted

    def embed(self, pen: Pen, texts: SourceTexts, tokens: Table) -> str:
        embedded_BSE = embedding(pen.g, texts.ids_BS, tokens)
        if self.of["scale_embedding"]:
            embedded_BSE = pen.g.op("Mul", embedded_BSE, pen.g.scalar(float(self.sizes.width**0.5), np.float32))
        rows, table_PE = self.positions_of(pen, texts)
        placed_BSE = place(pen, embedded_BSE, rows, table_PE, f"{BODY}.embed_positions.weight")
        return pen.norm(placed_BSE, f"{BODY}.layernorm_embedding") if self.norms_embedding else placed_BSE

    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        at = _at(pen.index)

        def before(x: str, norm: str) -> str:
            return pen.norm(x, f"{at}.{norm}") if self.norm_first else x

        def after(x: str, norm: str) -> str:
            return x if self.norm_first else pen.norm(x, f"{at}.{norm}")

        qkv = [f"{at}.self_attn.{part}_proj" for part in "qkv"]
        qkv_BS3E = pen.linear(before(hidden_BSE, "self_attn_layer_norm"), *qkv, name=f"{at}.self_attn.qkv_proj")
        mixed_BSE = pen.self_attention(qkv_BS3E, float(self.sizes.head_size**-0.5))
        added_BSE = pen.linear(mixed_BSE, f"{at}.self_attn.out_proj", residual=hidden_BSE)
        hidden_BSE = after(added_BSE, "self_attn_layer_norm")
        inner_BSI = pen.linear(before(hidden_BSE, "final_layer_norm"), f"{at}.fc1", activation=self.sizes.activation)
        return after(pen.linear(inner_BSI, f"{at}.fc2", residual=hidden_BSE), "final_layer_norm")

    def finish(self, pen: Pen, hidden_BSE: str) -> str:
        return pen.norm(hidden_BSE, f"{BODY}.layer_norm") if self.norm_first else hidden_BSE


def _at(layer: int) -> str:
    return f"{BODY}.layers.{layer}"
