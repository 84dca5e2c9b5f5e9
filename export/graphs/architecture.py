"""What decoders and text encoders share: the sizes in a config, the tensors that are checked, and a pen to write with.

Names of values end in their shapes; fuseline.export.graphs.graph has the legend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from onnx import TensorProto

from fuseline.errors import ExportError

from .graph import ACTIVATIONS, Activation, Array, Graph, layer_norm, linear, rms_norm
from .tensors import Tensors, read_tensors
from .weights import Scheme

# Where nothing in a config bounds the positions, as T5's that are relative: more than anybody asks for.
UNBOUNDED = 1_000_000


@dataclass(frozen=True)
class Sizes:
    """What of config.json decides a graph, in every architecture."""

    layers: int
    heads: int
    head_size: int
    width: int
    inner: int
    vocab_size: int
    positions: int
    """how many tokens can be told apart by their place"""
    activation: Activation
    epsilon: float
    """of the layer norms"""
    tied: bool
    """whether the head is the token embedding"""

    @property
    def attention(self) -> int:
        """The width of all heads side by side, which is that of the layers but in T5."""
        return self.heads * self.head_size


@dataclass(frozen=True)
class Pen:
    """Writes layers by the names of their tensors. weights: float32, those of linear layers as [in, out]."""

    g: Graph
    weights: Mapping[str, Array]
    scheme: Scheme
    epsilon: float
    stored: str = field(default="", kw_only=True)
    """what the names of tensors begin with in the graph"""

    def linear(self, x: str, *names: str, name: str = "", **ending: Any) -> str:
        """float32[..., I] -> [..., O]: the linear layer of that name, or several side by side as `name`.

        ending: the activation, residual or factor of graph.linear. A layer without a bias has one of zeros.
        """
        weights = [self.weights[f"{each}.weight"] for each in names]
        biases = [
            self.weights.get(f"{each}.bias", np.zeros(weight.shape[1], np.float32))
            for each, weight in zip(names, weights, strict=True)
        ]
        weight_IO, bias_O = np.concatenate(weights, axis=1), np.concatenate(biases)
        return linear(self.g, x, weight_IO, bias_O, self.scheme, self.stored + (name or names[0]), **ending)

    def norm(self, x: str, name: str) -> str:
        """float32[..., E] -> the same: the layer norm of that name, which need not have a bias."""
        weight_E = self.weights[f"{name}.weight"]
        bias_E = self.weights.get(f"{name}.bias", np.zeros_like(weight_E))
        return layer_norm(self.g, x, weight_E, bias_E, self.epsilon, self.stored + name)

    def rms_norm(self, x: str, name: str) -> str:
        """float32[..., E] -> the same: the norm of that name that has no bias and subtracts no mean."""
        return rms_norm(self.g, x, self.weights[f"{name}.weight"], self.epsilon, self.stored + name)


class Architecture(ABC):
    """A decoder or a text encoder as a section of config.json has it."""

    part: ClassVar[str]
    """decoder or encoder; so is title in messages"""
    title: ClassVar[str]
    fields: ClassVar[Mapping[str, str]]
    """where config.json has what Sizes needs, by the names of Sizes; what is missing here has a rule in _read_sizes"""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """what config.json leaves out, by its own names"""
    prefixes: ClassVar[Sequence[str]] = ("",)
    """what the names of the tensors may begin with in a checkpoint: inside another model, or alone"""
    tokens: ClassVar[str]
    """the token embedding, without .weight"""
    out_in: ClassVar[bool] = True
    """whether linear layers lie in the checkpoint as [out, in], as those of nn.Linear do"""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """config: the part's section of config.json. Raises ExportError for what has no form here."""
        self.of = {**self.defaults, **config}
        self.sizes = self._read_sizes()

    @abstractmethod
    def tensors(self) -> Tensors:
        """The tensors that there must be, but for the tables of tokens."""

    def source(self, name: str, prefix: str) -> str:
        """The name in the checkpoint of the tensor that is called `name` here."""
        return prefix + name

    def tables(self) -> dict[str, tuple[int, int]]:
        """The tables of tokens, by their names with .weight."""
        return {f"{self.tokens}.weight": (self.sizes.vocab_size, self.sizes.width)}

    @classmethod
    def called(cls) -> str:
        """In messages: "BART decoder"."""
        return f"{cls.title} {cls.part}"

    def refuse(self, sentence: str) -> ExportError:
        """An error about the part, which the sentence goes on from: "has no cross-attention"."""
        return ExportError(f"the {self.called()} {sentence}")

    def count_positions(self) -> int:
        """How many tokens can be told apart by their place, of config.json."""
        return int(self.of[self.fields["positions"]])

    def _read_sizes(self) -> Sizes:
        of, names = self.of, self.fields
        lost = sorted(name for name in (*names.values(), "vocab_size") if name not in of)
        if lost:
            raise self.refuse(f"has no {', '.join(lost)} in its config")
        activation, width, heads = of[names["activation"]], int(of[names["width"]]), int(of[names["heads"]])
        if activation not in ACTIVATIONS:
            found = f"{names['activation']} {activation!r} of the {self.called()}"
            raise ExportError(f"{found} is not known; known are {', '.join(ACTIVATIONS)}")
        if of.get("pruned_heads"):
            raise self.refuse("has pruned heads, which is not supported; export it before pruning")
        return Sizes(
            layers=int(of[names["layers"]]),
            heads=heads,
            head_size=self._head_size(width, heads),
            width=width,
            inner=int(of[names["inner"]] or 4 * width),
            vocab_size=int(of["vocab_size"]),
            positions=self.count_positions(),
            activation=ACTIVATIONS[activation],
            epsilon=float(of[names["epsilon"]]) if "epsilon" in names else 1e-5,
            tied=bool(of.get("tie_word_embeddings", True)),
        )

    def _head_size(self, width: int, heads: int) -> int:
        names = self.fields
        size = int(self.of[names["head_size"]]) if "head_size" in names else 0
        if "head_size" in names and min(width, heads, size) < 1:
            given = f"{names['width']} {width}, {names['heads']} {heads} and {names['head_size']} {size}"
            raise ExportError(f"{given} of the {self.called()} must be positive")
        if "head_size" not in names and (heads < 1 or width < 1 or width % heads):
            found = f"{names['width']} {width} of the {self.called()}"
            raise ExportError(f"{found} must be a multiple of {names['heads']} {heads}, both positive")
        return size or width // heads

    def _weights(self, state_dict: Mapping[str, Array]) -> dict[str, Array]:
        """The tensors the graphs need, float32, linear layers as [in, out]."""
        wanted = self.tensors()
        wanted.others.update(self.tables())
        known = (p for p in self.prefixes if self.source(f"{self.tokens}.weight", p) in state_dict)
        prefix = next(known, self.prefixes[0])
        return read_tensors(
            self.called(), state_dict, wanted, lambda name: self.source(name, prefix), out_in=self.out_in
        )


def place(pen: Pen, embedded_RTE: str, positions_T: str, table_PE: Array, name: str) -> str:
    """float32[R, T, E] plus the rows of a table of positions. positions: int64[T] or int64[R, T]."""
    return pen.g.op("Add", embedded_RTE, pen.g.op("Gather", pen.g.weight(name, table_PE), positions_T))


def positions_without_pads(g: Graph, ids_RT: str, position_1: str, pad: int) -> str:
    """int64[R, T]: pad + 1 + the number of tokens before, and pad for a pad token. position: int64[1] of the first.

    As create_position_ids_from_input_ids of transformers does it with a cache: pads of this step are not counted, those
    of earlier steps are.
    """
    with g.scope("positions"):
        is_pad_RT = g.op("Equal", ids_RT, g.scalar(pad, np.int64))
        token_RT = g.op("Cast", g.op("Not", is_pad_RT), to=TensorProto.INT64)
        count_RT = g.op("CumSum", token_RT, g.scalar(1, np.int64))
        place_RT = g.op("Mul", g.op("Add", count_RT, position_1), token_RT)
        return g.op("Add", place_RT, g.scalar(pad, np.int64))
