"""Decoders and models of transformers that are BARTs but for their norms and for where positions begin.

Sources: modeling_blenderbot.py, modeling_marian.py, modeling_mvp.py, modeling_pegasus.py
and modeling_plbart.py. Sinusoidal positions are a table in the checkpoint as learned ones are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..encoders.bart_like import BartLikeEncoder
from .bart import BartLike
from .registry import register, register_model
from .text_to_text import TextToText


@register("BlenderbotForCausalLM", "blenderbot")
class Blenderbot(BartLike):
    """Normalized before every part, not after the embeddings."""

    title = "Blenderbot"
    norm_first, norms_embedding, offset = True, False, 0


@register("MarianForCausalLM", "marian")
class Marian(BartLike):
    """Normalized after every part, not after the embeddings."""

    title = "Marian"
    norms_embedding, offset = False, 0


class MarianEncoder(BartLikeEncoder):
    """Likewise."""

    title = "Marian"
    norms_embedding, offset = False, 0


@register_model("MarianMTModel", "marian")
class MarianTextToText(TextToText):
    """OPUS-MT; its two parts may have a vocabulary each."""

    loader, encoder_class, decoder = "MarianMTModel", MarianEncoder, Marian


@register("MvpForCausalLM", "mvp")
class Mvp(BartLike):
    """A BART, where it has no prompts of its own."""

    title = "MVP"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        if self.of.get("use_prompt"):
            raise self.refuse("has use_prompt = true, and prompts that are learned are not supported")


@register("PegasusForCausalLM", "pegasus")
class Pegasus(BartLike):
    """Normalized before every part, not after the embeddings."""

    title = "Pegasus"
    norm_first, norms_embedding, offset = True, False, 0


class PegasusEncoder(BartLikeEncoder):
    """Likewise."""

    title = "Pegasus"
    norm_first, norms_embedding, offset = True, False, 0


@register_model("PegasusForConditionalGeneration", "pegasus")
class PegasusTextToText(TextToText):
    """See registry.ModelAdapter."""

    loader, encoder_class, decoder = "PegasusForConditionalGeneration", PegasusEncoder, Pegasus


@register("PLBartForCausalLM", "plbart")
class PLBart(BartLike):
    """A BART whose embeddings are scaled where config.json is silent."""

    title = "PLBart"
    defaults: ClassVar = {**BartLike.defaults, "scale_embedding": True}
