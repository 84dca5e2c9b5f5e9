"""What encoders share that are written in the words of fuseline.export.graphs.graph: the graph around their layers.

Names of values end in their shapes; fuseline.export.graphs.graph has the legend.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto

from ..graphs.architecture import UNBOUNDED, Architecture, Pen
from ..graphs.graph import Array, Graph, model_of, new_graph, self_attention
from ..graphs.weights import Scheme
from ..graphs.weights_file import WeightsFile


@dataclass(frozen=True)
class EncoderLayer(Pen):
    """A pen for one layer. lengths_B1: how many positions each input has, int64[B, 1]."""

    lengths_B1: str
    heads: int
    index: int

    def self_attention(self, qkv_BS3E: str, scale: float, distance_bias: str = "") -> str:
        """float32[B, S, E] of query, key and value side by side."""
        return self_attention(self.g, qkv_BS3E, self.lengths_B1, self.heads, scale, distance_bias, self.scheme)


class WrittenEncoder(Architecture):
    """An encoder of one architecture, of a config as transformers completes it."""

    part = "encoder"

    @abstractmethod
    def begin(self, pen: Pen) -> tuple[str, str]:
        """Declare the inputs; float32[B, S, E] of what they are embedded as, and the lengths int64[B, 1]."""

    @abstractmethod
    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        """float32[B, S, E] -> the same: one layer."""

    def between(self, pen: Pen, index: int, hidden_BSE: str) -> str:
        """float32[B, S, E] -> what layer `index` gets: what is between it and the one before, and part of neither."""
        return hidden_BSE

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
        """The inputs -> `result` float32[B, S, E].

        state_dict: of the whole model, as float arrays; config: the encoder's section of config.json; scheme: how
        weights are stored (positions, norms and convolutions stay float32); outside: a file for the weights (default:
        they are in the graph). Raises ExportError for a config or tensors that do not describe such an encoder.
        """
        encoder = cls(config)
        sizes, weights = encoder.sizes, encoder._weights(state_dict)
        g = new_graph("encoder", outside)
        pen = Pen(g, weights, scheme, sizes.epsilon)
        hidden_BSE, lengths_B1 = encoder.begin(pen)
        for index in range(sizes.layers):
            hidden_BSE = encoder.between(pen, index, hidden_BSE)
            with g.scope(f"layer.{index}"):
                layer = EncoderLayer(g, weights, scheme, sizes.epsilon, lengths_B1, sizes.heads, index)
                hidden_BSE = encoder.layer(layer, hidden_BSE)
        hidden_BSE = g.rename(encoder.finish(pen, hidden_BSE), result)
        g.output(hidden_BSE, TensorProto.FLOAT, ["B", "S", sizes.width])
        return model_of(g)

    @classmethod
    def longest(cls, config: Mapping[str, Any]) -> int | None:
        """How many positions an input may have; None where nothing bounds them."""
        positions = cls(config).sizes.positions
        return None if positions == UNBOUNDED else positions


def all_lengths(g: Graph, hidden_BSE: str) -> str:
    """int64[B, 1]: every input has all S positions."""
    shape_2 = g.op("Concat", g.op("Shape", hidden_BSE, start=0, end=1), g.ints(1), axis=0)
    return g.op("Expand", g.op("Shape", hidden_BSE, start=1, end=2), shape_2)
