"""Hugging Face M2M100ForConditionalGeneration, also of NLLB: an mBART over sinusoidal positions that no pads count in.

Source: transformers' modeling_m2m_100.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from typing import Any

from ..encoders.bart_like import BartLikeEncoder
from ..encoders.text_encoder import SourceTexts
from ..graphs.architecture import Pen, positions_without_pads
from ..graphs.graph import Array
from .bart import BartLike
from .layer_pen import Inputs
from .registry import register_model
from .text_to_text import TextToText


class M2M100Encoder(BartLikeEncoder):
    """Normalized before every part, not after the embeddings."""

    title = "M2M100"
    norm_first, norms_embedding = True, False

    def position_tensors(self) -> dict[str, tuple[int, ...]]:
        return {}

    def positions_of(self, pen: Pen, texts: SourceTexts) -> tuple[str, Array]:
        pad = int(self.of["pad_token_id"])
        rows_BS = positions_without_pads(pen.g, texts.ids_BS, texts.first_1, pad)
        return rows_BS, _table(pad + 1 + self.sizes.positions, self.sizes.width, pad)


class M2M100Decoder(BartLike):
    """Normalized before every part, not after the embeddings."""

    title = "M2M100"
    norm_first, norms_embedding = True, False

    def position_tensors(self) -> dict[str, tuple[int, ...]]:
        return {}

    def positions_of(self, pen: Pen, inputs: Inputs, positions: int) -> tuple[str, Array]:
        pad = int(self.of["pad_token_id"])
        rows_RT = positions_without_pads(pen.g, inputs.ids_RT, inputs.position_1, pad)
        return rows_RT, _table(pad + 1 + positions, self.sizes.width, pad)


def _table(count: int, width: int, pad: int) -> Array:
    """float32[count, width], zeros at the pad's position; transformers computes it too, and no checkpoint stores it."""
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding

    get_embedding: Any = M2M100SinusoidalPositionalEmbedding.get_embedding  # without types
    table: Array = get_embedding(count, width, pad).numpy()
    return table


@register_model("M2M100ForConditionalGeneration", "m2m_100")
class M2M100(TextToText):
    """See registry.ModelAdapter."""

    loader, encoder_class, decoder = "M2M100ForConditionalGeneration", M2M100Encoder, M2M100Decoder
