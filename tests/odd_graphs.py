"""Small ONNX files that fail in their own ways, or run for as long as they are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write(file: Path, nodes: list[onnx.NodeProto], **constants: object) -> Path:
    """A graph from x, float32[N], to y, float32 of any shape."""
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def endless(file: Path, most: int = 2**62) -> Path:
    """x is added to itself for so many rounds."""
    body = helper.make_graph(
        [helper.make_node("Add", ["v", "v"], ["w"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["N"]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, ["N"]),
        ],
    )
    node = helper.make_node("Loop", ["most", "true", "x"], ["y"], body=body)
    return write(file, [node], most=np.int64(most), true=np.bool_(True))


def out_of_range(file: Path) -> Path:
    """Looks up the hundredth of four numbers, in a node with an unpleasant name."""
    name = "look\x1b[31mup\n" + "x" * 500
    nodes = [
        helper.make_node("Cast", ["x"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "places"], ["y"], name=name),
    ]
    return write(file, nodes, table=np.zeros(4, np.float32))


def wrong_shape(file: Path) -> Path:
    """Makes a matrix of seven columns of whatever comes."""
    return write(file, [helper.make_node("Reshape", ["x", "shape"], ["y"])], shape=np.array([-1, 7]))


def too_large(file: Path) -> Path:
    """Asks for more memory than there is anywhere: 2 ** 46 numbers."""
    return write(
        file,
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        shape=np.array([2**23, 2**23, 1]),
    )


def unknown_operator(file: Path) -> Path:
    """An operator that nobody knows."""
    return write(file, [helper.make_node("Nonsense", ["x"], ["y"])])


def not_a_graph(file: Path) -> Path:
    """Bytes."""
    file.write_bytes(b"\x08\x08" + b"\xff" * 100)
    return file


def slowed(graph: Path, file: Path, output: str, *, from_position: int | None = None) -> Path:
    """A copy of a graph that computes one of its outputs for hours: always, or from that `position` on."""
    model = onnx.load(graph)
    for node in model.graph.node:
        node.output[:] = [f"{name} at first" if name == output else name for name in node.output]
        node.input[:] = [f"{name} at first" if name == output else name for name in node.input]
    kind = next(each for each in model.graph.output if each.name == output).type
    body = helper.make_graph(
        [helper.make_node("Identity", ["slow v"], ["slow w"]), helper.make_node("Identity", ["slow go"], ["slow on"])],
        "body",
        [
            helper.make_tensor_value_info("slow i", TensorProto.INT64, []),
            helper.make_tensor_value_info("slow go", TensorProto.BOOL, []),
            onnx.ValueInfoProto(name="slow v", type=kind),
        ],
        [
            helper.make_tensor_value_info("slow on", TensorProto.BOOL, []),
            onnx.ValueInfoProto(name="slow w", type=kind),
        ],
    )
    constants = {"slow most": np.int64(2**40), "slow true": np.bool_(True), "slow from": np.int64(from_position or 0)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    most = "slow most"
    if from_position is not None:
        most = "slow rounds"
        model.graph.node.extend(
            [
                helper.make_node("ReduceMax", ["position"], ["slow at"], keepdims=0),
                helper.make_node("GreaterOrEqual", ["slow at", "slow from"], ["slow is"]),
                helper.make_node("Cast", ["slow is"], ["slow one"], to=TensorProto.INT64),
                helper.make_node("Mul", ["slow one", "slow most"], [most]),
            ]
        )
    model.graph.node.append(helper.make_node("Loop", [most, "slow true", f"{output} at first"], [output], body=body))
    onnx.save(model, file)
    return file
