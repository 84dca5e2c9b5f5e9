"""Decoders of transformers that are BERTs but for their heads.

Sources: modeling_bert_generation.py and modeling_electra.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..graphs.graph import Activation
from .bert import BertLike
from .registry import register


@register("BertGenerationDecoder", "bert-generation")
class BertGeneration(BertLike):
    """No token types, and a head that is the table alone."""

    title = "BERT generation"
    defaults: ClassVar = {
        **BertLike.defaults,
        "vocab_size": 50358,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    tokens = "bert.embeddings.word_embeddings"
    head = "lm_head.decoder"
    transform = None
    bias = "lm_head.bias"
    has_token_types = False


@register("ElectraForCausalLM", "electra")
class Electra(BertLike):
    """The head's activation is gelu; embeddings of another width than the layers' are not known."""

    title = "ELECTRA"
    defaults: ClassVar = {
        **BertLike.defaults,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "embedding_size": 128,
    }
    body = "electra"
    tokens = "electra.embeddings.word_embeddings"
    head = "generator_lm_head"
    transform = ("generator_predictions.dense", "generator_predictions.LayerNorm")
    bias = "generator_lm_head.bias"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        if self.of["embedding_size"] != self.sizes.width:
            found, width = self.of["embedding_size"], self.sizes.width
            raise self.refuse(f"has embedding_size {found}, and only that of hidden_size {width} is known")

    def head_activation(self) -> Activation:
        return "gelu"
