"""Convolutions in rows of channels, in the words of graph.py: what encoders in 8 bits are made of.

B photos, Y rows and X columns of positions, C channels, M channels in the middle of a bottleneck, K a kernel's side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from fuseline.kernels.bodies import DOMAIN

from .graph import Attribute, Graph
from .weights import Array, store


@dataclass(frozen=True)
class Convolution:
    """weight: float32[O, I, K, K] as ONNX's Conv has it, of one input where each channel is alone; bias: float32[O]."""

    weight: Array
    bias: Array

    def matrix(self) -> Array:
        """Of 1 x 1, float32[I, O]."""
        return np.ascontiguousarray(self.weight[:, :, 0, 0].T)


def conv_relu6(g: Graph, x: str, conv: Convolution, stride: int, name: str) -> str:
    """Planes float32[B, C, Y, X] -> rows of channels float32[B, Y', X', O], ending in ReLU6; with SAME padding."""
    weight = g.weight(f"{name}.weight", conv.weight.transpose(1, 2, 3, 0))
    bias = g.weight(f"{name}.bias", conv.bias)
    return g.op("ConvRelu6", x, weight, bias, strides=[stride, stride], domain=DOMAIN)


def bottleneck(
    g: Graph,
    x: str,
    expand: Convolution | None,
    depthwise: Convolution,
    project: Convolution,
    stride: int,
    adds: bool,
    name: str,
) -> str:
    """An inverted bottleneck with SAME padding and ReLU6 (arXiv:1801.04381), its 1 x 1 convolutions in 8 bits.

    x: float32[B, Y, X, C]; expand: C -> M, None for a depthwise separable convolution, where M is C; depthwise: each of
    M channels alone; project: M -> O; adds: whether x is added to the result. Returns float32[B, Y', X', O].
    """
    if adds and expand is None:
        raise ValueError("a depthwise separable convolution has no residual")
    values = [x]
    if expand is not None:
        values += _layer(g, expand, f"{name}.expand")
    window_KKM = np.ascontiguousarray(depthwise.weight[:, 0].transpose(1, 2, 0))
    values += [_halved(g, window_KKM, f"{name}.depthwise"), g.weight(f"{name}.depthwise.bias", depthwise.bias)]
    values += _layer(g, project, f"{name}.project")
    attributes: dict[str, Attribute] = {"group": window_KKM.shape[2], "strides": [stride, stride], "domain": DOMAIN}
    if expand is None:
        return g.op("Int8SeparableConv", *values, **attributes)
    operator = "Int8InvertedBottleneckAdd" if adds else "Int8InvertedBottleneck"
    return g.op(operator, *values, channels=expand.weight.shape[1], **attributes)


def _halved(g: Graph, window_KKM: Array, name: str) -> str:
    """Kept as halves, which onnxruntime makes floats of when it opens the graph."""
    return g.op("Cast", g.weight(f"{name}.weight", window_KKM.astype(np.float16)), to=TensorProto.FLOAT)


def _layer(g: Graph, conv: Convolution, name: str) -> list[str]:
    """Weight, scale and bias."""
    stored = store(conv.matrix(), "int8")
    assert stored.scale is not None, "codes have scales"
    return [
        g.weight(f"{name}.weight", stored.weight),
        g.weight(f"{name}.weight_scale", stored.scale),
        g.weight(f"{name}.bias", conv.bias),
    ]
