"""Graphs of one operator of the kernel library: good inputs of all of them, and how they are run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN, ENDINGS, FORMATS, SECOND, TABLES, add_bodies
from fuseline.kernels.layers import OPERATORS

Array = np.ndarray[Any, Any]
NAME = "decoder/layer.3"
_random = np.random.default_rng(0)


def floats(*shape: int) -> Array:
    return _random.normal(size=shape).astype(np.float32)


def halves(*shape: int) -> Array:
    return floats(*shape).astype(np.float16)


def bfloat16s(*shape: int) -> Array:
    return floats(*shape).astype(ml_dtypes.bfloat16)


def codes(*shape: int) -> Array:
    return _random.integers(0, 256, shape).astype(np.uint8)


@dataclass(frozen=True)
class Node:
    """An operator with inputs that fit, as many outputs as it has, and its attributes."""

    operator: str
    feed: Mapping[str, Array]
    outputs: int
    attributes: Mapping[str, Any]


def _linears() -> list[Node]:
    """Layers of 40 inputs and 20 outputs: two blocks, in 4 bits two groups of 32."""
    stored: dict[str, dict[str, Array]] = {
        "Float": {"weight": floats(2, 40, 16)},
        "Half": {"weight": halves(2, 40, 16)},
        "BFloat16": {"weight": bfloat16s(2, 20, 16, 2)},
        "Int8": {"weight": codes(2, 10, 16, 4), "scale": np.ones(20, np.float32)},
        "Int4": {"weight": codes(2, 8, 16, 4), "scale": np.ones((2, 2, 16), np.float16)},
    }
    nodes = []
    for form in FORMATS:
        for ending in ENDINGS:
            feed = {"x": floats(3, 40)} | stored[form] | {"bias": floats(20)}
            if ending in SECOND:
                feed[SECOND[ending]] = floats(3, 20)
            nodes.append(Node(f"{form}Linear{ending}", feed, 1, {}))
    return nodes


def _embeddings() -> list[Node]:
    """Tables of 20 tokens and a width of 6."""
    stored: dict[str, dict[str, Array]] = {
        "Float": {"weight": floats(2, 6, 16)},
        "Half": {"weight": halves(2, 6, 16)},
        "Int8": {"weight": codes(2, 2, 16, 4), "scale": np.ones(20, np.float32)},
    }
    ids, sizes = {"ids": np.array([[0, 19, 3]])}, {"vocabulary": 20, "width": 6}
    return [Node(f"{form}Embedding", ids | stored[form], 1, sizes) for form in TABLES]


def _rotary(lines: int, width: int, pairs: int) -> dict[str, Array]:
    """Of two rows, from position 5 of 12 on."""
    angles = _random.uniform(-3, 3, (12, pairs))
    tables = {"cosines": np.cos(angles).astype(np.float32), "sines": np.sin(angles).astype(np.float32)}
    return {"qkv": floats(lines, 3 * width), **tables, "position": np.array([5]), "rows": np.zeros((2, 9), np.int64)}


def _convolutions() -> list[Node]:
    """Images of 6 x 5 positions; bottlenecks of 5 channels, 20 in the middle and again 5."""
    narrow = {
        "depthwise": floats(3, 3, 20), "depthwise_bias": floats(20),
        "project": codes(1, 5, 16, 4), "project_scale": np.full(5, 0.01, np.float32), "project_bias": floats(5),
    }  # fmt: skip
    widen = {
        "expand": codes(2, 2, 16, 4), "expand_scale": np.full(20, 0.01, np.float32), "expand_bias": floats(20),
    }  # fmt: skip
    planes = {"x": floats(2, 3, 6, 5), "weight": floats(3, 3, 3, 20), "bias": floats(20)}
    halved, whole = {"group": 20, "strides": [2, 2]}, {"group": 20, "strides": [1, 1]}
    bottleneck = {"x": floats(2, 6, 5, 5)} | widen | narrow
    return [
        Node("ConvRelu6", planes, 1, {"strides": [2, 2]}),
        Node("Int8SeparableConv", {"x": floats(2, 6, 5, 20)} | narrow, 1, halved),
        Node("Int8InvertedBottleneck", bottleneck, 1, {"channels": 5} | halved),
        Node("Int8InvertedBottleneckAdd", bottleneck, 1, {"channels": 5} | whole),
    ]


def _others() -> list[Node]:
    heads = {"heads": 3, "scale": 0.3}
    cached = {
        "qkv": floats(4, 72), "key": floats(9, 2, 24), "value": floats(9, 2, 24), "position": np.array([5]),
        "beam_table": np.zeros((2, 9), np.int64),
    }  # fmt: skip
    cross = {"query": floats(4, 24), "key": floats(2, 5, 24), "value": floats(2, 5, 24)}
    half = {"query": floats(4, 24), "key": halves(2, 3, 5, 8), "value": halves(2, 3, 5, 8)}
    norm = {"x": floats(3, 8), "scale": floats(8), "bias": floats(8)}
    layer = {"x": floats(2, 8), "scale": floats(8), "shift": floats(8), "weight": floats(1, 8, 16), "bias": floats(5)}
    steps = {"epsilon": 1e-5, "steps": "LayerNorm 0 1 2 > 6;FloatLinear 6 3 4 > 5"}
    lengths = {"lengths": np.array([[3], [5]])}
    encoder = {"qkv": floats(2, 5, 72), **lengths}
    windows = {
        "qkv": floats(2, 8, 72), "windows": np.array([[7, 0, 2, 1], [3, 6, 5, 4]]),
        "regions": np.array([[1, 1, 0, 1], [5, 5, 5, 5]]), "place_bias": floats(3, 4, 4),
    }  # fmt: skip
    sources = {  # three, of 3, 1 and 1 positions
        "lengths": np.array([[2, 1, 1], [3, 0, 1]]), "starts": np.array([0, 3, 4, 5]),
        "weights": np.array([[1, 0.25, 0.5], [0.5, 1, 1]], np.float32),
    }  # fmt: skip
    return [
        Node("LayerNorm", norm, 1, {"epsilon": 1e-5}),
        Node("RMSNorm", {"x": floats(3, 8), "scale": floats(8)}, 1, {"epsilon": 1e-6}),
        Node("Rotary", _rotary(4, 24, 3), 1, {"heads": 3}),
        Node("CachedSelfAttention", cached, 3, heads),
        Node("BiasedCachedSelfAttention", {**cached, "distance_bias": floats(3, 4)}, 3, heads),
        Node("CrossAttention", cross, 1, heads),
        Node("HalfCrossAttention", half, 1, heads),
        Node("PaddedCrossAttention", {**cross, **lengths}, 1, heads),
        Node("HalfPaddedCrossAttention", {**half, **lengths}, 1, heads),
        Node("CrossAttentionFlat", {**cross, **sources}, 2, heads),
        Node("HalfCrossAttentionFlat", {**half, **sources}, 2, heads),
        Node("CrossAttentionSeparate", {**cross, **sources}, 2, heads),
        Node("HalfCrossAttentionSeparate", {**half, **sources}, 2, heads),
        Node("SelfAttention", encoder, 1, heads),
        Node("BiasedSelfAttention", {**encoder, "distance_bias": floats(3, 7)}, 1, heads),
        Node("WindowSelfAttention", windows, 1, heads),
        Node("BFloat16SelfAttention", encoder, 1, heads),
        Node("BFloat16BiasedSelfAttention", {**encoder, "distance_bias": floats(3, 7)}, 1, heads),
        Node("BFloat16WindowSelfAttention", windows, 1, heads),
        *(Node(operator, layer, 1, steps) for operator in OPERATORS),
    ]


def _large() -> list[Node]:
    """Operators of texts and of several sources, with so much to do that several threads share it."""
    attributes, width = {"heads": 6, "scale": 0.2}, 192
    lengths = {"lengths": np.array([[99], [70]])}
    query, encoder = {"query": floats(6, width)}, {"qkv": floats(2, 99, 3 * width)} | lengths
    source = {name: floats(2, 99, width) for name in ("key", "value")}
    half = {name: halves(2, 6, 99, 32) for name in ("key", "value")}
    sources = {
        "lengths": np.array([[40, 30, 20], [31, 0, 28]]), "starts": np.array([0, 41, 71, 99]),
        "weights": np.array([[1, 0.3, 0.7], [0.2, 1, 1]], np.float32),
    }  # fmt: skip
    cached = {
        "qkv": floats(68, 3 * width), "key": floats(40, 2, width), "value": floats(40, 2, width),
        "position": np.array([3]), "beam_table": _random.integers(0, 2, (2, 40)),
    }  # fmt: skip
    windows = {
        "qkv": floats(2, 240, 3 * width), "windows": _random.permutation(240).reshape(10, 24),
        "regions": _random.integers(0, 3, (10, 24)), "place_bias": floats(6, 24, 24),
    }  # fmt: skip
    return [
        Node("PaddedCrossAttention", query | source | lengths, 1, attributes),
        Node("HalfPaddedCrossAttention", query | half | lengths, 1, attributes),
        Node("CrossAttentionFlat", query | source | sources, 2, attributes),
        Node("HalfCrossAttentionFlat", query | half | sources, 2, attributes),
        Node("CrossAttentionSeparate", query | source | sources, 2, attributes),
        Node("HalfCrossAttentionSeparate", query | half | sources, 2, attributes),
        Node("SelfAttention", encoder, 1, attributes),
        Node("BiasedSelfAttention", encoder | {"distance_bias": floats(6, 63)}, 1, attributes),
        Node("WindowSelfAttention", windows, 1, attributes),
        Node("BFloat16SelfAttention", encoder, 1, attributes),
        Node("BFloat16BiasedSelfAttention", encoder | {"distance_bias": floats(6, 63)}, 1, attributes),
        Node("BiasedCachedSelfAttention", cached | {"distance_bias": floats(6, 32)}, 3, attributes),
        Node("RMSNorm", {"x": floats(300, width), "scale": floats(width)}, 1, {"epsilon": 1e-6}),
        Node("Rotary", _rotary(14, 3200, 150), 1, {"heads": 10}),
    ]


LARGE = {node.operator: node for node in _large()}
NODES = {node.operator: node for node in (*_linears(), *_embeddings(), *_convolutions(), *_others())}


def session(model: onnx.ModelProto, fused: bool = True, threads: int = 2) -> ort.InferenceSession:
    """With the kernel library, or on the bodies."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # half of the time to open a session
    options.log_severity_level = 4
    if fused:
        options.register_custom_ops_library(str(library_info().path))
    else:
        add_bodies(model)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=32)
def _kept(model: bytes, fused: bool, threads: int, isa: str) -> ort.InferenceSession:
    """The session of a model that was asked for before: opening one takes ten times as long as a run."""
    return session(onnx.ModelProto.FromString(model), fused, threads)


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    feed: Mapping[str, Array],
    outputs: Collection[str],
    constants: Collection[str] = (),
) -> onnx.ModelProto:
    """A model that is fed with arrays of these types and any sizes, but for the constants."""
    graph = onnx.GraphProto(name="one", node=nodes)
    for name, array in feed.items():
        if name in constants:
            graph.initializer.add(name=name, dims=array.shape, data_type=_type(array), raw_data=array.tobytes())
        else:
            graph.input.append(helper.make_tensor_value_info(name, _type(array), [None] * array.ndim))
    for name in outputs:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _type(array: Array) -> int:
    """Of a tensor; onnx before 1.19 does not know numpy's type of bfloat16."""
    if array.dtype == ml_dtypes.bfloat16:
        return TensorProto.BFLOAT16
    found: int = helper.np_dtype_to_tensor_dtype(array.dtype)
    return found


def _value(array: Array) -> Array | ort.OrtValue:
    """As onnxruntime takes it, which knows no such type of numpy's."""
    if array.dtype != ml_dtypes.bfloat16:
        return array
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), TensorProto.BFLOAT16)


def run(
    node: Node,
    changes: Mapping[str, Array] | None = None,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    constants: Collection[str] = (),
    fused: bool = True,
    threads: int = 2,
) -> list[Array]:
    """The node alone, with other arrays, names of inputs and outputs, or attributes."""
    feed = dict(node.feed) | dict(changes or {})
    names = [f"output_{i}" for i in range(node.outputs)] if outputs is None else list(outputs)
    others = node.attributes if attributes is None else attributes
    made = helper.make_node(node.operator, inputs or list(feed), names, name=NAME, domain=DOMAIN, **others)
    nodes, named = [made], [name for name in names if name]
    if not named:  # a graph has an output
        zero = helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.zeros(1, np.float32)))
        nodes, named = [made, zero], ["zero"]
    opened = _kept(graph_of(nodes, feed, named, constants).SerializeToString(), fused, threads, library_info().isa)
    given = {name: _value(array) for name, array in feed.items() if name not in constants}
    results: list[Array] = opened.run(None, given)
    return results
