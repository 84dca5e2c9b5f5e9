"""Hugging Face RobertaForCausalLM with cross-attention: a BERT whose positions begin after the pad token's number.

XLM-R and CamemBERT are the same under other names; Data2Vec's text model calls its body otherwise.

Source: transformers' modeling_roberta.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from typing import ClassVar

from ..graphs.architecture import Pen, positions_without_pads
from ..graphs.graph import Activation, Array
from .bert import BertLike
from .layer_pen import Inputs
from .registry import register


@register("RobertaForCausalLM", "roberta", "XLMRobertaForCausalLM", "xlm-roberta", "CamembertForCausalLM", "camembert")
class Roberta(BertLike):
    """The first token has position pad_token_id + 1, a pad token pad_token_id; the head's activation is gelu."""

    title = "RoBERTa"
    defaults: ClassVar = {**BertLike.defaults, "vocab_size": 50265, "pad_token_id": 1}
    body = "roberta"
    tokens = "roberta.embeddings.word_embeddings"
    head = "lm_head.decoder"
    transform = ("lm_head.dense", "lm_head.layer_norm")
    bias = "lm_head.bias"

    def head_activation(self) -> Activation:
        return "gelu"

    def count_positions(self) -> int:
        return super().count_positions() - self._first()

    def position_table(self, table_PE: Array, positions: int) -> Array:
        return table_PE[: self._first() + positions]

    def places(self, pen: Pen, inputs: Inputs) -> str:
        return positions_without_pads(pen.g, inputs.ids_RT, inputs.position_1, self._first() - 1)

    def _first(self) -> int:
        return int(self.of["pad_token_id"]) + 1


@register("Data2VecTextForCausalLM", "data2vec-text")
class Data2VecText(Roberta):
    """A RoBERTa."""

    title = "Data2Vec"
    body = "data2vec_text"
    tokens = "data2vec_text.embeddings.word_embeddings"
