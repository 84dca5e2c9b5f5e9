"""Hugging Face MBartForCausalLM, the decoder of Donut, and MBartForConditionalGeneration.

A BART that is normalized before every part and after the last.

Source: transformers' modeling_mbart.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from ..encoders.bart_like import BartLikeEncoder
from .bart import BartLike
from .registry import register, register_model
from .text_to_text import TextToText


@register("MBartForCausalLM", "mbart")
class MBart(BartLike):
    """Normalized before every part."""

    title = "mBART"
    norm_first = True


class MBartEncoder(BartLikeEncoder):
    """Likewise."""

    title = "mBART"
    norm_first = True


@register_model("MBartForConditionalGeneration", "mbart")
class MBartTextToText(TextToText):
    """See registry.ModelAdapter."""

    loader, encoder_class, decoder = "MBartForConditionalGeneration", MBartEncoder, MBart
