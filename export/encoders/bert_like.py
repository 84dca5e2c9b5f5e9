"""BertModel and its relatives as encoders of an EncoderDecoderModel, by their model types.

Sources: transformers' modeling_bert.py, modeling_roberta.py and modeling_bert_generation.py for the arithmetic (their
eager form) and the tensors' names. XLM-R, CamemBERT and Data2Vec's text model are RoBERTas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..graphs.architecture import Pen, place, positions_without_pads
from ..graphs.graph import Array, Table, embedding
from ..graphs.tensors import Tensors
from .text_encoder import EncoderLayer, SourceTexts, TextEncoder

E = "embeddings"


class BertEncoder(TextEncoder):
    """Every part added to its input and normalized after it; positions from 0, and token types."""

    title = "BERT"
    fields: ClassVar = {
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "positions": "max_position_embeddings",
        "activation": "hidden_act",
        "epsilon": "layer_norm_eps",
    }
    defaults: ClassVar = {"position_embedding_type": "absolute", "is_decoder": False}
    prefixes = ("encoder.",)
    tokens = f"{E}.word_embeddings"
    has_token_types: ClassVar[bool] = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        if self.of["position_embedding_type"] != "absolute":
            found = self.of["position_embedding_type"]
            raise self.refuse(f"has position_embedding_type {found!r}, and only 'absolute' is known")
        if self.of["is_decoder"]:
            raise self.refuse("has is_decoder = true in its config, and an encoder must have false")

    def tensors(self) -> Tensors:
        width, inner = self.sizes.width, self.sizes.inner
        tables = {f"{E}.position_embeddings.weight": (int(self.of["max_position_embeddings"]), width)}
        if self.has_token_types:
            tables[f"{E}.token_type_embeddings.weight"] = (int(self.of["type_vocab_size"]), width)
        wanted = Tensors(norms={f"{E}.LayerNorm": width}, others=dict(tables))
        linears = {"intermediate.dense": (width, inner), "output.dense": (inner, width)}
        square = ("self.query", "self.key", "self.value", "output.dense")
        linears |= {f"attention.{name}": (width, width) for name in square}
        for layer in range(self.sizes.layers):
            wanted.linears.update({f"{_at(layer)}.{name}": dims for name, dims in linears.items()})
            norms = ("attention.output.LayerNorm", "output.LayerNorm")
            wanted.norms.update({f"{_at(layer)}.{name}": width for name in norms})
        return wanted

    def embed(self, pen: Pen, texts: SourceTexts, tokens: Table) -> str:
        table_PE: Array = pen.weights[f"{E}.position_embeddings.weight"]
        if self.has_token_types:
            table_PE = table_PE + pen.weights[f"{E}.token_type_embeddings.weight"][0]  # all tokens are of type 0
        embedded_BSE = embedding(pen.g, texts.ids_BS, tokens)
        placed_BSE = place(pen, embedded_BSE, self.places(pen, texts), table_PE, f"{E}.position_embeddings.weight")
        return pen.norm(placed_BSE, f"{E}.LayerNorm")

    def places(self, pen: Pen, texts: SourceTexts) -> str:
        """Rows of the table of positions, int64[S] or int64[B, S]."""
        return texts.positions_S

    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        at = _at(pen.index)
        qkv = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        qkv_BS3E = pen.linear(hidden_BSE, *qkv, name=f"{at}.attention.self.qkv")
        mixed_BSE = pen.self_attention(qkv_BS3E, float(self.sizes.head_size**-0.5))
        hidden_BSE = _output(pen, mixed_BSE, f"{at}.attention.output", hidden_BSE)
        inner_BSI = pen.linear(hidden_BSE, f"{at}.intermediate.dense", activation=self.sizes.activation)
        return _output(pen, inner_BSI, f"{at}.output", hidden_BSE)


class RobertaEncoder(BertEncoder):
    """The first token has position pad_token_id + 1, a pad token pad_token_id."""

    title = "RoBERTa"

    def count_positions(self) -> int:
        return super().count_positions() - int(self.of["pad_token_id"]) - 1

    def places(self, pen: Pen, texts: SourceTexts) -> str:
        return positions_without_pads(pen.g, texts.ids_BS, texts.first_1, int(self.of["pad_token_id"]))


class BertGenerationEncoder(BertEncoder):
    """No token types."""

    title = "BERT generation"
    has_token_types = False


BY_MODEL_TYPE: Mapping[str, type[TextEncoder]] = {
    "bert": BertEncoder,
    "bert-generation": BertGenerationEncoder,
    "camembert": RobertaEncoder,
    "data2vec-text": RobertaEncoder,
    "roberta": RobertaEncoder,
    "xlm-roberta": RobertaEncoder,
}


def _at(layer: int) -> str:
    return f"encoder.layer.{layer}"


def _output(pen: Pen, x: str, name: str, residual: str) -> str:
    return pen.norm(pen.linear(x, f"{name}.dense", residual=residual), f"{name}.LayerNorm")
