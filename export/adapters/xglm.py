"""Hugging Face XGLMForCausalLM with cross-attention: an mBART's layers over sinusoidal positions.

Source: transformers' modeling_xglm.py for the arithmetic and the tensors' names.
"""

from __future__ import annotations

from typing import ClassVar

from ..graphs.architecture import Pen
from ..graphs.graph import Array
from .bart import BODY, OFFSET, BartLike
from .layer_pen import Inputs
from .registry import register
from .trocr import sinusoids


@register("XGLMForCausalLM", "xglm")
class Xglm(BartLike):
    """Normalized before every part, not after the embeddings; pads count as positions."""

    title = "XGLM"
    fields: ClassVar = {
        **BartLike.fields,
        "layers": "num_layers",
        "heads": "attention_heads",
        "inner": "ffn_dim",
    }
    defaults: ClassVar = {
        **BartLike.defaults,
        "vocab_size": 256008,
        "num_layers": 24,
        "attention_heads": 16,
        "ffn_dim": 4096,
        "max_position_embeddings": 2048,
        "scale_embedding": True,
    }
    norm_first, norms_embedding = True, False

    def source(self, name: str, prefix: str) -> str:
        return super().source(name, prefix).replace(f"{BODY}.", "model.")

    def position_tensors(self) -> dict[str, tuple[int, ...]]:
        return {}

    def positions_of(self, pen: Pen, inputs: Inputs, positions: int) -> tuple[str, Array]:
        pad, end = int(self.of["pad_token_id"]), OFFSET + positions  # the row of that number is zero
        return inputs.step.positions_T, sinusoids(max(end, pad + 1), self.sizes.width, pad)[OFFSET:end]
