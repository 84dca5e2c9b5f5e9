"""Cross-attention over several sources, written into a decoder's layers: the modes of docs/fusion.md.

The rest of a layer is the architecture's own, which writes its cross-attention through the pen of this file.
Dimensions beside those of graphs.graph: `M` sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto

from fuseline.folders.tensors import (
    FLAT,
    GATED,
    HIERARCHICAL,
    LENGTHS,
    MIX,
    PARALLEL,
    QUERY,
    SHARE,
    STARTS,
    WEIGHTS,
)
from fuseline.kernels.bodies import DOMAIN

from ..graphs.graph import Array, Graph, cross_operator, linear
from .layer_pen import LayerPen, kv_names

ONE_QUERY = (FLAT, MIX, PARALLEL, HIERARCHICAL)  # modes in which a layer asks all sources the same


@dataclass(frozen=True)
class Fusion:
    """How a decoder reads several sources.

    weights: of each source in order, the decoder's state dict with what that source has of its own in the place of the
    decoder's; gates: tanh(a) float32[L, M] of gated sources; over: of a hierarchical decoder, by layer, the query, key
    and value over the sources, "q.weight" float32[E, E] as [in, out] and so on (its output is the decoder's own).
    """

    mode: str
    names: Sequence[str]
    weights: Sequence[Mapping[str, Array]]
    gates: Array | None = None
    over: Sequence[Mapping[str, Array]] = ()


@dataclass(frozen=True)
class SourceValues:
    """What all layers of a step are told of the sources."""

    lengths_BM: str
    starts: str
    weights_BM: str
    weights_NM: str
    """of each token's input"""
    fractions_BM: str
    """w / sum w"""
    fractions_NM: str
    there_BM: str
    """1.0 where a source is there, else 0.0"""


def source_values(g: Graph, count: int, query_tokens_1: str) -> SourceValues:
    """Declares the graph's inputs, and computes what layers share. query_tokens_1: int64[1], N."""
    lengths_BM = g.input(LENGTHS, TensorProto.INT64, ["B", count])
    starts = g.input(STARTS, TensorProto.INT64, [count + 1])
    weights_BM = g.input(WEIGHTS, TensorProto.FLOAT, ["B", count])
    with g.scope("sources"):
        total_B1 = g.op("ReduceSum", weights_BM, g.ints(1), keepdims=1)
        fractions_BM = g.op("Div", weights_BM, total_B1)
        there_BM = g.op("Cast", g.op("Greater", weights_BM, g.scalar(0.0, np.float32)), to=TensorProto.FLOAT)
        inputs_1 = g.op("Shape", weights_BM, start=0, end=1)
        shape_3 = g.op("Concat", inputs_1, g.op("Div", query_tokens_1, inputs_1), g.ints(count), axis=0)

        def of_tokens(values_BM: str) -> str:
            wide = g.op("Expand", g.op("Unsqueeze", values_BM, g.ints(1)), shape_3)
            return g.op("Reshape", wide, g.ints(-1, count))

        return SourceValues(
            lengths_BM,
            starts,
            weights_BM,
            of_tokens(weights_BM),
            fractions_BM,
            of_tokens(fractions_BM),
            there_BM,
        )


@dataclass(frozen=True, kw_only=True)
class FusedPen(LayerPen):
    """A pen for one layer of a decoder with several sources."""

    fusion: Fusion
    sources: SourceValues
    weights_of: Sequence[Mapping[str, Array]] = ()
    """of each source, by the names of `weights`"""
    noted: dict[str, str] = field(default_factory=dict)
    """values that a later part of the layer reads: "asked", what the query is made of"""

    def cross_attention_layers(self, hidden_NE: str, layer: Callable[[LayerPen, str], str]) -> str:
        """See LayerPen; serial and gated sources come one after the other."""
        if self.fusion.mode in ONE_QUERY:
            return layer(self, hidden_NE)
        sizes = []
        for source, name in enumerate(self.fusion.names):
            with self.g.scope(name):
                own = {"weights": self.weights_of[source], "stored": f"{name}.", "noted": {}}
                pen = _SourcePen(**{**vars(self), **own}, source=source)
                changed_NE = layer(pen, hidden_NE)
                there_N1 = self.g.op("Greater", pen.weight_N1(), self.g.scalar(0.0, np.float32))
                hidden_NE = self.g.op("Where", there_N1, changed_NE, hidden_NE)
                sizes.append(self.g.op("ReduceL2", pen.noted["added"], self.g.ints(1), keepdims=1))
        sizes_NM = self.g.op("Concat", *sizes, axis=1)
        least = self.g.scalar(float(np.finfo(np.float32).tiny), np.float32)
        total_N1 = self.g.op("Max", self.g.op("ReduceSum", sizes_NM, self.g.ints(1), keepdims=1), least)
        self.shared(self.of_heads(self.g.op("Div", sizes_NM, total_N1)))
        return hidden_NE

    def cross_query(self, x_NE: str, name: str) -> str:
        self.noted["asked"] = x_NE
        return super().cross_query(x_NE, name)

    def cross_attention(self, query_NE: str, scale: float) -> str:
        query_NE, mode, told = self.g.rename(query_NE, QUERY.format(self.index)), self.fusion.mode, self.sources
        if mode == FLAT:
            mixed_NE, share_NHM = self.attend("Flat", query_NE, scale, told.lengths_BM, told.weights_BM)
            self.shared(share_NHM)
            return mixed_NE
        if mode == MIX:
            parts, _ = self.attend("Separate", query_NE, scale, told.lengths_BM, told.fractions_BM)
            self.shared(self.of_heads(told.fractions_NM))
            return self.g.op("ReduceSum", self.split(parts), self.g.ints(1), keepdims=0)
        if mode == PARALLEL:
            parts, share_NHM = self.attend("Separate", query_NE, scale, told.lengths_BM, told.weights_BM)
            self.shared(share_NHM)
            return parts
        parts, _ = self.attend("Separate", query_NE, scale, told.lengths_BM, told.there_BM)
        return self.over_sources(self.split(parts), scale)

    def cross_output(self, mixed: str, name: str, residual: str) -> str:
        if self.fusion.mode != PARALLEL:
            return super().cross_output(mixed, name, residual)
        weight_IO = np.concatenate([each[f"{name}.weight"] for each in self.weights_of])
        nothing_O = np.zeros(weight_IO.shape[1], np.float32)
        biases_MO = np.stack([each.get(f"{name}.bias", nothing_O) for each in self.weights_of])
        y_NO = linear(self.g, mixed, weight_IO, nothing_O, self.scheme, name, residual=residual)
        bias_NO = self.g.op("MatMul", self.sources.weights_NM, self.g.weight(f"{name}.biases", biases_MO))
        return self.g.op("Add", y_NO, bias_NO)

    def attend(self, kind: str, query_NE: str, scale: float, lengths_BM: str, weights_BM: str) -> tuple[str, str]:
        """CrossAttentionFlat or -Separate: mixed float32[N, E] or parts [N, M x E], and share [N, H, M]."""
        made = self.g.ops(
            cross_operator(self.scheme, ending=kind),
            query_NE,
            *kv_names("past_key_values", self.index, "encoder"),
            lengths_BM,
            self.sources.starts,
            weights_BM,
            names=("", ""),
            heads=self.step.heads,
            scale=scale,
            domain=DOMAIN,
        )
        return made[0], made[1]

    def split(self, parts: str) -> str:
        """float32[N, M x E] -> [N, M, E]."""
        return self.g.op(
            "Reshape", parts, self.g.ints(-1, len(self.fusion.names), self.step.heads * self.step.head_size)
        )

    def over_sources(self, parts_NME: str, scale: float) -> str:
        """An attention over what each source gave: float32[N, M, E] -> [N, E]."""
        g, own, heads, size = self.g, self.fusion.over[self.index], self.step.heads, self.step.head_size

        def projected(x: str, part: str) -> str:
            bias = own.get(f"{part}.bias", np.zeros(own[f"{part}.weight"].shape[1], np.float32))
            return linear(g, x, own[f"{part}.weight"], bias, self.scheme, f"over.{self.index}.{part}")

        def of_sources(part: str, order: Sequence[int]) -> str:
            made = projected(parts_NME, part)
            return g.op("Transpose", g.op("Reshape", made, g.ints(0, 0, heads, size)), perm=order)

        query_NH1D = g.op("Reshape", projected(self.noted["asked"], "q"), g.ints(-1, heads, 1, size))
        scores = g.op("MatMul", query_NH1D, of_sources("k", (0, 2, 3, 1)))
        scores_NH1M = g.op("Mul", scores, g.scalar(scale, np.float32))
        logs_NM = g.op("Log", self.sources.weights_NM)  # minus infinity where a source is absent
        share_NH1M = g.op("Softmax", g.op("Add", scores_NH1M, g.op("Unsqueeze", logs_NM, g.ints(1, 2))), axis=-1)
        self.shared(g.op("Squeeze", share_NH1M, g.ints(2)))
        mixed_NH1D = g.op("MatMul", share_NH1M, of_sources("v", (0, 2, 1, 3)))
        return g.op("Reshape", mixed_NH1D, g.ints(-1, heads * size))

    def of_heads(self, share_NM: str) -> str:
        """float32[N, M] -> [N, H, M], the same for each head."""
        shape = self.g.ints(1, self.step.heads, 1)
        return self.g.op("Expand", self.g.op("Unsqueeze", share_NM, self.g.ints(1)), shape)

    def shared(self, share_NHM: str) -> None:
        """Let the graph tell this share of its layer."""
        self.g.rename(share_NHM, SHARE.format(self.index))


@dataclass(frozen=True, kw_only=True)
class _SourcePen(FusedPen):
    """A pen for the sublayer of one of several sources that are read one after the other."""

    source: int = 0

    def weight_N1(self) -> str:
        """float32[N, 1]: w~ of the source."""
        column = self.g.ints(self.source)
        return self.g.op("Gather", self.sources.weights_NM, column, axis=1)

    def cross_attention(self, query_NE: str, scale: float) -> str:
        """Of that source alone: the others have no lengths."""
        alone = np.zeros((1, len(self.fusion.names)), np.int64)
        alone[0, self.source] = 1
        lengths_BM = self.g.op("Mul", self.sources.lengths_BM, self.g.weight(f"{self.stored}{self.index}.alone", alone))
        return self.attend("Flat", query_NE, scale, lengths_BM, self.sources.there_BM)[0]

    def cross_output(self, mixed: str, name: str, residual: str) -> str:
        weight_IO = self.weights[f"{name}.weight"]
        bias_O = self.weights.get(f"{name}.bias", np.zeros(weight_IO.shape[1], np.float32))
        if self.fusion.gates is not None:
            gate = self.fusion.gates[self.index, self.source]
            weight_IO, bias_O = weight_IO * gate, bias_O * gate
        made_NO = linear(self.g, mixed, weight_IO, bias_O, self.scheme, self.stored + name)
        self.noted["added"] = self.g.op("Mul", made_NO, self.weight_N1())
        return self.g.op("Add", residual, self.noted["added"])

    def cross_norm_after(self, x_NE: str, name: str) -> str:
        """A gated source is to leave the stream as it was while its gate is 0, so nothing is normed after it."""
        return x_NE if self.fusion.mode == GATED else super().cross_norm_after(x_NE, name)
