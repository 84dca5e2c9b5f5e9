"""What encoders of photos share: patches behind tokens of their own, then layers that are normalized before every part.

Names of values end in their shapes; fuseline.export.graphs.graph has the legend, P stands for patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from onnx import TensorProto

from fuseline.folders.tensors import PIXEL_VALUES

from ..graphs.architecture import Pen
from ..graphs.graph import Array
from ..graphs.tensors import Tensors
from .written import EncoderLayer, WrittenEncoder, all_lengths

PHOTO = "photo"  # in the config: height and width in pixels, which the graph is fixed to


@dataclass(frozen=True)
class Names:
    """What the tensors of a layer are called, after the layer's own name. qkv: three layers, or one for all three."""

    norm_1: str
    qkv: Sequence[str]
    out: str
    norm_2: str
    fc1: str
    fc2: str


class VisionEncoder(WrittenEncoder):
    """An encoder of one architecture, of a model of transformers alone, whose tensors it knows by their names there."""

    fields: ClassVar = {
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "activation": "hidden_act",
        "epsilon": "layer_norm_eps",
    }
    defaults: ClassVar = {"vocab_size": 0, "num_channels": 3}  # there are no tokens
    body: ClassVar[str] = ""
    """what all names begin with"""
    layers: ClassVar[str]
    """the name of a layer, with {} for its number"""
    names: ClassVar[Names]
    projection: ClassVar[str]
    """the convolution that makes patches, after the body"""
    projects_bias: ClassVar[bool] = True
    first: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """the tokens before the patches, after the body, with their shapes but for the width"""
    positions: ClassVar[tuple[str, tuple[int, ...]]]
    """the table of positions likewise: its shape but for positions and width"""
    norm_before: ClassVar[str] = ""
    """a norm between the embeddings and the layers, after the body"""
    norm_after: ClassVar[str] = ""
    """a norm after the layers"""
    unused: ClassVar[str] = r"pooler\.|embeddings\.mask_token$"
    """an expression for the beginning of the tensors that no hidden state is made of"""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.tokens = cls.body + getattr(cls, "projection", "")

    def takes(self) -> bool:
        """Whether there are layers, and photos have the size that the positions are for."""
        return self.sizes.layers > 0 and self.photo() == pair(self.of["image_size"])

    def photo(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return pair(self.of[PHOTO])

    def patch(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return pair(self.of["patch_size"])

    def count_patches(self) -> int:
        (height, width), (down, across) = self.photo(), self.patch()
        return (height // down) * (width // across)

    def count_positions(self) -> int:
        return self.count_patches() + len(self.first)

    def has_bias(self) -> bool:
        """Whether query, key and value have one."""
        return bool(self.of.get("qkv_bias", True))

    def tables(self) -> dict[str, tuple[int, int]]:
        return {}

    def tensors(self) -> Tensors:
        width, inner, names = self.sizes.width, self.sizes.inner, self.names
        wanted = Tensors(others=self.embedding_tensors())
        for norm in (self.norm_before, self.norm_after):
            if norm:
                wanted.norms[self.body + norm] = width
        for at in map(self.at, range(self.sizes.layers)):
            wanted.linears.update({at + names.out: (width, width), at + names.fc1: (width, inner)})
            wanted.linears[at + names.fc2] = (inner, width)
            parts = wanted.linears if self.has_bias() else wanted.matrices
            parts.update({at + name: (width, 3 * width // len(names.qkv)) for name in names.qkv})
            wanted.norms.update({at + names.norm_1: width, at + names.norm_2: width})
        return wanted

    def embedding_tensors(self) -> dict[str, tuple[int, ...]]:
        """Those of what comes before the layers, but for norms."""
        width, (name, before) = self.sizes.width, self.positions
        found = {self.body + each: (*shape, width) for each, shape in self.first.items()}
        found[self.body + name] = (*before, self.sizes.positions, width)
        found[f"{self.tokens}.weight"] = (width, int(self.of["num_channels"]), *self.patch())
        if self.projects_bias:
            found[f"{self.tokens}.bias"] = (width,)
        return found

    def begin(self, pen: Pen) -> tuple[str, str]:
        g = pen.g
        pixels = g.input(PIXEL_VALUES, TensorProto.FLOAT, ["B", int(self.of["num_channels"]), *self.photo()])
        first_FE, places_PE = self.placed(pen.weights)
        patches_BPE = g.op("Add", self.patches(pen, pixels), g.weight(self.body + self.positions[0], places_PE))
        if len(first_FE):
            shape_3 = g.op("Concat", g.op("Shape", pixels, start=0, end=1), g.ints(*first_FE.shape), axis=0)
            first_BFE = g.op("Expand", g.weight(f"{self.body}first_tokens", first_FE), shape_3)
            patches_BPE = g.op("Concat", first_BFE, patches_BPE, axis=1)
        hidden_BSE = pen.norm(patches_BPE, self.body + self.norm_before) if self.norm_before else patches_BPE
        return hidden_BSE, all_lengths(g, hidden_BSE)

    def placed(self, weights: Mapping[str, Array]) -> tuple[Array, Array]:
        """float32[F, E] of the tokens before the patches, with their positions, and float32[P, E] of the others."""
        table_SE = weights[self.body + self.positions[0]].reshape(-1, self.sizes.width)
        rows = [weights[self.body + name].reshape(-1, self.sizes.width) for name in self.first]
        first_FE = np.concatenate([*rows, table_SE[:0]])
        return first_FE + table_SE[: len(first_FE)], table_SE[len(first_FE) :]

    def patches(self, pen: Pen, pixels: str) -> str:
        """float32[B, P, E] of float32[B, C, height, width]; what is left of rows and columns is in no patch."""
        g, patch, weights = pen.g, list(self.patch()), pen.weights
        inputs = [g.weight(name, weights[name]) for name in self.embedding_tensors() if name.startswith(self.tokens)]
        found = g.op("Conv", pixels, *inputs, kernel_shape=patch, strides=patch)
        flat_BEP = g.op("Reshape", found, g.ints(0, self.sizes.width, -1))
        return g.op("Transpose", flat_BEP, perm=[0, 2, 1])

    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        at, names = self.at(pen.index), self.names
        normed_BSE = pen.norm(hidden_BSE, at + names.norm_1)
        qkv_BS3E = pen.linear(normed_BSE, *(at + name for name in names.qkv), name=f"{at}qkv")
        mixed_BSE = self.attention(pen, qkv_BS3E, float(self.sizes.head_size**-0.5))
        hidden_BSE = pen.linear(mixed_BSE, at + names.out, residual=hidden_BSE)
        return self.network(pen, pen.norm(hidden_BSE, at + names.norm_2), at, hidden_BSE)

    def network(self, pen: Pen, x_BSE: str, at: str, residual: str) -> str:
        """float32[B, S, E] -> the same: the residual and what two layers make of x. at: of the layer's names."""
        inner_BSI = pen.linear(x_BSE, at + self.names.fc1, activation=self.sizes.activation)
        return pen.linear(inner_BSI, at + self.names.fc2, residual=residual)

    def attention(self, pen: EncoderLayer, qkv_BS3E: str, scale: float) -> str:
        """float32[B, S, E] of query, key and value side by side."""
        return pen.self_attention(qkv_BS3E, scale)

    def finish(self, pen: Pen, hidden_BSE: str) -> str:
        return pen.norm(hidden_BSE, self.body + self.norm_after) if self.norm_after else hidden_BSE

    def at(self, layer: int) -> str:
        """What the names of a layer's tensors begin with."""
        return f"{self.body}{self.layers.format(layer)}."


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of what a config has one number for, or two."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
