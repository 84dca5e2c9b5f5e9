"""What encoders of texts share: the graph around their layers, from token ids to the hidden states a decoder reads.

An architecture says which tensors it has and how they become embeddings, layers and a last norm (TextEncoder). Every
operator makes a row of a batch of that row alone: linear layers are the fused ones in float32 too, and attention reads
no further than a text is long. So a text means the same beside longer ones as alone, bit for bit.
Names of values end in their shapes; fuseline.export.graphs.graph has the legend.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from ..graphs.architecture import UNBOUNDED, Architecture, Pen
from ..graphs.graph import Array, Graph, Table, model_of, new_graph, self_attention, table
from ..graphs.weights import Scheme
from ..graphs.weights_file import WeightsFile

INPUT_NAMES = ("input_ids", "attention_mask")


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


@dataclass(frozen=True)
class EncoderLayer(Pen):
    """A pen for one layer."""

    texts: SourceTexts
    heads: int
    index: int

    def self_attention(self, qkv_BS3E: str, scale: float, distance_bias: str = "") -> str:
        """float32[B, S, E] of query, key and value side by side."""
        return self_attention(self.g, qkv_BS3E, self.texts.lengths_B1, self.heads, scale, distance_bias)


class TextEncoder(Architecture):
    """An encoder of one architecture, of a config as transformers completes it."""

    part = "encoder"

    @abstractmethod
    def embed(self, pen: Pen, texts: SourceTexts, tokens: Table) -> str:
        """float32[B, S, E] of the tokens."""

    @abstractmethod
    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        """float32[B, S, E] -> the same: one layer."""

    def finish(self, pen: Pen, hidden_BSE: str) -> str:
        """float32[B, S, E] -> the same: what comes after the last layer."""
        return hidden_BSE

    @classmethod
    def build_encoder(
        cls,
        state_dict: Mapping[str, Array],
        config: Mapping[str, Any],
        result: str,
        scheme: Scheme = "fp32",
        outside: WeightsFile | None = None,
    ) -> onnx.ModelProto:
        """input_ids and attention_mask, int64[B, S] -> `result` float32[B, S, E].

        The mask has ones and then zeros; what belongs to zeros has no meaning in the result. state_dict: of the whole
        model, as float arrays; config: the encoder's section of config.json; scheme: how weights are stored (positions
        and norms stay float32); outside: a file for the weights (default: they are in the graph). Raises ExportError
        for a config or tensors that do not describe such an encoder.
        """
        encoder = cls(config)
        sizes, weights = encoder.sizes, encoder._weights(state_dict)
        g = new_graph("encoder", outside)
        texts = _begin(g, *(g.input(name, TensorProto.INT64, ["B", "S"]) for name in INPUT_NAMES))
        tokens = table(g, weights[f"{cls.tokens}.weight"], scheme, cls.tokens)
        pen = Pen(g, weights, scheme, sizes.epsilon)
        hidden_BSE = encoder.embed(pen, texts, tokens)
        for index in range(sizes.layers):
            with g.scope(f"layer.{index}"):
                layer = EncoderLayer(g, weights, scheme, sizes.epsilon, texts, sizes.heads, index)
                hidden_BSE = encoder.layer(layer, hidden_BSE)
        hidden_BSE = g.rename(encoder.finish(pen, hidden_BSE), result)
        g.output(hidden_BSE, TensorProto.FLOAT, ["B", "S", sizes.width])
        return model_of(g)

    @classmethod
    def longest(cls, config: Mapping[str, Any]) -> int | None:
        """How many tokens a text may have; None where nothing bounds them."""
        positions = cls(config).sizes.positions
        return None if positions == UNBOUNDED else positions


def _begin(g: Graph, ids_BS: str, mask_BS: str) -> SourceTexts:
    with g.scope("texts"):
        lengths_B1 = g.op("ReduceSum", mask_BS, g.ints(1), keepdims=1)
        tokens = g.op("Squeeze", g.op("Shape", ids_BS, start=1))
        zero = g.scalar(0, np.int64)
        return SourceTexts(ids_BS, lengths_B1, g.ints(0), g.op("Range", zero, tokens, g.scalar(1, np.int64)))
