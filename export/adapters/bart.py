"""What decoders have in common that are like BART's, Hugging Face BartForCausalLM and BartForConditionalGeneration.

Source: transformers' modeling_bart.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ..encoders.bart_like import BartLikeEncoder
from ..graphs.architecture import Pen, place
from ..graphs.graph import Array, Table, embedding
from ..graphs.tensors import Tensors
from .layer_pen import Inputs, LayerPen
from .registry import register, register_model
from .text_decoder import TextDecoder
from .text_to_text import TextToText

BODY = "model.decoder"
_LOGITS_BIAS = "final_logits_bias"  # of the models that have an encoder too
OFFSET = 2  # BART's learned positions begin at this row of their table


class BartLike(TextDecoder):
    """Self-attention, cross-attention and a two-layer network, normalized before or after, over learned positions."""

    fields: ClassVar = {
        "layers": "decoder_layers",
        "heads": "decoder_attention_heads",
        "width": "d_model",
        "inner": "decoder_ffn_dim",
        "positions": "max_position_embeddings",
        "activation": "activation_function",
    }
    defaults: ClassVar = {
        "vocab_size": 50265,
        "d_model": 1024,
        "decoder_layers": 12,
        "decoder_attention_heads": 16,
        "decoder_ffn_dim": 4096,
        "activation_function": "gelu",
        "max_position_embeddings": 1024,
        "scale_embedding": False,
        "pad_token_id": 1,
    }
    tokens = f"{BODY}.embed_tokens"
    head = "lm_head"
    norm_first: ClassVar[bool] = False
    """whether a part's norm comes before it, and a last one after all layers"""
    norms_embedding: ClassVar[bool] = True
    offset: ClassVar[int] = OFFSET
    """the row of the table of positions that the first token gets"""

    def normalizes_embedding(self) -> bool:
        """Whether a norm follows the embeddings."""
        return self.norms_embedding

    def position_tensors(self) -> dict[str, tuple[int, ...]]:
        """The tensors that positions are made of."""
        return {f"{BODY}.embed_positions.weight": (self.sizes.positions + self.offset, self.sizes.width)}

    def positions_of(self, pen: Pen, inputs: Inputs, positions: int) -> tuple[str, Array]:
        """Rows, int64[T] or int64[R, T], and the table float32[P, E] they are of."""
        table_PE = pen.weights[f"{BODY}.embed_positions.weight"][self.offset : self.offset + positions]
        return inputs.step.positions_T, table_PE

    def tensors(self) -> Tensors:
        width, inner = self.sizes.width, self.sizes.inner
        wanted = Tensors(others=self.position_tensors(), perhaps={_LOGITS_BIAS: (1, self.sizes.vocab_size)})
        if self.normalizes_embedding():
            wanted.norms[f"{BODY}.layernorm_embedding"] = width
        if self.norm_first:
            wanted.norms[f"{BODY}.layer_norm"] = width
        linears = {"fc1": (width, inner), "fc2": (inner, width)}
        for attention, inputs in (("self_attn", width), ("encoder_attn", self.cross_width())):
            linears |= {f"{attention}.{name}": (width, width) for name in ("q_proj", "out_proj")}
            linears |= {f"{attention}.{name}": (inputs, width) for name in ("k_proj", "v_proj")}
        for layer in range(self.sizes.layers):
            wanted.linears.update({f"{_at(layer)}.{name}": dims for name, dims in linears.items()})
            norms = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
            wanted.norms.update({f"{_at(layer)}.{name}": width for name in norms})
        return wanted

    def embed(self, pen: Pen, inputs: Inputs, tokens: Table, positions: int) -> str:
        embedded_RTE = embedding(pen.g, inputs.ids_RT, tokens)
        if self.of["scale_embedding"]:  # the table itself is not scaled: the head may be the same one
            embedded_RTE = pen.g.op("Mul", embedded_RTE, pen.g.scalar(float(self.sizes.width**0.5), np.float32))
        rows, table_PE = self.positions_of(pen, inputs, positions)
        placed_RTE = place(pen, embedded_RTE, rows, table_PE, f"{BODY}.embed_positions.weight")
        return pen.norm(placed_RTE, f"{BODY}.layernorm_embedding") if self.normalizes_embedding() else placed_RTE

    def layer(self, pen: LayerPen, hidden_NE: str) -> str:
        at, scale = _at(pen.index), float(self.sizes.head_size**-0.5)

        def before(x: str, norm: str) -> str:
            return pen.norm(x, f"{at}.{norm}") if self.norm_first else x

        def after(x: str, norm: str) -> str:
            return x if self.norm_first else pen.norm(x, f"{at}.{norm}")

        qkv = [f"{at}.self_attn.{part}_proj" for part in "qkv"]
        qkv_N3E = pen.linear(before(hidden_NE, "self_attn_layer_norm"), *qkv, name=f"{at}.self_attn.qkv_proj")
        mixed_NE = pen.self_attention(qkv_N3E, scale)
        added_NE = pen.linear(mixed_NE, f"{at}.self_attn.out_proj", residual=hidden_NE)
        hidden_NE = after(added_NE, "self_attn_layer_norm")
        hidden_NE = pen.cross_attention_layers(hidden_NE, self.cross_layer)
        inner_NI = pen.linear(before(hidden_NE, "final_layer_norm"), f"{at}.fc1", activation=self.sizes.activation)
        return after(pen.linear(inner_NI, f"{at}.fc2", residual=hidden_NE), "final_layer_norm")

    def cross_layer(self, pen: LayerPen, hidden_NE: str) -> str:
        """float32[N, E] -> the same: its cross-attention."""
        at, norm = f"{_at(pen.index)}.encoder_attn", f"{_at(pen.index)}.encoder_attn_layer_norm"
        query_NE = pen.cross_query(pen.norm(hidden_NE, norm) if self.norm_first else hidden_NE, f"{at}.q_proj")
        mixed_NE = pen.cross_attention(query_NE, float(self.sizes.head_size**-0.5))
        added_NE = pen.cross_output(mixed_NE, f"{at}.out_proj", hidden_NE)
        return added_NE if self.norm_first else pen.cross_norm_after(added_NE, norm)

    def finish(self, pen: Pen, hidden_RE: str) -> str:
        return pen.norm(hidden_RE, f"{BODY}.layer_norm") if self.norm_first else hidden_RE

    def head_bias(self, weights: Mapping[str, Array]) -> Array | None:
        return weights[_LOGITS_BIAS][0] if _LOGITS_BIAS in weights else None

    def cross_kv(self, weights: Mapping[str, Array], layer: int) -> dict[str, tuple[str, Array, Array]]:
        names = {part: f"{_at(layer)}.encoder_attn.{part[0]}_proj" for part in ("key", "value")}
        return {part: (name, weights[f"{name}.weight"], weights[f"{name}.bias"]) for part, name in names.items()}


def _at(layer: int) -> str:
    return f"{BODY}.layers.{layer}"


@register("BartForCausalLM", "bart")
class Bart(BartLike):
    """Normalized after every part."""

    title = "BART"


class BartEncoder(BartLikeEncoder):
    """Likewise."""

    title = "BART"


@register_model("BartForConditionalGeneration", "BartModel", "bart")
class BartTextToText(TextToText):
    """The second name is what facebook/bart-base has in its config.json."""

    loader, encoder_class, decoder = "BartForConditionalGeneration", BartEncoder, Bart
