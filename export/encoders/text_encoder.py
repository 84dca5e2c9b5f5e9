"""What encoders of texts share: from token ids to the hidden states a decoder reads.

An architecture says which tensors it has and how they become embeddings, layers and a last norm (TextEncoder). Every
operator makes a row of a batch of that row alone: linear layers are the fused ones in float32 too, and attention reads
no further than a text is long. So a text means the same beside longer ones as alone, bit for bit.
Names of values end in their shapes; fuseline.export.graphs.graph has the legend.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from fuseline.folders.tensors import ATTENTION_MASK, INPUT_IDS

from ..graphs.architecture import Pen
from ..graphs.graph import Graph, Table, table
from .written import EncoderLayer, WrittenEncoder

__all__ = ["INPUT_NAMES", "EncoderLayer", "SourceTexts", "TextEncoder"]

INPUT_NAMES = (INPUT_IDS, ATTENTION_MASK)


@dataclass(frozen=True)
class SourceTexts:
    """The graph's inputs, and what all layers make of them."""

    ids_BS: str
    lengths_B1: str
    """how many tokens each text has, int64[B, 1]"""
    first_1: str
    """int64[1], the position of the first token: 0"""
    positions_S: str
    """int64[S], 0 .. S - 1"""


class TextEncoder(WrittenEncoder):
    """An encoder of one architecture. Its graph reads input_ids and attention_mask, int64[B, S].

    The mask has ones and then zeros; what belongs to zeros has no meaning in the result.
    """

    @abstractmethod
    def embed(self, pen: Pen, texts: SourceTexts, tokens: Table) -> str:
        """float32[B, S, E] of the tokens."""

    def begin(self, pen: Pen) -> tuple[str, str]:
        g = pen.g
        texts = _begin(g, *(g.input(name, TensorProto.INT64, ["B", "S"]) for name in INPUT_NAMES))
        tokens = table(g, pen.weights[f"{self.tokens}.weight"], pen.scheme, self.tokens)
        return self.embed(pen, texts, tokens), texts.lengths_B1


def _begin(g: Graph, ids_BS: str, mask_BS: str) -> SourceTexts:
    with g.scope("texts"):
        lengths_B1 = g.op("ReduceSum", mask_BS, g.ints(1), keepdims=1)
        tokens = g.op("Squeeze", g.op("Shape", ids_BS, start=1))
        zero = g.scalar(0, np.int64)
        return SourceTexts(ids_BS, lengths_B1, g.ints(0), g.op("Range", zero, tokens, g.scalar(1, np.int64)))
