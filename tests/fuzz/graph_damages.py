"""Damage to what an ONNX graph says, in protobuf's own terms, so that onnxruntime gets to read all of it.

A damage changes a model in place and says what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Damage = Callable[[Random, ModelProto], str]
_DIMS = (0, 1, 2, 3, -1, 7, 64, 2**16, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
_OPS = (
    "Add", "MatMul", "Gather", "Reshape", "Transpose", "Softmax", "Slice", "Concat", "Identity", "Loop", "If", "Scan",
    "Expand", "Tile",
    "ConstantOfShape", "Range", "NonZero", "Pad", "Resize", "Split", "ScatterND", "TopK", "Einsum", "QuantizeLinear",
    "MatMulInteger",
    "Conv", "LayerNormalization", "StringNormalizer", "OptionalGetElement", "SequenceConstruct", "RandomNormal",
    "Multinomial", "NoSuchOp",
    "MatMulNBits", "Attention", "MultiHeadAttention", "LSTM", "Upsample", "ImageDecoder", "SplitToSequence",
    "RegexFullMatch",
)  # fmt: skip
_OURS = (
    "FloatLinear",
    "Int8Linear",
    "Int4LinearAdd",
    "LayerNorm",
    "CachedSelfAttention",
    "CrossAttention",
    "DecoderLayer",
    "EncoderLayer",
    "FloatEmbedding",
)
_NAMES = ("", " ", "x" * 5000, "\n", "\x1b[31m", "input_ids", "logits", "pixel_values", "a/../b", "\u202e", "position")


def _node(random: Random, model: ModelProto) -> NodeProto:
    graphs = [model.graph] + [
        attribute.g for node in model.graph.node for attribute in node.attribute if attribute.HasField("g")
    ]
    nodes = [node for graph in graphs for node in graph.node] + [
        node for function in model.functions for node in function.node
    ]
    return random.choice(nodes)


def operator(random: Random, model: ModelProto) -> str:
    """A node of another operator, domain, or none."""
    node = _node(random, model)
    was = node.op_type
    node.op_type = random.choice((*_OPS, *_OURS, "", "a\nb"))
    if node.op_type in _OURS or random.random() < 0.1:
        node.domain = random.choice(
            ("fuseline", "fuseline", "com.microsoft", "ai.onnx.ml", "nowhere", "com.microsoft.nchwc")
        )
    return f"{was} is {node.domain}:{node.op_type}"


def wires(random: Random, model: ModelProto) -> str:
    """Inputs and outputs of a node: others, none, more, its own, those of later nodes."""
    node = _node(random, model)
    ends = node.input if random.random() < 0.7 or not node.output else node.output
    values = [name for other in model.graph.node for name in other.output] + [
        each.name for each in model.graph.initializer
    ]
    done = []
    for _ in range(random.choice((1, 1, 2))):
        new = random.choice((*values, *_NAMES, *node.output, *node.input))
        match random.randrange(4):
            case 0 if ends:
                del ends[random.randrange(len(ends))]
                done.append("one less")
            case 1:
                ends.extend([new] * random.choice((1, 1, 200)))
                done.append(f"{new!r:.30} more")
            case _ if ends:
                ends[random.randrange(len(ends))] = new
                done.append(f"{new!r:.30}")
    return f"{node.op_type} {'inputs' if ends is node.input else 'outputs'}: {', '.join(done)}"


def attribute(random: Random, model: ModelProto) -> str:
    """An attribute at an extreme, of another type, twice, missing, unknown."""
    nodes = [node for node in (_node(random, model) for _ in range(30)) if node.attribute]
    if not nodes:
        return wires(random, model)
    node = nodes[0]
    at = random.randrange(len(node.attribute))
    name = node.attribute[at].name
    match random.randrange(6):
        case 0:
            del node.attribute[at]
            return f"{node.op_type} without {name}"
        case 1:
            node.attribute.append(node.attribute[at])
            return f"{node.op_type} with {name} twice"
        case 2:
            node.attribute[at].name = random.choice(("axis", "perm", "steps", "to", "body", *_NAMES))
            return f"{node.op_type}: {name} is {node.attribute[at].name!r:.30}"
        case 3:
            node.attribute[at].type = random.choice(list(AttributeProto.AttributeType.values()))
            return f"{node.op_type}: {name} says another type"
        case _:
            value = random.choice((
                0, 1, -1, 2**31, 2**63 - 1, -(2**63), 0.0, 1e38, float("nan"), float("-inf"), "", "x" * 5000,
                b"\xff\xfe", [0], [-1] * 3,
                [2**63 - 1] * 4, [1.0, float("nan")], ["a"], list(range(1000)), "LayerNorm 0 1 2 > 3", ";" * 5000,
                "FloatLinear 0 1 2 > 99999999",
            ))  # fmt: skip
            node.attribute[at].CopyFrom(helper.make_attribute(name, value))
            return f"{node.op_type}: {name} = {value!r:.60}"


def steps(random: Random, model: ModelProto) -> str:
    """The steps of a layer with other words and numbers."""
    layers = [node for node in model.graph.node if node.op_type in ("DecoderLayer", "EncoderLayer")]
    if not layers:
        return attribute(random, model)
    node = random.choice(layers)
    for each in node.attribute:
        if each.name == "steps":
            words = each.s.decode().replace(";", " ; ").split()
            for _ in range(random.choice((1, 1, 2, 5))):
                at = random.randrange(len(words))
                words[at] = random.choice(
                    (*words, ";", ">", "", "0", "127", "128", "-1", "99999999999999999999", *_OURS, "LayerNorm")
                )
            each.s = " ".join(words).encode()
            return f"steps {each.s[:200]!r}"
    return attribute(random, model)


def initializer(random: Random, model: ModelProto) -> str:
    """A weight of another type, shape, length, name, with other numbers, or twice."""
    if not model.graph.initializer:
        return wires(random, model)
    at = random.randrange(len(model.graph.initializer))
    tensor = model.graph.initializer[at]
    name = tensor.name[:40]
    match random.randrange(9):
        case 0:
            dims = list(tensor.dims) or [1]
            dims[random.randrange(len(dims))] = random.choice(_DIMS)
            tensor.dims[:] = dims
            return f"{name}: dims {dims}"
        case 1:
            tensor.data_type = random.choice((*TensorProto.DataType.values(), 99, -1))
            return f"{name}: type {tensor.data_type}"
        case 2:
            tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
            return f"{name}: {len(tensor.raw_data)} bytes"
        case 3:
            del model.graph.initializer[at]
            return f"{name} missing"
        case 4:
            model.graph.initializer.append(tensor)
            return f"{name} twice"
        case 5:
            tensor.name = random.choice(_NAMES)
            return f"{name} is named {tensor.name!r:.30}"
        case 6:
            tensor.float_data.extend([1.0] * random.choice((1, 10000)))
            return f"{name} has raw data and floats"
        case 7 if len(tensor.raw_data) >= 4:
            special = np.array([random.choice((np.nan, np.inf, -np.inf, 3e38, 1e-45))], np.float32).tobytes()
            tensor.raw_data = special * (len(tensor.raw_data) // 4) + bytes(len(tensor.raw_data) % 4)
            return f"{name}: special numbers"
        case _:
            changed = bytearray(tensor.raw_data)
            for _ in range(random.choice((1, 50))):
                if changed:
                    changed[random.randrange(len(changed))] = random.randrange(256)
            tensor.raw_data = bytes(changed)
            return f"{name}: other numbers"


def outside_data(random: Random, model: ModelProto) -> str:
    """A weight in another file: outside the folder, missing, with odd offsets, its fields in any order and twice."""
    if not model.graph.initializer:
        return wires(random, model)
    tensor = random.choice(model.graph.initializer)
    location = random.choice((
        "../../outside/weights.bin", "../../../outside/weights.bin", "/etc/hostname", "/dev/zero",
        "/proc/self/environ", "", ".", "..", "missing.bin",
        "a\nb", "x" * 300, "../config.json", "config.json", "decoder_model_fp32.onnx", "encoder_model.onnx_data",
        "./encoder_model.onnx_data",
        "decoder_model_merged.onnx_data", "*/_ORT_MEM_ADDR_/*", "\\\\server\\x", "~/x", "OUTSIDE",
    ))  # fmt: skip
    fields = [("location", location)]
    if random.random() < 0.7:
        fields.append(
            (
                "offset",
                random.choice(("0", "1", "-1", "4096", "99999999999999999999", "x", "9" * 400, "9223372036854775807")),
            )
        )
    if random.random() < 0.7:
        fields.append(
            (
                "length",
                random.choice(
                    ("0", "4", str(len(tensor.raw_data)), "-1", "x", "9223372036854775807", "18446744073709551615")
                ),
            )
        )
    if random.random() < 0.4:
        fields.append(
            random.choice((("checksum", "0"), ("location", "missing.bin"), ("key", "value"), ("prepacked_0", "1|2")))
        )
    random.shuffle(fields)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in fields:
        tensor.external_data.add(key=key, value=value)
    return f"{tensor.name[:40]} in {fields!r:.200}"


def signature(random: Random, model: ModelProto) -> str:
    """Inputs and outputs of the graph: renamed, retyped, reshaped, removed, twice."""
    ends = random.choice((model.graph.input, model.graph.output))
    if not ends:
        return wires(random, model)
    at = random.randrange(len(ends))
    value = ends[at]
    name = value.name[:40]
    match random.randrange(7):
        case 0:
            del ends[at]
            return f"{name} is no end any more"
        case 1:
            ends.append(value)
            return f"{name} twice"
        case 2:
            value.name = random.choice(_NAMES)
            return f"{name} is named {value.name!r:.30}"
        case 3:
            value.type.tensor_type.elem_type = random.choice((*TensorProto.DataType.values(), 99))
            return f"{name} of type {value.type.tensor_type.elem_type}"
        case 4:
            value.ClearField("type")
            return f"{name} without a type"
        case 5:
            ends.add().CopyFrom(helper.make_tensor_value_info("new", TensorProto.FLOAT, [1]))
            return "a new end that nothing knows"
        case _:
            dims = value.type.tensor_type.shape.dim
            if not dims or random.random() < 0.2:
                dims.add().dim_value = random.choice(_DIMS)
            else:
                dim = random.choice(dims)
                if random.random() < 0.7:
                    dim.dim_value = random.choice(_DIMS)
                else:
                    dim.dim_param = random.choice(("B", "R", "C", "T", "S", *_NAMES))
            return f"{name} of another shape"


def order(random: Random, model: ModelProto) -> str:
    """Nodes moved, removed, twice, in a circle, or by the thousands."""
    nodes = list(model.graph.node)
    at = random.randrange(len(nodes))
    match random.randrange(5):
        case 0:
            nodes.insert(random.randrange(len(nodes)), nodes.pop(at))
            done = "moved"
        case 1:
            del nodes[at]
            done = "removed"
        case 2:
            nodes.insert(random.randrange(len(nodes)), nodes[at])
            done = "twice"
        case 3:
            first, last = nodes[at], nodes[random.randrange(at, len(nodes))]
            if first.input and last.output:
                first.input[0] = last.output[0]
            done = "in a circle"
        case _:
            name = nodes[at].output[0] if nodes[at].output else "x"
            count = random.choice((100, 20_000))
            nodes += [
                helper.make_node("Neg", [name if not i else f"chain{i - 1}"], [f"chain{i}"]) for i in range(count)
            ]
            done = f"with {count} nodes after it"
    kept = GraphProto()
    kept.node.extend(nodes)
    model.graph.ClearField("node")
    model.graph.node.extend(kept.node)
    return f"node {at} {done}"


def functions(random: Random, model: ModelProto) -> str:
    """Functions that call themselves, each other, or double: small files that grow without end when inlined."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("fuzz", 1)]
    deep = random.choice((3, 12, 18, 24, 60))
    match random.randrange(4):
        case 0:
            made = [
                helper.make_function(
                    "fuzz", "f0", ["x"], ["y"], [helper.make_node("f0", ["x"], ["y"], domain="fuzz")], opsets
                )
            ]
            what = "a function that calls itself"
        case 1:
            made = []
            for i in range(deep + 1):
                steps = (("x", "m"), ("m", "y")) if i < deep else ()
                nodes = [helper.make_node(f"f{i + 1}", [x], [y], domain="fuzz") for x, y in steps]
                nodes = nodes or [helper.make_node("Identity", ["x"], ["y"])]
                made.append(helper.make_function("fuzz", f"f{i}", ["x"], ["y"], nodes, opsets))
            what = f"functions that double {deep} times"
        case _:
            made = [
                helper.make_function(
                    "fuseline", random.choice(_OURS), ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], opsets
                )
            ]
            what = "another body for one of ours"
            model.functions.extend(made)
            return what
    model.functions.extend(made)
    if not any(each.domain == "fuzz" for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid("fuzz", 1))
    _put_first(
        model, [helper.make_node("f0", ["grow_in"], ["grown"], domain="fuzz")], {"grow_in": np.zeros(1, np.float32)}
    )
    return what


def explosions(random: Random, model: ModelProto) -> str:
    """Constants of a few bytes that fold to gigabytes, and loops without an end."""
    big = random.choice((10**6, 2**28, 2**31, 2**33, 2**40, 2**62))
    shape = np.array(random.choice(([big], [2**16, big // 2**16 or 1], [big, 0], [-1], [big, big])), np.int64)
    constants: dict[str, Any] = {
        "e_shape": shape,
        "e_one": np.ones(1, np.float32),
        "e_big": np.array(big),
        "e_true": np.array(True),
    }
    match random.randrange(6):
        case 0:
            nodes, what = [helper.make_node("ConstantOfShape", ["e_shape"], ["e_out"])], f"ConstantOfShape {shape}"
        case 1:
            nodes, what = [helper.make_node("Expand", ["e_one", "e_shape"], ["e_out"])], f"Expand to {shape}"
        case 2:
            constants |= {"e_zero": np.array(0), "e_step": np.array(random.choice((1, 0, -1)))}
            nodes, what = [helper.make_node("Range", ["e_zero", "e_big", "e_step"], ["e_out"])], f"Range of {big}"
        case 3:
            nodes, what = [helper.make_node("Tile", ["e_one", "e_shape"], ["e_out"])], f"Tile {shape}"
        case 4:
            body = helper.make_graph(
                [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Identity", ["v"], ["v_out"])],
                "body",
                [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("c",
                TensorProto.BOOL, []), helper.make_tensor_value_info("v", TensorProto.FLOAT, [1])],
                [helper.make_tensor_value_info("c_out", TensorProto.BOOL, []), helper.make_tensor_value_info("v_out",
                TensorProto.FLOAT, [1])],
            )  # fmt: skip
            count = random.choice(("", "e_big"))
            nodes, what = (
                [helper.make_node("Loop", [count, "e_true", "e_one"], ["e_out"], body=body)],
                f"a Loop of {count and big}",
            )
        case _:
            constants["e_small"] = np.zeros((1024, 1024), np.int8)
            nodes = [
                helper.make_node("Concat", [f"e_c{i - 1}" if i else "e_small"] * 2, [f"e_c{i}"], axis=0)
                for i in range(16)
            ]
            what = "16 Concats that double a megabyte"
    _put_first(model, nodes, constants)
    if random.random() < 0.5:
        _use(model, nodes[-1].output[0])
    return what


def _put_first(model: ModelProto, nodes: Sequence[NodeProto], constants: dict[str, Any]) -> None:
    kept = GraphProto()
    kept.node.extend([*nodes, *model.graph.node])
    model.graph.ClearField("node")
    model.graph.node.extend(kept.node)
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))


def _use(model: ModelProto, value: str) -> None:
    """Let the graph's first output need the value: its shape, which is added as zero."""
    target = model.graph.output[0].name
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            if name == target:
                node.output[at] = "e_was"
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "e_nothing"))
    model.graph.node.extend([
        helper.make_node("Size", [value], ["e_size"]), helper.make_node("Cast", ["e_size"], ["e_float"], to=1),
        helper.make_node("Mul", ["e_float", "e_nothing"], ["e_zeroes"]), helper.make_node("Add", ["e_was",
        "e_zeroes"], [target]),
    ])  # fmt: skip


def versions(random: Random, model: ModelProto) -> str:
    """Versions, opsets, names and metadata of the file."""
    match random.randrange(5):
        case 0:
            model.ir_version = random.choice((0, 1, 3, 99, 2**62, -1))
            return f"ir_version {model.ir_version}"
        case 1:
            model.opset_import[0].version = random.choice((0, -1, 1, 7, 13, 99, 2**62))
            return f"opset {model.opset_import[0].version}"
        case 2:
            del model.opset_import[:]
            return "no opsets"
        case 3:
            model.opset_import.extend(
                [helper.make_opsetid(random.choice(("", "fuseline", "x")), random.choice((1, 2, 20, 99)))]
            )
            return "an opset more"
        case _:
            model.ClearField("graph")
            return "no graph"


DAMAGES: tuple[Damage, ...] = (
    operator, wires, attribute, steps, initializer, outside_data, signature, order, versions, functions, explosions
)  # fmt: skip
# What often costs seconds comes less often.
WEIGHTS = (2, 4, 4, 2, 4, 4, 4, 3, 2, 1, 2)
