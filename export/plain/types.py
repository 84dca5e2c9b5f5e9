"""What is done to a plain graph once it is written: nothing twice, nothing unused, and types that a device likes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fuseline.folders.tensors import PAST, PRESENT

from ..graphs.graph import OPSET
from .writer import FLOAT32

_LARGE = 4096  # numbers: what is smaller may be computed with while a graph is cleaned
# What ONNX wants in int64 whatever else a graph has, by the number of the input.
_SIZES = {
    **dict.fromkeys(("Reshape", "Expand", "Unsqueeze", "Squeeze", "Split", "Tile", "TopK", "Pad"), (1,)),
    **dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMean", "ReduceProd"), (1,)),
    **{"ConstantOfShape": (0,), "Slice": (1, 2, 3, 4), "Resize": (3,)},
}
_IN_INT64 = ("Shape", "Size", "TopK", "ArgMax", "ArgMin", "NonZero")  # what they give


def cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same without what is computed twice, of constants alone or for nobody. By onnxruntime, weights left out."""
    import onnxruntime

    graph, large = model.graph, {}
    for tensor in list(graph.initializer):
        if np.prod(tensor.dims) > _LARGE:
            large[tensor.name] = tensor
    light = _with(model, [each for each in graph.initializer if each.name not in large])
    for name, tensor in large.items():
        light.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as scratch:
        options.optimized_model_filepath = str(Path(scratch) / "cleaned.onnx")
        onnxruntime.InferenceSession(
            light.SerializeToString(), options, ["CPUExecutionProvider"], disabled_optimizers=_LEFT_OUT
        )
        found = onnx.load(options.optimized_model_filepath)
    made = _with(model, [*found.graph.initializer, *large.values()], _needed(found.graph))
    del made.graph.value_info[:]
    used = {name for node in made.graph.node for name in node.input}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in used]
    return _with(made, kept)


_LEFT_OUT = ["MatMulAddFusion", "TransposeOptimizer"]  # which put Gemm and more Transposes into it


def halves(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same in float16, but for nodes that are marked; keys, values and caches too, all else that goes in and out
    stays float32."""
    floats = _of_type(model, TensorProto.FLOAT)
    constants = {each.name: each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT}
    others = [each for each in model.graph.initializer if each.name not in constants]
    made, nodes = _with(model, others, []), made_nodes()
    cast, exact = nodes.cast, dict[str, str]()  # by value: its name in float32

    for value in [*made.graph.input, *made.graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name.startswith((PAST, PRESENT)):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    outside = {value.name for value in made.graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    names = {name: cast(name, f"{name}/half", TensorProto.FLOAT16) for name in outside}
    exact |= {name: name for name in outside}
    results = {value.name for value in made.graph.output if value.type.tensor_type.elem_type == TensorProto.FLOAT}

    def as_float32(name: str) -> str:
        if name in constants:
            exact.setdefault(name, f"{name}/single")
        elif name not in exact:
            exact[name] = cast(names.get(name, name), f"{name}/single", TensorProto.FLOAT)
        return exact[name]

    for node in model.graph.node:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        if FLOAT32 in node.name or node.op_type == "Resize":
            new.input[:] = [as_float32(name) if name in floats else name for name in node.input]
            new.output[:] = [f"{name}/single" if name in floats else name for name in node.output]
            nodes.append(new)
            for name in node.output:
                if name in floats:
                    exact[name] = f"{name}/single"
                    names[name] = cast(exact[name], f"{name}/half", TensorProto.FLOAT16)
            continue
        new.input[:] = [names.get(name, name) for name in node.input]
        for each in new.attribute:
            if node.op_type == "Cast" and each.name == "to" and each.i == TensorProto.FLOAT:
                each.i = TensorProto.FLOAT16
            if each.HasField("t") and each.t.data_type == TensorProto.FLOAT:
                each.t.CopyFrom(_half(each.t))
        new.output[:] = [f"{name}/half" if name in results else name for name in node.output]
        names |= {name: f"{name}/half" for name in node.output if name in results}
        nodes.append(new)
    for name in results:
        cast(names[name], name, TensorProto.FLOAT)
    read = {name for node in nodes for name in node.input}
    for name, tensor in constants.items():
        if name in read:
            made.graph.initializer.append(_half(tensor))
        if exact.get(name) in read:
            tensor.name = exact[name]
            made.graph.initializer.append(tensor)
    return _with(made, made.graph.initializer, _needed(_with(made, (), nodes).graph))


class made_nodes(list[onnx.NodeProto]):
    """Nodes in the making."""

    def cast(self, name: str, result: str, kind: int) -> str:
        """Append a Cast of that name, and return the result's."""
        self.append(helper.make_node("Cast", [name], [result], name=f"{result}/cast", to=kind))
        return result


def _half(tensor: onnx.TensorProto) -> onnx.TensorProto:
    largest = np.finfo(np.float16).max
    return numpy_helper.from_array(
        np.clip(numpy_helper.to_array(tensor), -largest, largest).astype(np.float16), tensor.name
    )


def narrow(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with int32 in the place of int64, but for what ONNX wants in int64."""
    wide = _of_type(model, TensorProto.INT64)
    constants = {each.name: each for each in model.graph.initializer if each.data_type == TensorProto.INT64}
    made, nodes, short = _with(model, model.graph.initializer, []), made_nodes(), dict[str, str]()
    for value in [*made.graph.input, *made.graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.INT64:
            value.type.tensor_type.elem_type = TensorProto.INT32

    def as_int32(name: str) -> str:
        if name not in constants:
            return name
        if name not in short:
            short[name] = f"{name}/int32"
            array = np.clip(numpy_helper.to_array(constants[name]), -(2**31), 2**31 - 1).astype(np.int32)
            made.graph.initializer.append(numpy_helper.from_array(array, short[name]))
        return short[name]

    for node in model.graph.node:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        sizes = _SIZES.get(node.op_type, ())
        for place, name in enumerate(node.input):
            if place not in sizes and name in wide:
                new.input[place] = as_int32(name)
            elif place in sizes and name in wide and name not in constants:
                new.input[place] = nodes.cast(name, f"{new.output[0]}/{place}", TensorProto.INT64)
        for each in new.attribute:
            if node.op_type == "Cast" and each.name == "to" and each.i == TensorProto.INT64:
                each.i = TensorProto.INT32
        nodes.append(new)
        for place, name in enumerate(node.output):
            if node.op_type in _IN_INT64 and name in wide:
                new.output[place] = f"{name}/int64"
                nodes.cast(new.output[place], name, TensorProto.INT32)
    return _with(made, made.graph.initializer, nodes)


def _of_type(model: onnx.ModelProto, kind: int) -> set[str]:
    """The values of that type, constants included."""
    light = _with(model, ())
    for tensor in model.graph.initializer:
        light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    graph = onnx.shape_inference.infer_shapes(light).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    return {value.name for value in values if value.type.tensor_type.elem_type == kind}


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that a result of the graph hangs on, in their order."""
    wanted, found = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def _with(
    model: onnx.ModelProto, constants: Iterable[onnx.TensorProto], nodes: Iterable[onnx.NodeProto] | None = None
) -> onnx.ModelProto:
    """A copy of the model with other constants and, where they are given, other nodes."""
    made = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    made.opset_import.append(helper.make_opsetid("", OPSET))
    made.graph.name = model.graph.name
    made.graph.input.extend(model.graph.input)
    made.graph.output.extend(model.graph.output)
    made.graph.node.extend(model.graph.node if nodes is None else nodes)
    made.graph.initializer.extend(constants)
    return made


def with_sizes(model: onnx.ModelProto, size: Callable[[str, int | str], int | str]) -> onnx.ModelProto:
    """The same whose inputs and outputs have the sizes that `size` gives, by name of the value and of the dimension."""
    made = _with(model, model.graph.initializer)
    for value in [*made.graph.input, *made.graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            found = size(value.name, dim.dim_param or dim.dim_value)
            dim.Clear()
            if isinstance(found, int):
                dim.dim_value = found
            else:
                dim.dim_param = found
    return made
