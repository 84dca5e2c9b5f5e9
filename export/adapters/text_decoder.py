"""What all decoders share: a config and weights that are checked, and the inputs and outputs of their graphs.

An architecture says which tensors it has and how they become embeddings, layers and a last norm (TextDecoder); the
graph around them, docs/design.md's, is made here. Names of values end in their shapes; graphs/graph.py has the legend,
I is the width of what cross-attention reads.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import TensorProto

from fuseline.errors import ExportError
from fuseline.folders.tensors import FLAT, QUERY, SHARE
from fuseline.kernels.bodies import add_bodies

from ..graphs.architecture import Architecture, Pen, Sizes
from ..graphs.graph import (
    Array,
    Graph,
    StepValues,
    Table,
    begin_step,
    cross_key_value,
    key_value_type,
    lm_head,
    model_of,
    new_graph,
    table,
)
from ..graphs.tensors import Tensors, check_hidden, read_tensors
from ..graphs.weights import Scheme
from ..graphs.weights_file import WeightsFile
from .fused_layers import ONE_QUERY, FusedPen, Fusion, source_values
from .layer_pen import Inputs, LayerPen, kv_names

_PROJECTION = "enc_to_dec_proj"  # of VisionEncoderDecoderModel, where encoder and decoder differ in width


class TextDecoder(Architecture):
    """A decoder of one architecture; the classmethods are those of registry.DecoderAdapter."""

    part = "decoder"
    prefixes: ClassVar[Sequence[str]] = ("decoder.", "")
    head: ClassVar[str]
    """the head, without .weight"""
    reads: ClassVar[bool] = True
    """whether it has cross-attention; one without has no sources"""

    @abstractmethod
    def embed(self, pen: Pen, inputs: Inputs, tokens: Table, positions: int) -> str:
        """float32[R, T, E] of the step's tokens; positions: how many are to be kept."""

    @abstractmethod
    def layer(self, pen: LayerPen, hidden_NE: str) -> str:
        """float32[N, E] -> the same: one layer."""

    @abstractmethod
    def cross_kv(self, weights: Mapping[str, Array], layer: int) -> dict[str, tuple[str, Array, Array]]:
        """Name, weight [I, E] and bias [E] of a layer's cross-attention, for "key" and "value"."""

    def finish(self, pen: Pen, hidden_RE: str) -> str:
        """float32[R, E] -> the same: what comes between the last layer and the head."""
        return hidden_RE

    def head_bias(self, weights: Mapping[str, Array]) -> Array | None:
        """float32[V] that is added to the logits, or None."""
        return None

    def cross_width(self) -> int:
        """The width of what cross-attention reads."""
        return self.sizes.width

    def tables(self) -> dict[str, tuple[int, int]]:
        head = {} if self.sizes.tied else {f"{self.head}.weight": (self.sizes.vocab_size, self.sizes.width)}
        return super().tables() | head

    @classmethod
    def build_decoder(
        cls,
        state_dict: Mapping[str, Array],
        config: Mapping[str, Any],
        scheme: Scheme = "fp32",
        max_positions: int | None = None,
        outside: WeightsFile | None = None,
        *,
        padded: bool = False,
        fusion: Fusion | None = None,
    ) -> onnx.ModelProto:
        """The decoder graph of docs/design.md, prompt and step in one.

        state_dict: of the decoder with its head or of the model around it, as float arrays; config: the decoder's
        section of config.json; scheme: how weights are stored (positions and norms stay float32); max_positions: keep
        only the first of the position embeddings (default: all); outside: a file for the weights (default: they are in
        the graph); padded: whether inputs of one batch have different lengths, as texts have, which the graph then
        reads; fusion: of several sources, how they are read. Raises ExportError for a config or tensors that do not
        describe such a decoder.
        """
        decoder = cls(config)
        sizes, weights = decoder.sizes, decoder._weights(state_dict)
        positions = decoder._positions(max_positions)
        g = new_graph("decoder", outside)
        ids_RT = g.input("input_ids", TensorProto.INT64, ["R", "T"])
        position_1 = g.input("position", TensorProto.INT64, [1])
        beam_table_RC = g.input("beam_table", TensorProto.INT64, ["R", "C"])
        lengths_B1 = g.input("lengths", TensorProto.INT64, ["B", 1]) if padded and fusion is None else ""
        step = begin_step(g, ids_RT, position_1, beam_table_RC, sizes.heads, sizes.head_size, lengths_B1)
        tokens = table(g, weights[f"{cls.tokens}.weight"], scheme, cls.tokens)
        head = tokens if sizes.tied else table(g, weights[f"{cls.head}.weight"], scheme, cls.head)
        pen = Pen(g, weights, scheme, sizes.epsilon)
        layer_pen = decoder._layer_pens(pen, step, fusion)
        embedded_RTE = decoder.embed(pen, Inputs(ids_RT, position_1, step), tokens, positions)
        hidden_NE = g.op("Reshape", embedded_RTE, g.ints(-1, sizes.width))
        for index in range(sizes.layers):
            _declare_caches(g, index, sizes, scheme, reads=cls.reads)
            # Only what is called layer.N becomes one node; other modes than flat have operators that are none of ours.
            with g.scope(f"layer.{index}" if fusion is None or fusion.mode == FLAT else f"fused.{index}"):
                hidden_NE = decoder.layer(layer_pen(index), hidden_NE)
        shape_RTE = g.op("Concat", step.shape_RT, g.ints(sizes.width), axis=0)
        last_RE = g.op("Gather", g.op("Reshape", hidden_NE, shape_RTE), g.scalar(-1, np.int64), axis=1)
        logits_RV = lm_head(g, decoder.finish(pen, last_RE), head, "logits", decoder.head_bias(weights))
        g.output(logits_RV, TensorProto.FLOAT, ["R", sizes.vocab_size])
        for index in range(sizes.layers):
            for name in kv_names("present", index, "decoder"):
                g.output(name, TensorProto.FLOAT, ["C", "R", sizes.attention])
        for index in range(sizes.layers if cls.reads and (fusion is None or fusion.mode in ONE_QUERY) else 0):
            g.output(QUERY.format(index), TensorProto.FLOAT, ["N", sizes.attention])
        if fusion is not None:
            for index in range(sizes.layers):
                g.output(SHARE.format(index), TensorProto.FLOAT, ["N", sizes.heads, len(fusion.names)])
        return model_of(g)

    def _layer_pens(self, pen: Pen, step: StepValues, fusion: Fusion | None) -> Callable[[int], LayerPen]:
        """What each layer is written with, by its number."""
        common = (pen.g, pen.weights, pen.scheme, pen.epsilon)
        if fusion is None:
            return lambda index: LayerPen(*common, step=step, index=index)
        tokens_1 = pen.g.op("ReduceProd", step.shape_RT, keepdims=1)
        told = source_values(pen.g, len(fusion.names), tokens_1)
        weights_of = [self._weights(each) for each in fusion.weights]
        return lambda index: FusedPen(
            *common, step=step, index=index, fusion=fusion, sources=told, weights_of=weights_of
        )

    @classmethod
    def append_cross_kv(
        cls,
        encoder: onnx.ModelProto,
        state_dict: Mapping[str, Array],
        config: Mapping[str, Any],
        hidden_name: str,
        scheme: Scheme = "fp32",
        in_place: bool = False,
    ) -> onnx.ModelProto:
        """The encoder graph with every decoder layer's cross-attention K/V as its only outputs.

        hidden_name: the value float32[B, S, I] that the decoder attends to; enc_to_dec_proj is applied first where the
        state dict has it. The rest as in build_decoder. in_place: whether the encoder given is changed and returned,
        which saves a copy of its weights.
        """
        decoder = cls(config)
        weights = decoder._weights(state_dict)
        projection = weights.get(f"{_PROJECTION}.weight")
        model = encoder if in_place else onnx.ModelProto()
        if not in_place:
            model.CopyFrom(encoder)
        check_hidden(model, hidden_name, decoder.cross_width() if projection is None else len(projection))
        del model.graph.output[:]
        g = Graph(model.graph)
        hidden_BSI = hidden_name
        if projection is not None:
            hidden_BSI = Pen(g, weights, scheme, 0.0).linear(hidden_BSI, _PROJECTION)
        for layer in range(decoder.sizes.layers):
            for part, (name, weight_IE, bias_E) in decoder.cross_kv(weights, layer).items():
                result = f"past_key_values.{layer}.encoder.{part}"
                cross_key_value(g, hidden_BSI, weight_IE, bias_E, scheme, name, decoder.sizes.heads, result)
        return add_bodies(model)

    @classmethod
    def decoder_info(cls, config: Mapping[str, Any], max_positions: int | None = None) -> dict[str, int]:
        """What fuseline.json says of the decoder that build_decoder makes of the same arguments."""
        decoder = cls(config)
        sizes = decoder.sizes
        return {
            "layers": sizes.layers,
            "heads": sizes.heads,
            "head_size": sizes.head_size,
            "vocab_size": sizes.vocab_size,
            "max_positions": decoder._positions(max_positions),
        }

    def _positions(self, max_positions: int | None) -> int:
        most = self.sizes.positions
        if max_positions is None:
            return most
        if not 1 <= max_positions <= most:
            name = self.fields.get("positions", "positions")
            raise ExportError(f"max_positions {max_positions} must be 1 to {most}, the {name} of the decoder")
        return max_positions

    def _weights(self, state_dict: Mapping[str, Array]) -> dict[str, Array]:
        weights = super()._weights(state_dict)
        projection = state_dict.get(f"{_PROJECTION}.weight")
        if projection is not None:  # its input is the encoder's width, which only the encoder knows
            only = Tensors(linears={_PROJECTION: (projection.shape[-1], self.sizes.width)})
            weights |= read_tensors(self.called(), state_dict, only, str, out_in=True)
        return weights


def _declare_caches(g: Graph, layer: int, sizes: Sizes, scheme: Scheme, *, reads: bool) -> None:
    for name in kv_names("past_key_values", layer, "decoder"):
        g.input(name, TensorProto.FLOAT, ["C", "R", sizes.attention])
    for name in kv_names("past_key_values", layer, "encoder") if reads else ():
        g.input(name, *key_value_type(scheme, sizes.heads, sizes.head_size))
