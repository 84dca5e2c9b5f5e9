"""The encoder as ONNX: the convolutions alone (to run the frozen front fast, to calibrate), and with the bridge on top.

Names of values end in their shapes: B photos, C channels, N pixels a side, S = (N / 32)^2 positions, E width, H heads,
D head size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from torch import Tensor, nn

from fuseline.export.graphs.graph import Graph, layer_norm, linear, model_of, new_graph
from fuseline.export.graphs.weights import Scheme
from fuseline.kernels.bodies import add_bodies

from .captioner import BridgeLayer, Captioner
from .efficientnet import HEAD_CHANNELS, Bottleneck, SameConv, same_padding

FEATURES = "features"
HIDDEN = "encoder_hidden_states"


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def conv_model(modules: Iterable[nn.Module], input_name: str, size: int | str) -> onnx.ModelProto:
    """Blocks of EfficientNet in a row: float32[B, 3, size, size] -> `features` float32[B, C, height, width]."""
    g = new_graph("convolutions")
    x = g.input(input_name, TensorProto.FLOAT, ["B", 3, size, size])
    channels = 0
    for index, module in enumerate(modules):
        with g.scope(f"block.{index}"):
            if isinstance(module, Bottleneck):
                x = _bottleneck(g, x, module, index)
            else:
                x = _conv(g, x, module, f"block.{index}")
        channels = [conv for conv in module.modules() if isinstance(conv, nn.Conv2d)][-1].out_channels
    g.op("Identity", x, name=FEATURES)
    g.output(FEATURES, TensorProto.FLOAT, ["B", channels, "height", "width"])
    model = model_of(g)
    onnx.checker.check_model(model)
    return model


def _bottleneck(g: Graph, x: str, block: Bottleneck, index: int) -> str:
    y = x
    for part, module in enumerate(block.convs):
        y = _conv(g, y, module, f"block.{index}.{part}")
    return g.op("Add", x, y) if block.skip else y


def _conv(g: Graph, x: str, module: nn.Module, name: str) -> str:
    assert isinstance(module, SameConv) and module.conv.bias is not None
    conv = module.conv
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    before, after = same_padding(kernel, stride)
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


def append_bridge(convolutions: onnx.ModelProto, captioner: Captioner, scheme: Scheme) -> onnx.ModelProto:
    """The convolutions and the bridge behind them: encoder_hidden_states float32[B, S, E]."""
    model = onnx.ModelProto()
    model.CopyFrom(convolutions)
    del model.graph.output[:]
    g = Graph(model.graph)
    shape = captioner.shape
    with g.scope("bridge"):
        flat_BCS = g.op("Reshape", FEATURES, g.ints(0, HEAD_CHANNELS, -1))
        x = linear(
            g,
            g.op("Transpose", flat_BCS, perm=[0, 2, 1]),
            array(captioner.project.weight).T,
            array(captioner.project.bias),
            scheme,
            "project",
        )
        x = g.op("Add", x, g.weight("positions", array(captioner.positions)))
        for index, layer in enumerate(captioner.bridge):
            assert isinstance(layer, BridgeLayer)
            x = _bridge_layer(g, x, layer, f"bridge.{index}", scheme)
    norm = captioner.ln_bridge
    hidden = layer_norm(g, x, array(norm.weight), array(norm.bias), norm.eps, "ln_bridge")
    g.op("Identity", hidden, name=HIDDEN)
    g.output(HIDDEN, TensorProto.FLOAT, ["B", shape.encoder_positions, shape.width])
    return add_bodies(model)


def _bridge_layer(g: Graph, x: str, layer: BridgeLayer, name: str, scheme: Scheme) -> str:
    def project(value: str, module: nn.Linear, part: str, **ending: Any) -> str:
        return linear(g, value, array(module.weight).T, array(module.bias), scheme, f"{name}.{part}", **ending)

    def norm(value: str, module: nn.LayerNorm, part: str) -> str:
        return layer_norm(g, value, array(module.weight), array(module.bias), module.eps, f"{name}.{part}")

    with g.scope(name):
        qkv = project(norm(x, layer.ln_1, "ln_1"), layer.attn.c_attn, "attn.c_attn")
        x = project(_self_attention(g, qkv, layer), layer.attn.c_proj, "attn.c_proj", residual=x)
        inner = project(norm(x, layer.ln_2, "ln_2"), layer.mlp.c_fc, "mlp.c_fc", activation="gelu_tanh")
        return project(inner, layer.mlp.c_proj, "mlp.c_proj", residual=x)


def _self_attention(g: Graph, qkv_BS3E: str, layer: BridgeLayer) -> str:
    """softmax(q k / sqrt(D)) v over the positions of a photo: float32[B, S, 3E] -> [B, S, E]."""
    width = layer.attn.c_proj.in_features
    size = width // layer.heads
    split = g.op("Reshape", qkv_BS3E, g.ints(0, 0, 3, layer.heads, size))
    q_BHSD, k_BHDS, v_BHSD = (
        g.op("Transpose", g.op("Gather", split, g.scalar(i, np.int64), axis=2), perm=perm)
        for i, perm in enumerate(([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
    )
    scores = g.op("Mul", g.op("MatMul", q_BHSD, k_BHDS), g.scalar(size**-0.5, np.float32))
    mixed_BHSD = g.op("MatMul", g.op("Softmax", scores, axis=-1), v_BHSD)
    return g.op("Reshape", g.op("Transpose", mixed_BHSD, perm=[0, 2, 1, 3]), g.ints(0, 0, width))
