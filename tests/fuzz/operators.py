"""The kernel library's operators inside onnxruntime, beside their bodies, alone and as the steps of a layer.

Shapes, types, numbers and attributes are odd; inputs and outputs are left out.

Where both run they must agree. The library may refuse what a body still computes (a token below 0); not the other way.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN, SECOND, VERSION, add_bodies, operators
from fuseline.kernels.layers import OPERATORS, join_layers
from tests.fuzz.kinds import Kind, Place, Refused, Trial, Wrong

Array = np.ndarray[Any, Any]
Feed = dict[str, Array]
_SIZES = (1, 1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 40, 64, 70, 100)
_NUMBERS = (0.0, -0.0, 1e-45, 1e-30, 1e30, 3e38, -3e38, math.nan, math.inf, -math.inf)
# Sums of some hundred float32 products in another order; a share of the largest number of the result.
TOLERANCE = 2e-4
# Between their layers lie codes, of which the neighbours may be right too: their numbers are compared in tests/kernels.
BOTTLENECKS = ("Int8SeparableConv", "Int8InvertedBottleneck")
# What is never constant.
_FED = (
    "x",
    "ids",
    "qkv",
    "query",
    "key",
    "value",
    "position",
    "beam_table",
    "residual",
    "factor",
    "lengths",
    "rows",
    "starts",
    "weights",
)
_IN_STEPS = (
    "LayerNorm",
    "FloatLinear",
    "CachedSelfAttention",
    "BiasedCachedSelfAttention",
    "SelfAttention",
    "BFloat16SelfAttention",
    "CrossAttention",
    "PaddedCrossAttention",
    "CrossAttentionFlat",
    "CrossAttentionSeparate",
    "RMSNorm",
    "Rotary",
    ">",
    ";",
    "0",
    "5",
    "30",
    "127",
    "128",
    "-1",
    "",
)


def _floats(random: Random, *shape: int) -> Array:
    return np.random.default_rng(random.getrandbits(32)).normal(size=shape).astype(np.float32)


def _layer(random: Random, form: str, inputs: int, outputs: int) -> list[tuple[str, Array]]:
    """Weight, scale and bias of a linear layer, or of a table, in the library's blocks of 16 outputs."""
    numbers = np.random.default_rng(random.getrandbits(32))
    blocks = -(-outputs // 16)
    bias = ("bias", _floats(random, outputs))
    if form in ("Float", "Half"):
        weight = numbers.normal(0, inputs**-0.5, (blocks, inputs, 16))
        return [("weight", weight.astype(np.float32 if form == "Float" else np.float16)), bias]
    if form == "Int8":
        codes = numbers.integers(random.choice((0, 1)), 256, (blocks, -(-inputs // 4), 16, 4), dtype=np.uint8)
        return [("weight", codes), ("scale", numbers.uniform(0.001, 0.02, outputs).astype(np.float32)), bias]
    group = random.choice((32, 64, 128))
    groups = -(-inputs // group)
    codes = numbers.integers(0, 256, (blocks, groups * group // 8, 16, 4), dtype=np.uint8)
    return [("weight", codes), ("scale", numbers.uniform(0.01, 0.2, (blocks, groups, 16)).astype(np.float16)), bias]


def _attention(random: Random, operator: str) -> tuple[Feed, dict[str, Any]]:
    heads, size, batch = random.choice((1, 2, 3, 4)), random.choice((1, 2, 7, 8, 16, 33, 64)), random.choice((1, 2, 3))
    width = heads * size
    attributes = {"heads": heads, "scale": size**-0.5}
    if operator.endswith("CachedSelfAttention"):
        rows, tokens, capacity = random.choice((1, 2, 4)), random.choice((1, 1, 2, 5)), random.choice((5, 9, 40))
        position = random.randint(0, capacity - tokens) if capacity >= tokens else 0
        table = np.array([random.randrange(rows) for _ in range(rows * capacity)], np.int64).reshape(rows, capacity)
        feed = {
            "qkv": _floats(random, rows * tokens, 3 * width), "key": _floats(random, capacity, rows, width),
            "value": _floats(random, capacity, rows, width), "position": np.array([position], np.int64),
            "beam_table": table,
        }  # fmt: skip
        if operator.startswith("Biased"):
            feed["distance_bias"] = _floats(random, heads, random.choice((1, 2, 8, 32)))
        return feed, attributes
    positions = random.choice((1, 2, 17, 50, 70))
    lengths = np.array([[random.choice((0, 1, positions, positions // 2))] for _ in range(batch)], np.int64)
    if "CrossAttention" in operator:
        half = operator.startswith("Half")
        shape = (batch, heads, positions, size) if half else (batch, positions, width)
        key, value = (_floats(random, *shape).astype(np.float16 if half else np.float32) for _ in range(2))
        feed = {"query": _floats(random, batch * random.choice((1, 2, 3, 4, 5)), width), "key": key, "value": value}
        if operator.endswith(("Flat", "Separate")):
            return feed | _sources(random, batch, positions), attributes
        return feed | ({"lengths": lengths} if "Padded" in operator else {}), attributes
    feed = {"qkv": _floats(random, batch, positions, 3 * width), "lengths": lengths}
    if "Biased" in operator:
        feed["distance_bias"] = _floats(random, heads, random.choice((1, 3, 15, 63)))
    return feed, attributes


def _sources(random: Random, batch: int, positions: int) -> Feed:
    """Which of the positions are whose, of one to four sources, some of them absent or without any."""
    starts = sorted([0, positions, *(random.randint(0, positions) for _ in range(random.randrange(4)))])
    sizes = np.diff(starts)
    lengths = [[random.choice((0, 1, size, size // 2)) if size else 0 for size in sizes] for _ in range(batch)]
    weights = [[random.choice((0.0, 1.0, 1.0, 0.3, 0.01)) for _ in sizes] for _ in range(batch)]
    return {
        "lengths": np.array(lengths, np.int64),
        "starts": np.array(starts, np.int64),
        "weights": np.array(weights, np.float32),
    }


def _rotary(random: Random) -> tuple[Feed, dict[str, Any]]:
    heads, size, rows = random.choice((1, 2, 3)), random.choice((1, 2, 7, 16, 33)), random.choice((1, 2, 4))
    tokens, known = random.choice((0, 1, 2, 5)), random.choice((5, 9, 40))
    tables = {"cosines": _floats(random, known, random.randint(0, size // 2))}
    tables["sines"] = _floats(random, *tables["cosines"].shape)
    position = np.array([random.randint(0, known - tokens)], np.int64)
    rest = {"position": position, "rows": np.zeros((rows, random.choice((0, 1, 9))), np.int64)}
    return {"qkv": _floats(random, rows * tokens, 3 * heads * size), **tables, **rest}, {"heads": heads}


def _convolution(random: Random, operator: str) -> tuple[Feed, dict[str, Any]]:
    """Of planes, or a bottleneck with or without its first layer."""
    images, kernel = random.choice((0, 1, 1, 2)), random.choice((1, 2, 3, 3, 5, 5, 7))
    height, width = random.choice((1, 2, 5, 8, 11)), random.choice((1, 3, 4, 8, 15))
    channels, middle, outputs = (random.choice((1, 3, 5, 16, 17, 32)) for _ in range(3))
    strides = [random.choice((1, 1, 2, 2, 3))] * 2
    if operator == "ConvRelu6":
        weight = _floats(random, channels, kernel, kernel, outputs)
        x = _floats(random, images, channels, height, width)
        return {"x": x, "weight": weight, "bias": _floats(random, outputs)}, {"strides": strides}

    def layer(name: str, inputs: int, outputs: int) -> Feed:
        parts = dict(_layer(random, "Int8", inputs, outputs))
        return {name: parts["weight"], f"{name}_scale": parts["scale"], f"{name}_bias": parts["bias"]}

    attributes: dict[str, Any] = {"group": middle, "strides": strides}
    if operator.endswith("Add"):
        outputs, attributes["strides"] = channels, [1, 1]
    widens = operator != "Int8SeparableConv"
    feed = {"x": _floats(random, images, height, width, channels if widens else middle)}
    if widens:
        attributes["channels"] = channels
        feed |= layer("expand", channels, middle)
    window = {"depthwise": _floats(random, kernel, kernel, middle), "depthwise_bias": _floats(random, middle)}
    return feed | window | layer("project", middle, outputs), attributes


def sound(random: Random, operator: str) -> tuple[Feed, dict[str, Any]]:
    """Inputs in their order, and attributes, that an operator takes."""
    if "Attention" in operator:
        return _attention(random, operator)
    if operator == "ConvRelu6" or operator.startswith(BOTTLENECKS):
        return _convolution(random, operator)
    rows, inputs, outputs = (random.choice(_SIZES) for _ in range(3))
    if operator == "Rotary":
        return _rotary(random)
    if operator == "RMSNorm":
        return {"x": _floats(random, rows, inputs), "scale": _floats(random, inputs)}, {"epsilon": 1e-6}
    if operator == "LayerNorm":
        return {
            "x": _floats(random, rows, inputs),
            "scale": _floats(random, inputs),
            "bias": _floats(random, inputs),
        }, {"epsilon": 1e-5}
    if operator.endswith("Embedding"):
        form = operator.removesuffix("Embedding")
        parts = dict(_layer(random, form, inputs, outputs))
        del parts["bias"]
        ids = np.array([[random.randrange(outputs) for _ in range(rows)]], np.int64)
        return {"ids": ids, **parts}, {"vocabulary": outputs, "width": inputs}
    form, ending = operator.split("Linear")
    feed = {"x": _floats(random, random.choice((0, rows, rows)), inputs), **dict(_layer(random, form, inputs, outputs))}
    if ending in SECOND:
        feed[SECOND[ending]] = _floats(random, len(feed["x"]), outputs)
    return feed, {}


def _odd_array(random: Random, array: Array) -> tuple[str, Array]:
    """An array with another shape, type, or numbers."""
    match random.randrange(6):
        case 0 if array.ndim:
            axis = random.randrange(array.ndim)
            size = random.choice((0, 1, array.shape[axis] + 1, max(0, array.shape[axis] - 1), array.shape[axis] * 2))
            return f"axis {axis} of {size}", np.resize(array, (*array.shape[:axis], size, *array.shape[axis + 1 :]))
        case 1:
            shape = random.choice(
                ((), array.shape[::-1], (1, *array.shape), (*array.shape, 1), (array.size,), array.shape[1:], (1,) * 8)
            )
            return f"shape {shape}", np.resize(array, shape)
        case 2:
            kind = random.choice((np.float32, np.float16, np.float64, np.uint8, np.int8, np.int32, np.int64, bool))
            with np.errstate(all="ignore"):
                return f"type {np.dtype(kind).name}", array.astype(kind)
        case _ if array.size:
            changed = array.copy()
            for _ in range(random.choice((1, 1, 3))):
                number = (
                    random.choice(_NUMBERS)
                    if array.dtype.kind == "f"
                    else random.choice((0, 1, -1, 96, 255, 2**31, 2**62, -(2**63), 2**63 - 1))
                )
                with np.errstate(all="ignore"):
                    changed.flat[random.randrange(array.size)] = np.array(number).astype(array.dtype)
            return "other numbers", changed
    return "as it was", array


def _odd_attribute(random: Random) -> Any:
    return random.choice(
        (
            0,
            1,
            -1,
            2,
            3,
            2**31,
            2**32,
            2**63 - 1,
            -(2**63),
            0.0,
            1e-5,
            -1.0,
            1e38,
            math.nan,
            math.inf,
            "",
            "x",
            [1],
            [1.0],
            [],
        )
    )


def _single(random: Random) -> tuple[str, NodeProto, Feed]:
    """One node and what it reads, damaged up to three times."""
    operator = random.choice(operators())
    feed, attributes = sound(random, operator)
    outputs = ["y0", "y1", "y2"] if operator.endswith("CachedSelfAttention") else ["y0"]
    names, done = list(feed), []
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        name = random.choice(list(feed))
        draw = random.random()
        if draw < 0.55:
            how, feed[name] = _odd_array(random, feed[name])
            done.append(f"{name}: {how}")
        elif draw < 0.75 and attributes:
            key = random.choice(list(attributes))
            attributes[key] = _odd_attribute(random)
            done.append(f"{key} = {attributes[key]!r}")
        elif draw < 0.8 and attributes:
            del attributes[random.choice(list(attributes))]
            done.append("an attribute less")
        elif draw < 0.88:
            names[random.randrange(len(names))] = random.choice(("", name))
            done.append(f"inputs {names}")
        elif draw < 0.92:
            names = random.choice((names[:-1], [*names, name], [*names, ""]))
            done.append(f"inputs {names}")
        else:
            at = random.randrange(len(outputs)) if outputs else 0
            outputs = random.choice(([*outputs[:at], "", *outputs[at + 1 :]], outputs[:-1], [*outputs, "y9"]))
            done.append(f"outputs {outputs}")
    node = helper.make_node(operator, names, outputs, name="layer.3/fc", domain=DOMAIN)
    for key, value in attributes.items():
        node.attribute.append(
            helper.make_attribute(key, value)
            if value != []
            else onnx.AttributeProto(name=key, type=onnx.AttributeProto.INTS)
        )
    shapes = {name: f"{array.dtype}{list(array.shape)}" for name, array in feed.items()}
    return f"{operator} {shapes}: {', '.join(done) or 'whole'}", node, feed


def _decoder_layer(random: Random) -> tuple[ModelProto, Feed]:
    """The operators of a decoder layer of one format, joined to one node: a captioner's, or one of texts as T5's."""
    form = random.choice(("Float", "Half", "Int8", "Int4"))
    texts = random.random() < 0.5
    cached, attributes = _attention(random, "BiasedCachedSelfAttention" if texts else "CachedSelfAttention")
    width, lines = cached["key"].shape[2], len(cached["qkv"])
    rows = cached["key"].shape[1]
    batch = random.choice([n for n in (1, 2, 4) if rows % n == 0])
    source = _floats(random, batch, 7, width)
    feed: Feed = {"x": _floats(random, lines, width), **{name: cached[name] for name in cached if name != "qkv"}}
    feed |= {"cross_key": source, "cross_value": source[:, ::-1].copy()}
    if texts:
        feed["lengths"] = np.array([[random.choice((0, 1, 4, 7))] for _ in range(batch)], np.int64)
    layer = _Layer(random, form, texts, width, feed)
    qkv = layer.linear(layer.norm("x", "n1"), "qkv", width, 3 * width)
    reads = [qkv, "key", "value", "position", "beam_table", *(["distance_bias"] if texts else [])]
    layer.add(f"{'Biased' if texts else ''}CachedSelfAttention", reads, "mixed", "new_key", "new_value", **attributes)
    after = layer.linear("mixed", "a", width, width, "Add", "x")
    query = layer.linear(layer.norm(after, "n2"), "query", width, width)
    reads = [query, "cross_key", "cross_value", *(["lengths"] if texts else [])]
    layer.add(f"{'Padded' if texts else ''}CrossAttention", reads, "crossed", **attributes)
    after = layer.linear("crossed", "b", width, width, "Add", after)
    layer.network(layer.norm(after, "n3"), "y0", after)
    model = _model(random, layer.nodes, feed, ["y0", "new_key", "new_value"])
    join_layers(model)
    return model, feed


def _encoder_layer(random: Random) -> tuple[ModelProto, Feed]:
    """The operators of an encoder's layer likewise: a vision encoder's, or one of texts."""
    form, texts = random.choice(("Float", "Half", "Int8", "Int4")), random.random() < 0.5
    read, attributes = _attention(random, "BiasedSelfAttention" if texts else "SelfAttention")
    width = read["qkv"].shape[2] // 3
    feed: Feed = {"x": _floats(random, *read["qkv"].shape[:2], width)}
    feed |= {name: read[name] for name in read if name != "qkv"}
    layer = _Layer(random, form, texts, width, feed)
    qkv = layer.linear(layer.norm("x", "n1"), "qkv", width, 3 * width)
    reads = [qkv, "lengths", *(["distance_bias"] if texts else [])]
    layer.add(f"{'Biased' if texts else ''}SelfAttention", reads, "mixed", **attributes)
    after = layer.linear("mixed", "a", width, width, "Add", "x")
    layer.network(layer.norm(after, "n2"), "y0", after)
    model = _model(random, layer.nodes, feed, ["y0"])
    join_layers(model)
    return model, feed


class _Layer:
    """The nodes of a layer while they are written; what they read goes into `feed`. texts: as T5 has it, or as ViT."""

    def __init__(self, random: Random, form: str, texts: bool, width: int, feed: Feed) -> None:
        self._random, self._form, self._texts, self._width, self._feed = random, form, texts, width, feed
        self.nodes: list[NodeProto] = []

    def add(self, operator: str, values: list[str], *outputs: str, **more: Any) -> str:
        name = f"layer.0/{outputs[0]}"
        self.nodes.append(helper.make_node(operator, values, list(outputs), name=name, domain=DOMAIN, **more))
        return outputs[0]

    def norm(self, x: str, name: str) -> str:
        self._feed[f"{name}.s"] = _floats(self._random, self._width)
        if self._texts:
            return self.add("RMSNorm", [x, f"{name}.s"], name, epsilon=1e-5)
        self._feed[f"{name}.b"] = _floats(self._random, self._width)
        return self.add("LayerNorm", [x, f"{name}.s", f"{name}.b"], name, epsilon=1e-5)

    def linear(self, x: str, name: str, inputs: int, outputs: int, ending: str = "", second: str = "") -> str:
        parts = {f"{name}.{part}": array for part, array in _layer(self._random, self._form, inputs, outputs)}
        self._feed.update(parts)
        return self.add(f"{self._form}Linear{ending}", [x, *parts, *([second] if second else [])], name)

    def network(self, x: str, name: str, residual: str) -> None:
        """Two layers, of texts with a gate between."""
        inner = self._random.choice(_SIZES)
        grown = self.linear(
            x, "gate", self._width, inner, self._random.choice(("Relu", "Gelu", "GeluTanh", "QuickGelu", "Silu"))
        )
        if self._texts:
            grown = self.linear(x, "grown", self._width, inner, "Mul", grown)
        self.linear(grown, name, inner, self._width, "Add", residual)


def _model(random: Random, nodes: list[NodeProto], feed: Feed, outputs: list[str]) -> ModelProto:
    """The nodes as a model with their bodies; a part of what they read is constant."""
    graph = GraphProto(name="fuzz", node=nodes)
    constants = random.random() < 0.6
    for name, array in feed.items():
        if constants and name not in _FED:
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(
                helper.make_tensor_value_info(name, kind, [f"{name}_{axis}" for axis in range(array.ndim)])
            )
    for name in outputs:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, VERSION)]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return add_bodies(model)


def _make(random: Random, place: Place) -> Trial:
    comparable = True
    if random.random() < 0.25:
        model, feed = random.choice((_decoder_layer, _encoder_layer))(random)
        what, comparable = _damaged_layer(random, model, feed)
    else:
        what, node, feed = _single(random)
        model = _model(random, [node], feed, [name for name in node.output if name])
    threads = random.choice((1, 1, 1, 2))
    data = model.SerializeToString()
    (place.case / "model.onnx").write_bytes(data)
    for name, array in feed.items():
        np.save(place.case / f"{name}.npy", array)
    fed = {each.name: feed[each.name] for each in model.graph.input}
    names = [each.name for each in model.graph.output]
    return Trial(f"{what}, {threads} threads", lambda: _compared(data, fed, names, threads, comparable))


def _damaged_layer(random: Random, model: ModelProto, feed: Feed) -> tuple[str, bool]:
    """A joined layer with odd steps, ends or arrays; whether its body still says what it must compute."""
    node = model.graph.node[0]
    kind = f"{node.op_type} of {feed['x'].shape}"
    if node.op_type not in OPERATORS:
        return f"{kind}, not joined", True
    match random.randrange(5):
        case 0:
            return f"{kind}: whole", True
        case 1 | 2:
            each = next(each for each in node.attribute if each.name == "steps")
            words = each.s.decode().replace(";", " ; ").split()
            for _ in range(random.choice((1, 1, 2, 4))):
                words[random.randrange(len(words))] = random.choice((*words, *_IN_STEPS))
            each.s = " ".join(words).encode()
            return f"{kind}: {each.s!r:.600}", False
        case 3:
            ends, constants = random.choice((node.input, node.output)), [each.name for each in model.graph.initializer]
            at = random.randrange(len(ends))
            ends[at] = "" if random.random() < 0.6 else random.choice([*node.input, *constants])
            kept = [each for each in model.graph.output if each.name in node.output]
            del model.graph.output[:]
            model.graph.output.extend(kept)
            return f"{kind}: {'input' if ends is node.input else 'output'} {at} is {ends[at]!r}", ends is node.input
        case _:
            fed = [each.name for each in model.graph.input]
            name = random.choice(fed)
            how, feed[name] = _odd_array(random, feed[name])
            value = next(each for each in model.graph.input if each.name == name)
            array = feed[name]
            value.CopyFrom(
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
            )
            return f"{kind}: {name}: {how}", True


def _run(data: bytes, feed: Feed, names: list[str], threads: int, fused: bool) -> list[Array]:
    """Raises Refused."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if fused:
        options.register_custom_ops_library(str(library_info().path))
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        found: list[Array] = session.run(names, feed)
    except Exception as error:  # onnxruntime's errors have no other base
        raise Refused(str(error)) from None
    return found


def _compared(data: bytes, feed: Feed, names: list[str], threads: int, comparable: bool) -> str:
    """The library's numbers beside the body's."""
    found = _run(data, feed, names, threads, fused=True)
    if not comparable:
        return "loaded"
    try:
        right = _run(data, feed, names, threads, fused=False)
    except Refused as refusal:
        if found[0].size == 0:  # nothing was asked, and the library does not look at what nothing reads
            return "loaded"
        raise Wrong(f"the library computes what the body refuses: {refusal}") from None
    for name, ours, bodys in zip(names, found, right, strict=True):
        if ours.shape != bodys.shape or ours.dtype != bodys.dtype:
            raise Wrong(f"{name} is {ours.dtype}{list(ours.shape)} and of the body {bodys.dtype}{list(bodys.shape)}")
        if any(each.encode() in data for each in BOTTLENECKS):
            continue
        # Scores of such numbers overflow in one order of their products and not in another.
        if b"Attention" in data and any(_overflows(each) for each in feed.values()):
            continue
        # The body computes the scores of later tokens, and hides infinite ones in vain; the library does not read them.
        hides = b"SelfAttention" in data and not all(np.isfinite(each).all() for each in feed.values())
        _alike(name, ours, bodys, hides)
    return "loaded"


def _overflows(array: Array) -> bool:
    """Whether it has finite numbers whose products may not be finite."""
    numbers = array.astype(np.float64) if array.dtype.kind == "f" else np.zeros(1)
    return bool((np.isfinite(numbers) & (np.abs(numbers) > 1e15)).any())


def _alike(name: str, ours: Array, bodys: Array, hides: bool) -> None:
    """Raises Wrong where finite numbers differ by more than TOLERANCE, or only one of the two is finite.

    hides: whether the body may have NaN where there is a right number.
    """
    usual = np.abs(bodys) < 1e30  # beyond that sums overflow in one order and not in another; NaN is not below it
    if not np.array_equal(np.isfinite(ours)[usual], np.isfinite(bodys)[usual]):
        raise Wrong(f"{name} is not finite where the body's is")
    broken = np.isnan(bodys)
    if not hides and np.isfinite(ours[broken]).any():
        raise Wrong(f"{name} is finite where the body's is NaN")
    if usual.any():
        worst = np.abs(ours[usual].astype(np.float64) - bodys[usual]).max()
        if worst > TOLERANCE * (1 + np.abs(bodys[usual]).max()):
            raise Wrong(f"{name} differs from the body by {worst:.3g} of {np.abs(bodys[usual]).max():.3g}")


KIND = Kind("operators", _make, cpu_seconds=5.0, megabytes=300.0, templates=False)
