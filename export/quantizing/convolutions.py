"""Convolutions in 8 bits, for encoders that are made of them: weights alone, or with calibrated activations.

onnxruntime folds weights that are alone in 8 bits into floats when it opens the graph: the file is small and the
arithmetic float32's. Calibrated (static QDQ) it multiplies in 8 bits, which not every CPU is faster at: variant="auto"
measures.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..graphs.weights import Array
from ..quality.reading import Inputs

# Smaller weights stay float32: little to gain, and each takes time to unfold at every start.
SMALL = 16_000


def is_convolutional(model: onnx.ModelProto) -> bool:
    """Whether more than half of the weights are those of convolutions. A ViT's patches are one of many layers."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    mine = sum(sizes[tensor.name] for _, tensor in _convolutions(model))
    return 2 * mine > sum(sizes.values())


def store_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model whose larger convolutions have int8 weights with a scale for every output channel."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, nodes, tensors = made.graph, list[onnx.NodeProto](), dict[str, list[onnx.TensorProto]]()
    weights = {tensor.name: tensor for _, tensor in _convolutions(made)}
    for node in graph.node:
        name = node.input[1] if node.op_type == "Conv" else ""
        if name in weights and np.prod(weights[name].dims) >= SMALL:
            if name not in tensors:
                codes, scale = _rounded(numpy_helper.to_array(weights[name]))
                stored = [f"{name}_int8", f"{name}_scale"]
                tensors[name] = [numpy_helper.from_array(*each) for each in zip((codes, scale), stored, strict=True)]
                nodes.append(
                    helper.make_node("Cast", stored[:1], [f"{name}/Cast"], f"{name}/Cast", to=TensorProto.FLOAT)
                )
                nodes.append(helper.make_node("Mul", [f"{name}/Cast", stored[1]], [f"{name}/Mul"], f"{name}/Mul"))
            node.input[1] = f"{name}/Mul"
        nodes.append(node)
    kept = onnx.GraphProto(node=nodes)
    constants = [new for tensor in graph.initializer for new in tensors.get(tensor.name, [tensor])]
    for field, values in ((graph.node, kept.node), (graph.initializer, constants)):
        values = list(values)
        del field[:]
        field.extend(values)
    return made


def calibrate_convolutions(model: onnx.ModelProto, batches: Iterable[Inputs]) -> onnx.ModelProto:
    """The model with its convolutions as QDQ: activations in the ranges that batches of what it reads show.

    By onnxruntime's quantize_static, a scale for every output channel. Weights are unsigned: CPUs without VNNI multiply
    those exactly, where products of unsigned and signed bytes overflow. Clip and Relu are quantized with the
    convolution before them, or its range would be that of numbers that are then cut off.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc] # without types
        """The batches, one after another."""

        def __init__(self) -> None:
            self._batches: Iterator[Inputs] = iter(batches)

        def get_next(self) -> dict[str, Array] | None:
            return next((dict(batch) for batch in self._batches), None)

    options: dict[str, Any] = {"CalibMovingAverage": False, "ActivationSymmetric": False}
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        source, out = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Clip", "Relu"],
            per_channel=True,
            reduce_range=False,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=options,
        )
        return onnx.load(out)


def _convolutions(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, onnx.TensorProto]]:
    """Those with constant weights."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in constants:
            yield node, constants[node.input[1]]


def _rounded(weight_OIKK: Array) -> tuple[Array, Array]:
    """int8 codes in -127..127 and a float32 scale for every output channel, of as many dimensions."""
    scale = np.abs(weight_OIKK).max(axis=tuple(range(1, weight_OIKK.ndim)), keepdims=True) / np.float32(127)
    scale[scale == 0] = 1  # a channel of zeros: any scale is right
    return np.rint(weight_OIKK / scale).astype(np.int8), scale


class _quiet:
    """Without the advice that onnxruntime.quantization logs."""

    def __enter__(self) -> None:
        self._level = logging.root.level
        logging.root.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.root.setLevel(self._level)
