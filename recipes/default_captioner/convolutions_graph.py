"""EfficientNet-Lite as ONNX: with its classifier, to run the frozen front fast, and as the start of the encoder.

The encoder has it in planes as floats, or in 8 bits in rows of channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto
from torch import Tensor, nn

from fuseline.export.graphs.convolutions import Convolution, bottleneck, conv_relu6
from fuseline.export.graphs.graph import Graph, linear, model_of, new_graph

from .efficientnet import Bottleneck, EfficientNetLite, SameConv

STRIDE = 32  # pixels between positions of the features
FRONT, FEATURES, POOLED, LOGITS = "front", "features", "pooled", "class_logits"


def array(tensor: Tensor) -> np.ndarray:
    """A parameter's values."""
    return tensor.detach().numpy()


def conv_model(network: EfficientNetLite, size: int) -> onnx.ModelProto:
    """The network: float32[B, 3, size, size] -> `front` [B, C, N/16, N/16] and `class_logits` [B, 1000], which is the
    classifier's answer to the mean of the features."""
    g, pooled = convolutions(network, size)
    weight = g.weight("classifier.weight", array(network.classifier.weight).T)
    logits = g.op("Add", g.op("MatMul", pooled, weight), g.weight("classifier.bias", array(network.classifier.bias)))
    g.op("Identity", logits, name=LOGITS)
    g.output(FRONT, TensorProto.FLOAT, ["B", network.variant.tail_channels, "rows", "columns"])
    g.output(LOGITS, TensorProto.FLOAT, ["B", network.classifier.out_features])
    model = model_of(g)
    onnx.checker.check_model(model)
    return model


def convolutions(network: EfficientNetLite, size: int) -> tuple[Graph, str]:
    """The graph up to `features` float32[B, 1280, P, P], without outputs, and the mean over its positions [B, 1280]."""
    g = new_graph("captioner")
    x = g.input("pixel_values", TensorProto.FLOAT, ["B", 3, size, size])
    front = g.op("Identity", _convolutions(g, x, network.front, 0), name=FRONT)
    features = g.op("Identity", _convolutions(g, front, network.tail, len(network.front)), name=FEATURES)
    return g, g.op("ReduceMean", features, g.ints(2, 3), name=POOLED, keepdims=0)


def convolutions_in_rows(network: EfficientNetLite, size: int) -> tuple[Graph, str]:
    """As `convolutions`, in 8 bits: up to `features` float32[B, P x P, 1280]."""
    g = new_graph("captioner")
    x = g.input("pixel_values", TensorProto.FLOAT, ["B", 3, size, size])
    stem, *blocks, head = [*network.front, *network.tail]
    assert isinstance(stem, SameConv) and isinstance(head, SameConv)
    x = conv_relu6(g, x, _stored(stem), stem.conv.stride[0], "block.0")
    for index, block in enumerate(blocks, 1):
        assert isinstance(block, Bottleneck)
        with g.scope(f"block.{index}"):
            x = _bottleneck_in_rows(g, x, block, f"block.{index}")
    with g.scope("head"):
        layer = _stored(head)
        x = linear(g, x, layer.matrix(), layer.bias, "int8", "head", activation="relu6")
    features = g.op("Reshape", x, g.ints(0, -1, head.conv.out_channels), name=FEATURES)
    # As a product: of rows of channels onnxruntime takes 0.1 ms for a ReduceMean.
    positions = math.ceil(size / STRIDE) ** 2
    shares = g.weight("shares", np.full((1, positions), 1 / positions, np.float32))
    return g, g.op("Squeeze", g.op("MatMul", shares, features), g.ints(1), name=POOLED)


def _bottleneck_in_rows(g: Graph, x: str, block: Bottleneck, name: str) -> str:
    *expand, depthwise, project = block.convs
    assert isinstance(depthwise, SameConv)
    first = _stored(expand[0]) if expand else None
    stride = depthwise.conv.stride[0]
    return bottleneck(g, x, first, _stored(depthwise), _stored(project), stride, block.skip, name)


def _stored(module: nn.Module) -> Convolution:
    assert isinstance(module, SameConv) and module.conv.bias is not None
    return Convolution(array(module.conv.weight), array(module.conv.bias))


def _convolutions(g: Graph, x: str, modules: Iterable[nn.Module], first: int) -> str:
    for index, module in enumerate(modules, first):
        with g.scope(f"block.{index}"):
            if isinstance(module, Bottleneck):
                x = _bottleneck(g, x, module, index)
            else:
                x = _conv(g, x, module, f"block.{index}")
    return x


def _bottleneck(g: Graph, x: str, block: Bottleneck, index: int) -> str:
    y = x
    for part, module in enumerate(block.convs):
        y = _conv(g, y, module, f"block.{index}.{part}")
    return g.op("Add", x, y) if block.skip else y


def _conv(g: Graph, x: str, module: nn.Module, name: str) -> str:
    assert isinstance(module, SameConv) and module.conv.bias is not None
    conv = module.conv
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    before, after = module.padding
    weight, bias = g.weight(f"{name}.weight", array(conv.weight)), g.weight(f"{name}.bias", array(conv.bias))
    y = g.op(
        "Conv",
        x,
        weight,
        bias,
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[before, before, after, after],
        group=conv.groups,
    )
    return g.op("Clip", y, g.scalar(0.0, np.float32), g.scalar(6.0, np.float32)) if module.act else y
