"""Hugging Face TrOCRForCausalLM: a BART with learned or sinusoidal positions, and keys and values of any width.

Source: transformers' modeling_trocr.py for the arithmetic and the tensors' names.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from ..graphs.architecture import Pen, positions_without_pads
from ..graphs.graph import Array
from .bart import BartLike
from .layer_pen import Inputs
from .registry import register


@register("TrOCRForCausalLM", "trocr")
class TrOcr(BartLike):
    """Normalized after every part, and after the embeddings where config.json says so."""

    title = "TrOCR"
    defaults: ClassVar = {
        **BartLike.defaults,
        "max_position_embeddings": 512,
        "use_learned_position_embeddings": True,
        "layernorm_embedding": True,
        "cross_attention_hidden_size": None,
    }
    head = "output_projection"

    def normalizes_embedding(self) -> bool:
        return bool(self.of["layernorm_embedding"])

    def cross_width(self) -> int:
        return int(self.of["cross_attention_hidden_size"] or self.sizes.width)

    def position_tensors(self) -> dict[str, tuple[int, ...]]:
        return super().position_tensors() if self.of["use_learned_position_embeddings"] else {}

    def positions_of(self, pen: Pen, inputs: Inputs, positions: int) -> tuple[str, Array]:
        if self.of["use_learned_position_embeddings"]:
            return super().positions_of(pen, inputs, positions)
        pad = int(self.of["pad_token_id"])
        return positions_without_pads(pen.g, inputs.ids_RT, inputs.position_1, pad), sinusoids(
            pad + 1 + positions, self.sizes.width, pad
        )


def sinusoids(count: int, width: int, pad: int) -> Array:
    """float32[count, width]: sines, then cosines, of frequencies from 1 to 1/10000; zeros at the pad's position.

    With sines and cosines apart, as in tensor2tensor, not in turn as in section 3.5 of Vaswani et al.
    (arXiv:1706.03762); an odd width ends in a zero.
    """
    half = width // 2
    frequency = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(10000) / (half - 1)))
    angle = np.arange(count, dtype=np.float32)[:, None] * frequency.astype(np.float32)
    table = np.zeros((count, width), np.float32)
    table[:, :half], table[:, half : 2 * half] = np.sin(angle), np.cos(angle)
    table[pad] = 0
    return table
