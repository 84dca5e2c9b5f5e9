"""What both parts of Moonshine are made of, and its encoder (arXiv:2410.15608).

Source: transformers' modeling_moonshine.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from onnx import TensorProto

from fuseline.folders.tensors import ATTENTION_MASK, INPUT_VALUES, MOONSHINE_LONGEST, MOONSHINE_STRIDE

from ..graphs.architecture import Architecture, Pen
from ..graphs.graph import Graph, rotary
from ..graphs.tensors import Tensors
from .speech_encoder import SpeechEncoder, convolution, convolutions
from .written import EncoderLayer, all_lengths

AFTER = "post_attention_layernorm"


class MoonshineStack(Architecture):
    """Every part behind a norm without bias; rotary positions on the first part of each head."""

    title = "Moonshine"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__({"rope_theta": 10_000.0, "partial_rotary_factor": 0.9, "attention_bias": False, **config})
        if self.of.get("rope_scaling") is not None:
            raise self.refuse("has rope_scaling, which is not supported")
        groups = self.of.get(f"{self.part}_num_key_value_heads")
        if groups not in (None, self.sizes.heads):
            raise self.refuse(f"has {groups} heads of keys for {self.sizes.heads} of queries; they must be as many")
        size = self.of.get("head_dim")
        if size not in (None, self.sizes.head_size):
            raise self.refuse(f"has head_dim {size}, and its width is that of {self.sizes.head_size}")
        self.tables_of_angles = (f"{self.part}.cosines", f"{self.part}.sines")

    def angles(self, g: Graph, positions: int) -> None:
        """Store the tables that all layers turn by, float32[positions, F] each."""
        size = int(self.sizes.head_size * float(self.of["partial_rotary_factor"]))
        powers = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
        frequency = np.float32(1) / np.float32(self.of["rope_theta"]) ** powers
        angle_PF = np.arange(positions, dtype=np.float32)[:, None] * frequency
        for name, table_PF in zip(self.tables_of_angles, (np.cos(angle_PF), np.sin(angle_PF)), strict=True):
            g.weight(name, table_PF.astype(np.float32))

    def attention_tensors(self, wanted: Tensors, at: str) -> None:
        """Those of one attention."""
        width = self.sizes.width
        wanted.matrices[f"{at}.o_proj"] = (width, width)
        others = wanted.linears if self.of["attention_bias"] else wanted.matrices
        others.update({f"{at}.{part}_proj": (width, width) for part in "qkv"})

    def qkv(self, pen: Pen, layer: int, hidden: str) -> str:
        """A layer's query, key and value side by side, before they are turned."""
        at = f"{self.at(layer)}.self_attn"
        normed = pen.norm(hidden, f"{self.at(layer)}.input_layernorm")
        return pen.linear(normed, *(f"{at}.{part}_proj" for part in "qkv"), name=f"{at}.qkv_proj")

    def at(self, layer: int) -> str:
        """The beginning of the names of a layer's tensors."""
        return f"model.{self.part}.layers.{layer}"


class MoonshineEncoder(MoonshineStack, SpeechEncoder):
    """Three convolutions over the samples, a norm over all of the first one's result, and layers."""

    inputs = (INPUT_VALUES, ATTENTION_MASK)
    fields: ClassVar = {
        "layers": "encoder_num_hidden_layers",
        "heads": "encoder_num_attention_heads",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "activation": "encoder_hidden_act",
    }
    tokens = "model.encoder.conv1"

    def count_positions(self) -> int:
        return MOONSHINE_LONGEST

    @classmethod
    def samples_a_position(cls, config: Mapping[str, Any]) -> int | None:
        return MOONSHINE_STRIDE

    def tensors(self) -> Tensors:
        width, inner, body = self.sizes.width, self.sizes.inner, "model.encoder"
        shapes = {f"{body}.conv1": (width, 1, 127), f"{body}.conv2": (2 * width, width, 7)}
        wanted = convolutions({**shapes, f"{body}.conv3": (width, 2 * width, 3)}, without_bias=(f"{body}.conv1",))
        wanted.norms[f"{body}.groupnorm"] = width
        wanted.others[f"{body}.layer_norm.weight"] = (width,)
        for at in map(self.at, range(self.sizes.layers)):
            self.attention_tensors(wanted, f"{at}.self_attn")
            wanted.linears.update({f"{at}.mlp.fc1": (width, inner), f"{at}.mlp.fc2": (inner, width)})
            wanted.others.update({f"{at}.{name}.weight": (width,) for name in ("input_layernorm", AFTER)})
        return wanted

    def begin(self, pen: Pen) -> tuple[str, str]:
        g, body = pen.g, "model.encoder"
        samples_BF = g.input(INPUT_VALUES, TensorProto.FLOAT, ["B", "samples"])
        first_BEF = g.op("Tanh", convolution(pen, g.op("Unsqueeze", samples_BF, g.ints(1)), f"{body}.conv1", 64))
        hidden_BEF = self._normed(pen, first_BEF, f"{body}.groupnorm")
        hidden_BEF = g.op("Gelu", convolution(pen, hidden_BEF, f"{body}.conv2", 3))
        hidden_BES = g.op("Gelu", convolution(pen, hidden_BEF, f"{body}.conv3", 2))
        hidden_BSE = g.op("Transpose", hidden_BES, perm=[0, 2, 1])
        self.angles(g, MOONSHINE_LONGEST)
        return hidden_BSE, all_lengths(g, hidden_BSE)

    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        g, at, qkv_BS3E = pen.g, self.at(pen.index), self.qkv(pen, pen.index, hidden_BSE)
        turned_BS3E = rotary(g, qkv_BS3E, self.tables_of_angles, g.ints(0), pen.lengths_B1, self.sizes.heads)
        mixed_BSE = pen.self_attention(turned_BS3E, float(self.sizes.head_size**-0.5))
        hidden_BSE = pen.linear(mixed_BSE, f"{at}.self_attn.o_proj", residual=hidden_BSE)
        inner_BSI = pen.linear(pen.norm(hidden_BSE, f"{at}.{AFTER}"), f"{at}.mlp.fc1", activation=self.sizes.activation)
        return pen.linear(inner_BSI, f"{at}.mlp.fc2", residual=hidden_BSE)

    def finish(self, pen: Pen, hidden_BSE: str) -> str:
        return pen.norm(hidden_BSE, "model.encoder.layer_norm")

    def _normed(self, pen: Pen, x_BEF: str, name: str) -> str:
        """GroupNorm of one group: over all numbers of an input, then a scale and a shift for each channel."""
        g, one = pen.g, np.ones(1, np.float32)
        scale, shift = g.weight(f"{name}.ones", one), g.weight(f"{name}.zeros", 0 * one)
        flat_B1X = g.op("Reshape", x_BEF, g.ints(0, 1, -1))
        normed = g.op("InstanceNormalization", flat_B1X, scale, shift, epsilon=1e-5)
        normed_BEF = g.op("Reshape", normed, g.op("Shape", x_BEF))
        weights = (g.weight(f"{name}.{each}", pen.weights[f"{name}.{each}"][:, None]) for each in ("weight", "bias"))
        return g.op("Add", g.op("Mul", normed_BEF, next(weights)), next(weights))
