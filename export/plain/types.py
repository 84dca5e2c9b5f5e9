"""What is done to a plain graph once it is written: nothing twice, nothing unused, and types that a device likes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fuseline.folders.tensors import BEST_TOKENS, IN_HALVES
from fuseline.kernels.bodies import DOMAIN
from fuseline.kernels.device_bodies import FLOAT_INPUTS

from .writer import FLOAT32, MICROSOFT

_LARGE = 4096  # numbers: what is smaller may be computed with while a graph is cleaned
# What ONNX wants in int64 whatever else a graph has, by the number of the input.
_SIZES = {
    **dict.fromkeys(("Reshape", "Expand", "Unsqueeze", "Squeeze", "Split", "Tile", "TopK", "Pad"), (1,)),
    **{f"Reduce{kind}": (1,) for kind in ("Sum", "Max", "Min", "Mean", "Prod", "L1", "L2", "LogSumExp")},
    **{"ConstantOfShape": (0,), "Slice": (1, 2, 3, 4), "Resize": (3,)},
}
_IN_INT64 = ("Shape", "Size", "TopK", "ArgMax", "ArgMin", "NonZero")  # what they give


def cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same without what is computed twice, of constants alone or for nobody. By onnxruntime, weights and calls of
    ours left out."""
    import onnxruntime

    rest, calls = _apart(model)
    graph, large = rest.graph, {}
    for tensor in list(graph.initializer):
        if np.prod(tensor.dims) > _LARGE:
            large[tensor.name] = tensor
    light = _with(rest, [each for each in graph.initializer if each.name not in large])
    for name, tensor in large.items():
        light.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    floats, made_here = _of_type(model, TensorProto.FLOAT), {name for node in graph.node for name in node.output}
    for name in dict.fromkeys(name for call in calls for name in call.input):
        if name in made_here and name not in {value.name for value in light.graph.output}:
            kind = TensorProto.FLOAT if name in floats else TensorProto.INT64
            light.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as scratch:
        options.optimized_model_filepath = str(Path(scratch) / "cleaned.onnx")
        onnxruntime.InferenceSession(
            light.SerializeToString(), options, ["CPUExecutionProvider"], disabled_optimizers=_LEFT_OUT
        )
        found = onnx.load(options.optimized_model_filepath)
    smaller = {tensor.name: tensor for tensor in [*graph.initializer, *found.graph.initializer]}
    nodes = needed([*found.graph.node, *calls], [value.name for value in model.graph.output])
    made = _with(model, smaller.values(), nodes)
    used = {name for node in made.graph.node for name in node.input}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in used]
    return _with(made, kept)


_LEFT_OUT = ["MatMulAddFusion", "TransposeOptimizer"]  # which put Gemm and more Transposes into it


def halves(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same in float16, but for nodes that are marked; keys, values, caches and queries too, all else that goes in
    and out stays float32."""
    floats = _of_type(model, TensorProto.FLOAT)
    constants = {each.name: each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT}
    others = [each for each in model.graph.initializer if each.name not in constants]
    made, nodes = _with(model, others, []), made_nodes()
    cast, exact = nodes.cast, dict[str, str]()  # by value: its name in float32

    for value in [*made.graph.input, *made.graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name.startswith(IN_HALVES):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    outside = {value.name for value in made.graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    names = {name: cast(name, f"{name}/half", TensorProto.FLOAT16) for name in outside}
    exact |= {name: name for name in outside}
    results = {value.name for value in made.graph.output if value.type.tensor_type.elem_type == TensorProto.FLOAT}

    def as_float32(name: str) -> str:
        if name in constants:
            exact.setdefault(name, f"{name}/single")
        elif name not in exact:
            exact[name] = cast(names.get(name, name), single(name), TensorProto.FLOAT)
        return exact[name]

    def single(name: str) -> str:
        """What a value is called in float32."""
        return name if name in results else f"{name}/single"

    for node in model.graph.node:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        if FLOAT32 in node.name or node.op_type == "Resize":
            new.input[:] = [as_float32(name) if name in floats else name for name in node.input]
            new.output[:] = [single(name) if name in floats else name for name in node.output]
            nodes.append(new)
            for name in node.output:
                if name in floats:
                    exact[name] = single(name)
                    half = name if name.startswith(IN_HALVES) else f"{name}/half"
                    names[name] = cast(exact[name], half, TensorProto.FLOAT16)
            continue
        whole = FLOAT_INPUTS.get(node.op_type, ())
        new.input[:] = [
            as_float32(name) if place in whole else names.get(name, name) for place, name in enumerate(node.input)
        ]
        for each in new.attribute:
            if node.op_type == "Cast" and each.name == "to" and each.i == TensorProto.FLOAT:
                each.i = TensorProto.FLOAT16
            if each.HasField("t") and each.t.data_type == TensorProto.FLOAT:
                each.t.CopyFrom(_half(each.t))
        new.output[:] = [f"{name}/half" if name in results else name for name in node.output]
        names |= {name: f"{name}/half" for name in node.output if name in results}
        nodes.append(new)
    for name in results:
        as_float32(name)
    read = {name for node in nodes for name in node.input}
    for name, tensor in constants.items():
        if name in read:
            made.graph.initializer.append(_half(tensor))
        if exact.get(name) in read:
            tensor.name = exact[name]
            made.graph.initializer.append(tensor)
    nodes_in_use = needed(nodes, [value.name for value in made.graph.output])
    return _with(made, made.graph.initializer, nodes_in_use)


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
    """The values of that type, constants included. What onnx does not know gives the type of what it reads first."""
    rest, _ = _apart(model)
    light = _with(rest, (), chain.from_iterable(map(_known, rest.graph.node)))
    for tensor in model.graph.initializer:
        light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    graph = onnx.shape_inference.infer_shapes(light).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    return {value.name for value in values if value.type.tensor_type.elem_type == kind}


def _known(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A node of onnxruntime's own as such that onnx knows, as far as types and shapes of its results go."""
    if node.domain != MICROSOFT:
        return [node]
    return [helper.make_node("Identity", node.input[:1], [name]) for name in node.output if name]


def _apart(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[onnx.NodeProto]]:
    """The model without calls of ours, whose results are inputs of its graph; and these calls."""
    calls = [node for node in model.graph.node if node.domain == DOMAIN]
    rest = _with(model, model.graph.initializer, (node for node in model.graph.node if node.domain != DOMAIN))
    results = {name: name == BEST_TOKENS for call in calls for name in call.output}
    given = [value for value in rest.graph.output if value.name not in results]
    del rest.graph.output[:], rest.functions[:]
    rest.graph.output.extend(given)
    for name, whole in results.items():
        kind = TensorProto.INT64 if whole else TensorProto.FLOAT
        rest.graph.input.append(helper.make_tensor_value_info(name, kind, None))
    return rest, calls


def needed(nodes: Iterable[onnx.NodeProto], results: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that these results hang on, each behind those that make what it reads."""
    makers = {name: node for node in nodes for name in node.output if name}
    found, done = list[onnx.NodeProto](), set[int]()
    waiting = [(name, False) for name in reversed(results)]
    while waiting:
        name, reads_are_made = waiting.pop()
        node = makers.get(name)
        if node is None or id(node) in done:
            continue
        if reads_are_made:
            done.add(id(node))
            found.append(node)
        else:
            waiting.append((name, True))
            waiting.extend((each, False) for each in reversed(node.input))
    return found


def _with(
    model: onnx.ModelProto, constants: Iterable[onnx.TensorProto], nodes: Iterable[onnx.NodeProto] | None = None
) -> onnx.ModelProto:
    """A copy of the model with other constants and, where they are given, other nodes."""
    made = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    made.opset_import.extend(model.opset_import)
    made.functions.extend(model.functions)
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
