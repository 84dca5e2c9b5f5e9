"""Hugging Face MBartForCausalLM, the decoder of Donut: a BART that is normalized before every part and after the last.

Source: transformers' modeling_mbart.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from .bart import BartLike
from .registry import register


@register("MBartForCausalLM", "mbart")
class MBart(BartLike):
    """Normalized before every part."""

    title = "mBART"
    norm_first = True
