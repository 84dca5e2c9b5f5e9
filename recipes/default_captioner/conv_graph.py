"""A chain of EfficientNet blocks as ONNX nodes: to run the frozen front fast, and to export the encoder."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from .efficientnet import Bottleneck, SameConv, same_padding

OPSET = 17


class ConvGraph:
    """Collects the nodes and weights of a chain of convolutions; value names are those of their blocks."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def conv(self, name: str, x: str, module: SameConv) -> str:
        conv = module.conv
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        before, after = same_padding(kernel, stride)
        assert conv.bias is not None
        inputs = [
            x,
            self.constant(f"{name}.weight", conv.weight.detach().numpy()),
            self.constant(f"{name}.bias", conv.bias.detach().numpy()),
        ]
        self.nodes.append(
            helper.make_node(
                "Conv",
                inputs,
                [f"{name}.conv"],
                name=f"{name}.conv",
                kernel_shape=[kernel, kernel],
                strides=[stride, stride],
                pads=[before, before, after, after],
                group=conv.groups,
            )
        )
        if not module.act:
            return f"{name}.conv"
        limits = [self.constant(f"{name}.{key}", np.float32(value)) for key, value in (("min", 0), ("max", 6))]
        self.nodes.append(helper.make_node("Clip", [f"{name}.conv", *limits], [f"{name}.act"], name=f"{name}.act"))
        return f"{name}.act"

    def chain(self, prefix: str, x: str, modules: Iterable[nn.Module]) -> str:
        """Append the modules (bottlenecks and single convolutions) one after the other; the last value's name."""
        for index, module in enumerate(modules):
            name = f"{prefix}.{index}"
            if isinstance(module, Bottleneck):
                x = self.bottleneck(name, x, module)
            else:
                assert isinstance(module, SameConv)
                x = self.conv(name, x, module)
        return x

    def bottleneck(self, name: str, x: str, module: Bottleneck) -> str:
        y = x
        for index, conv in enumerate(module.convs):
            assert isinstance(conv, SameConv)
            y = self.conv(f"{name}.{index}", y, conv)
        if not module.skip:
            return y
        self.nodes.append(helper.make_node("Add", [x, y], [f"{name}.skip"], name=f"{name}.skip"))
        return f"{name}.skip"


def conv_model(modules: Iterable[nn.Module], channels_in: int) -> onnx.ModelProto:
    """The modules alone: `x` float32[B, channels_in, height, width] -> `y` float32[B, ...]."""
    graph = ConvGraph()
    last = graph.chain("front", "x", modules)
    graph.nodes.append(helper.make_node("Identity", [last], ["y"]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "front",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", channels_in, "height", "width"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", "channels", "rows", "columns"])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model
