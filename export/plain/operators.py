"""A graph of ours in plain operators of ONNX, for devices that know none of ours: the layouts `standard` and `static`.

A linear layer becomes MatMul and Add, an attention MatMul, Softmax and MatMul over the whole capacity of the cache, so
that shapes are the same in every step; what layers have in common (masks, places in the cache, sizes) is computed once.
What is in 8 or 4 bits becomes floats. `static` has every size fixed, tells the beam table by a mask and writes the
cache by Where, so that no node gathers or scatters in it.
Dimensions beside those of graphs.graph: `L` = C x R, lines of a static cache; `M` sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from ..graphs.weights import Array, restore
from .attention import Attention
from .writer import Fixed


def plain(model: onnx.ModelProto, fixed: Fixed | None = None, *, codes: bool = False) -> onnx.ModelProto:
    """The graph in plain operators.

    model: as load_graph gives it, of any scheme, used up; fixed: of a static decoder; codes: whether matrices are
    stored in 8 bits, which DequantizeLinear makes floats of; many devices multiply by such codes.
    Raises ExportError for weights that are not finite.
    """
    writer = Operators(model, fixed, codes)
    for node in model.graph.node:
        writer.write(node)
    return writer.made


class Operators(Attention):
    """Writes all operators."""

    # Convolutions, between which planes stay planes

    def plane(self, x: str) -> str:
        return self.planes.get(x) or self.g.op("Transpose", x, perm=(0, 3, 1, 2))

    def rows_of(self, planes: str, name: str) -> None:
        self.planes[name] = planes
        self.g.op("Transpose", planes, perm=(0, 2, 3, 1), name=name)

    def first_convolution(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        x, weight, bias = node.input
        own = self.stored(f"{weight}.planes", lambda: self.array(weight).transpose(3, 0, 1, 2))
        self.rows_of(self.clip(self.convolution(x, own, bias, of["strides"])), node.output[0])

    def bottleneck(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        *first, taps, taps_bias, project, project_scale, project_bias = node.input
        before = wide = self.plane(first[0])
        if len(first) > 1:
            wide = self.clip(self.pointwise(wide, first[1], first[2], first[3], of["channels"]))
        own = self.stored(f"{taps}.planes", lambda: self.array(taps).transpose(2, 0, 1)[:, None])
        wide = self.clip(self.convolution(wide, own, taps_bias, of["strides"], of["group"]))
        middle = len(self.array(taps_bias))
        narrow = self.pointwise(wide, project, project_scale, project_bias, middle)
        if node.op_type.endswith("Add"):
            narrow = self.g.op("Add", narrow, before)
        self.rows_of(narrow, node.output[0])

    def convolution(self, x: str, weight: str, bias: str, strides: Sequence[int], group: int = 1) -> str:
        return self.g.op("Conv", x, weight, bias, auto_pad="SAME_UPPER", strides=strides, group=group)

    def pointwise(self, x: str, codes: str, scale: str, bias: str, inputs: int) -> str:
        def weight() -> Array:
            return restore(self.array(codes), self.array(scale), inputs, len(self.array(bias))).T[:, :, None, None]

        return self.g.op("Conv", x, self.stored(f"{codes}.planes", weight), bias)


Operators.writers = {
    "LayerNorm": Operators.layer_norm,
    "Rotary": Operators.rotary,
    **{  # what is rounded in bfloat16 on the CPU is not on a device
        f"{rounded}{kind}": Operators.self_attention
        for rounded in ("", "BFloat16")
        for kind in ("SelfAttention", "BiasedSelfAttention")
    },
    "CachedSelfAttention": Operators.cached,
    "BiasedCachedSelfAttention": Operators.cached,
    **{
        f"{half}{kind}": Operators.cross_attention
        for half in ("", "Half")
        for kind in ("CrossAttention", "PaddedCrossAttention", "CrossAttentionFlat")
    },
    "ConvRelu6": Operators.first_convolution,
    "Int8SeparableConv": Operators.bottleneck,
    "Int8InvertedBottleneck": Operators.bottleneck,
    "Int8InvertedBottleneckAdd": Operators.bottleneck,
}
