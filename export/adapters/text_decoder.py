"""What all decoders share: a config and weights that are checked, and the inputs and outputs of their graphs.

An architecture says which tensors it has and how they become embeddings, layers and a last norm (TextDecoder); the
graph around them, docs/design.md's, is made here. Names of values end in their shapes; graphs/graph.py has the legend,
I is the width of what cross-attention reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import TensorProto

from fuseline.errors import ExportError
from fuseline.folders.tensors import QUERY
from fuseline.kernels.bodies import add_bodies

from ..graphs.graph import (
    ACTIVATIONS,
    Activation,
    Array,
    Graph,
    Step,
    Table,
    begin_step,
    cached_self_attention,
    cross_attention,
    cross_key_value,
    kept,
    layer_norm,
    linear,
    lm_head,
    model_of,
    new_graph,
    table,
)
from ..graphs.weights import Scheme
from ..graphs.weights_file import WeightsFile
from .tensors import Tensors, check_hidden, read_tensors

_PROJECTION = "enc_to_dec_proj"  # of VisionEncoderDecoderModel, where encoder and decoder differ in width


@dataclass(frozen=True)
class Sizes:
    """What of config.json decides the graph, in every architecture."""

    layers: int
    heads: int
    width: int
    inner: int
    vocab_size: int
    positions: int
    """how many tokens the decoder can tell apart by their place"""
    activation: Activation
    epsilon: float
    """of the layer norms"""
    tied: bool
    """whether the head is the token embedding"""

    @property
    def head_size(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class Pen:
    """Writes layers by the names of their tensors. weights: float32, those of linear layers as [in, out]."""

    g: Graph
    weights: Mapping[str, Array]
    scheme: Scheme
    epsilon: float

    def linear(self, x: str, *names: str, name: str = "", **ending: Any) -> str:
        """float32[..., I] -> [..., O]: the linear layer of that name, or several side by side as `name`.

        ending: the activation and residual of graph.linear.
        """
        weight_IO = np.concatenate([self.weights[f"{each}.weight"] for each in names], axis=1)
        bias_O = np.concatenate([self.weights[f"{each}.bias"] for each in names])
        return linear(self.g, x, weight_IO, bias_O, self.scheme, name or names[0], **ending)

    def norm(self, x: str, name: str) -> str:
        """float32[..., E] -> the same: the layer norm of that name."""
        return layer_norm(self.g, x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], self.epsilon, name)


@dataclass(frozen=True)
class Inputs:
    """The step's inputs, as docs/design.md has them, and what begin_step makes of them."""

    ids_RT: str
    position_1: str
    step: Step


@dataclass(frozen=True)
class Layer(Pen):
    """A pen for one layer, which knows the layer's caches."""

    step: Step
    index: int

    def self_attention(self, qkv_N3E: str, scale: float) -> str:
        """float32[N, E] of query, key and value side by side; the cache is written."""
        past_CRE, present_CRE = (kv_names(time, self.index, "decoder") for time in ("past_key_values", "present"))
        return cached_self_attention(self.g, self.step, qkv_N3E, past_CRE, present_CRE, scale)

    def cross_attention(self, query_NE: str, scale: float) -> str:
        """float32[N, E] of the query and the photo's key and value. The query is an output of the graph too."""
        names = kv_names("past_key_values", self.index, "encoder")
        query_NE = self.g.rename(query_NE, QUERY.format(self.index))
        return cross_attention(self.g, query_NE, *names, self.step.heads, self.step.head_size, scale, self.scheme)


class TextDecoder(ABC):
    """A decoder of one architecture; the classmethods are those of registry.DecoderAdapter."""

    title: ClassVar[str]
    """in messages"""
    fields: ClassVar[Mapping[str, str]]
    """where config.json has what Sizes needs, by the names of Sizes; what is missing here is in `defaults`"""
    defaults: ClassVar[Mapping[str, Any]]
    """what config.json leaves out, by its own names"""
    prefixes: ClassVar[Sequence[str]] = ("decoder.", "")
    """what the names of the tensors may begin with in a checkpoint: inside another model, or alone"""
    tokens: ClassVar[str]
    """the token embedding, without .weight; so is head"""
    head: ClassVar[str]
    out_in: ClassVar[bool] = True
    """whether linear layers lie in the checkpoint as [out, in], as those of nn.Linear do"""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """config: the decoder's section of config.json. Raises ExportError for what has no form here."""
        self.of = {**self.defaults, **config}
        self.sizes = self._read_sizes()

    @abstractmethod
    def tensors(self) -> Tensors:
        """The tensors that there must be, but for the tables of tokens."""

    @abstractmethod
    def embed(self, pen: Pen, inputs: Inputs, tokens: Table, positions: int) -> str:
        """float32[R, T, E] of the step's tokens; positions: how many are to be kept."""

    @abstractmethod
    def layer(self, pen: Layer, hidden_NE: str) -> str:
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

    def crossing(self) -> int:
        """The width of what cross-attention reads."""
        return self.sizes.width

    def source(self, name: str, prefix: str) -> str:
        """The name in the checkpoint of the tensor that is called `name` here."""
        return prefix + name

    @classmethod
    def build_decoder(
        cls,
        state_dict: Mapping[str, Array],
        config: Mapping[str, Any],
        scheme: Scheme = "fp32",
        max_positions: int | None = None,
        outside: WeightsFile | None = None,
    ) -> onnx.ModelProto:
        """The decoder graph of docs/design.md, prompt and step in one.

        state_dict: of the decoder with its head or of the model around it, as float arrays; config: the decoder's
        section of config.json; scheme: how weights are stored (positions and norms stay float32); max_positions: keep
        only the first of the position embeddings (default: all); outside: a file for the weights (default: they are in
        the graph). Raises ExportError for a config or tensors that do not describe such a decoder.
        """
        decoder = cls(config)
        sizes, weights = decoder.sizes, decoder._weights(state_dict)
        positions = decoder._positions(max_positions)
        g = new_graph("decoder", outside)
        ids_RT = g.input("input_ids", TensorProto.INT64, ["R", "T"])
        position_1 = g.input("position", TensorProto.INT64, [1])
        beam_table_RC = g.input("beam_table", TensorProto.INT64, ["R", "C"])
        step = begin_step(g, ids_RT, position_1, beam_table_RC, sizes.heads, sizes.head_size)
        tokens = table(g, weights[f"{cls.tokens}.weight"], scheme, cls.tokens)
        head = tokens if sizes.tied else table(g, weights[f"{cls.head}.weight"], scheme, cls.head)
        pen = Pen(g, weights, scheme, sizes.epsilon)
        embedded_RTE = decoder.embed(pen, Inputs(ids_RT, position_1, step), tokens, positions)
        hidden_NE = g.op("Reshape", embedded_RTE, g.ints(-1, sizes.width))
        for index in range(sizes.layers):
            _declare_caches(g, index, sizes, scheme)
            with g.scope(f"layer.{index}"):
                hidden_NE = decoder.layer(Layer(g, weights, scheme, sizes.epsilon, step, index), hidden_NE)
        shape_RTE = g.op("Concat", step.shape_RT, g.ints(sizes.width), axis=0)
        last_RE = g.op("Gather", g.op("Reshape", hidden_NE, shape_RTE), g.scalar(-1, np.int64), axis=1)
        logits_RV = lm_head(g, decoder.finish(pen, last_RE), head, "logits", decoder.head_bias(weights))
        g.output(logits_RV, TensorProto.FLOAT, ["R", sizes.vocab_size])
        for index in range(sizes.layers):
            for name in kv_names("present", index, "decoder"):
                g.output(name, TensorProto.FLOAT, ["C", "R", sizes.width])
        for index in range(sizes.layers):
            g.output(QUERY.format(index), TensorProto.FLOAT, ["N", sizes.width])
        return model_of(g)

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
        check_hidden(model, hidden_name, decoder.crossing() if projection is None else len(projection))
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

    def refuse(self, sentence: str) -> ExportError:
        """An error about the decoder, which the sentence goes on from: "has no cross-attention"."""
        return ExportError(f"the {self.title} decoder {sentence}")

    def count_positions(self) -> int:
        """How many tokens the decoder can tell apart by their place, of config.json."""
        return int(self.of[self.fields["positions"]])

    def _read_sizes(self) -> Sizes:
        of, names = self.of, self.fields
        activation, width, heads = of[names["activation"]], int(of[names["width"]]), int(of[names["heads"]])
        if activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            found = f"{names['activation']} {activation!r} of the {self.title} decoder"
            raise ExportError(f"{found} is not known; known are {known}")
        if heads < 1 or width < 1 or width % heads:
            found = f"{names['width']} {width} of the {self.title} decoder"
            raise ExportError(f"{found} must be a multiple of {names['heads']} {heads}, both positive")
        if of.get("pruned_heads"):
            raise self.refuse("has pruned heads, which is not supported; export it before pruning")
        return Sizes(
            layers=int(of[names["layers"]]),
            heads=heads,
            width=width,
            inner=int(of[names["inner"]] or 4 * width),
            vocab_size=int(of["vocab_size"]),
            positions=self.count_positions(),
            activation=ACTIVATIONS[activation],
            epsilon=float(of[names["epsilon"]]) if "epsilon" in names else 1e-5,
            tied=bool(of.get("tie_word_embeddings", True)),
        )

    def _positions(self, max_positions: int | None) -> int:
        most = self.sizes.positions
        if max_positions is None:
            return most
        if not 1 <= max_positions <= most:
            name = self.fields["positions"]
            raise ExportError(f"max_positions {max_positions} must be 1 to {most}, the {name} of the decoder")
        return max_positions

    def _weights(self, state_dict: Mapping[str, Array]) -> dict[str, Array]:
        """The tensors the graphs need, float32, linear layers as [in, out]."""
        wanted = self.tensors()
        sizes = self.sizes
        wanted.others[f"{self.tokens}.weight"] = (sizes.vocab_size, sizes.width)
        if not sizes.tied:
            wanted.others[f"{self.head}.weight"] = (sizes.vocab_size, sizes.width)
        known = (p for p in self.prefixes if self.source(f"{self.tokens}.weight", p) in state_dict)
        prefix = next(known, self.prefixes[0])
        weights = read_tensors(
            self.title, state_dict, wanted, lambda name: self.source(name, prefix), out_in=self.out_in
        )
        projection = state_dict.get(f"{_PROJECTION}.weight")
        if projection is not None:  # its input is the encoder's width, which only the encoder knows
            only = Tensors(linears={_PROJECTION: (projection.shape[-1], sizes.width)})
            weights |= read_tensors(self.title, state_dict, only, str, out_in=True)
        return weights


def kv_names(time: str, layer: int, owner: str) -> tuple[str, str]:
    """The names of a layer's key and value. time: past_key_values or present; owner: encoder or decoder."""
    return f"{time}.{layer}.{owner}.key", f"{time}.{layer}.{owner}.value"


def _declare_caches(g: Graph, layer: int, sizes: Sizes, scheme: Scheme) -> None:
    for name in kv_names("past_key_values", layer, "decoder"):
        g.input(name, TensorProto.FLOAT, ["C", "R", sizes.width])
    for name in kv_names("past_key_values", layer, "encoder"):
        g.input(name, *kept(scheme, sizes.heads, sizes.head_size))


def place(pen: Pen, embedded_RTE: str, positions_T: str, table_PE: Array, name: str) -> str:
    """float32[R, T, E] plus the rows of a table of positions. positions: int64[T] or int64[R, T]."""
    return pen.g.op("Add", embedded_RTE, pen.g.op("Gather", pen.g.weight(name, table_PE), positions_T))


def positions_without_pads(g: Graph, inputs: Inputs, pad: int) -> str:
    """int64[R, T]: pad + 1 + the number of tokens before, and pad for a pad token.

    As create_position_ids_from_input_ids of transformers does it with a cache: pads of this step are not counted, those
    of earlier steps are.
    """
    with g.scope("positions"):
        is_pad_RT = g.op("Equal", inputs.ids_RT, g.scalar(pad, np.int64))
        token_RT = g.op("Cast", g.op("Not", is_pad_RT), to=TensorProto.INT64)
        count_RT = g.op("CumSum", token_RT, g.scalar(1, np.int64))
        place_RT = g.op("Mul", g.op("Add", count_RT, inputs.position_1), token_RT)
        return g.op("Add", place_RT, g.scalar(pad, np.int64))
