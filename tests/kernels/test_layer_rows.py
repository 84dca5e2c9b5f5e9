"""Layers of many rows, whose steps go through some rows at a time: the same numbers to the bit as rows alone give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN
from fuseline.kernels.layers import ENCODER_LAYER

Array = np.ndarray[Any, Any]
WIDTH, INNER = 20, 1200  # of which some 870 rows go together
SHAPES = [(1, 1801), (3, 601), (1801, 1), (5, 101)]  # the last one is gone through at once
pytestmark = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")

# x, a second value of the same shape, and the constants in their order.
NAMES = ["x", "second", "scale", "shift", "weight", "bias", "back", "back_bias"]
# A norm and two linear layers, whose end is the first output; what the norm makes is the second one or stays inside.
NETWORK = "LayerNorm 0 2 3 > {normed};FloatLinearGelu {normed} 4 5 > 20;FloatLinearAdd 20 6 7 1 > 8"


def constants() -> dict[str, Array]:
    random = np.random.default_rng(0)

    def drawn(*shape: int) -> Array:
        return random.normal(0, 0.3, shape).astype(np.float32)

    found = {"scale": 1 + drawn(WIDTH), "shift": drawn(WIDTH), "weight": drawn(WIDTH, INNER), "bias": drawn(INNER)}
    return found | {"back": drawn(INNER, WIDTH), "back_bias": drawn(WIDTH)}


def in_blocks(weight_IO: Array) -> Array:
    """float32[blocks, I, 16] of float32[I, O]."""
    inputs, outputs = weight_IO.shape
    padded = np.zeros((inputs, -(-outputs // 16) * 16), np.float32)
    padded[:, :outputs] = weight_IO
    return np.ascontiguousarray(padded.reshape(inputs, -1, 16).transpose(1, 0, 2))


def run(steps: str, outputs: int, feed: Mapping[str, Array], **attributes: Any) -> list[Array]:
    results = [f"y{index}" for index in range(outputs)]
    attributes = {"steps": steps, "epsilon": 1e-5, **attributes}
    names = [*feed, *NAMES[2:]] if len(feed) > 2 else NAMES
    node = helper.make_node(ENCODER_LAYER, names, results, name="layer.7", domain=DOMAIN, **attributes)
    graph = onnx.GraphProto(name="rows", node=[node])
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results)
    for name, array in feed.items():
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        graph.input.append(helper.make_tensor_value_info(name, dtype, [None] * array.ndim))
    for name, array in constants().items():
        packed = in_blocks(array) if array.ndim == 2 else array
        graph.initializer.append(numpy_helper.from_array(packed, name))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library_info().path))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, dict(feed))
    return found


def inputs(shape: tuple[int, ...]) -> dict[str, Array]:
    random = np.random.default_rng(1)
    return {name: random.normal(size=(*shape, WIDTH)).astype(np.float32) for name in NAMES[:2]}


def exact(feed: Mapping[str, Array]) -> tuple[Array, Array]:
    """What the network makes in float64, and its norm."""
    c = {name: array.astype(np.float64) for name, array in constants().items()}
    x = feed["x"].astype(np.float64)
    away = x - x.mean(-1, keepdims=True)
    normed = away / np.sqrt((away**2).mean(-1, keepdims=True) + 1e-5) * c["scale"] + c["shift"]
    inner = normed @ c["weight"] + c["bias"]
    inner *= 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    return inner @ c["back"] + c["back_bias"] + feed["second"], normed


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_rows_are_right(shape: tuple[int, ...], kept: bool) -> None:
    """kept: the norm's result is an output of the layer too, of which all rows are there at the end."""
    feed = inputs(shape)
    steps = NETWORK.format(normed=9 if kept else 21)
    found = run(steps, 1 + kept, feed)
    for one, right in zip(found, exact(feed), strict=False):
        assert one.shape == right.shape
        np.testing.assert_allclose(one, right, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_alone_give_the_same(shape: tuple[int, ...]) -> None:
    feed = inputs(shape)
    [together] = run(NETWORK.format(normed=21), 1, feed)
    rows = {name: array.reshape(-1, WIDTH)[-130:] for name, array in feed.items()}
    [alone] = run(NETWORK.format(normed=21), 1, rows)
    np.testing.assert_array_equal(together.reshape(-1, WIDTH)[-130:], alone)


def test_what_others_read_later_has_all_rows() -> None:
    """Attention reads what the steps before it made some rows at a time; an output of the layer has all rows too."""
    positions, heads, size = 901, 4, 100  # query, key and value are the inner layer's 1,200
    feed = inputs((2, positions)) | {"lengths": np.full((2, 1), positions)}
    made, again = ("LayerNorm 0 3 4 > {0};FloatLinear {0} 5 6 > {1}".format(*values) for values in ((21, 20), (22, 10)))
    mixed, beside = run(f"{made};SelfAttention 20 2 > 9;{again}", 2, feed, heads=heads, scale=0.1)
    _, normed = exact(feed)
    qkv = normed @ constants()["weight"].astype(np.float64) + constants()["bias"]
    np.testing.assert_allclose(beside, qkv, atol=2e-5)
    parts = np.split(qkv, 3, axis=-1)
    query, key, value = (part.reshape(2, positions, heads, size).transpose(0, 2, 1, 3) for part in parts)
    scores = query @ key.transpose(0, 1, 3, 2) * 0.1
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    right = (weights / weights.sum(-1, keepdims=True)) @ value
    np.testing.assert_allclose(mixed, right.transpose(0, 2, 1, 3).reshape(mixed.shape), atol=2e-4)


@pytest.mark.parametrize("shape", [(2, 901, WIDTH), (1802, WIDTH), (1, 901, WIDTH), (1, 1802, 21)])
def test_a_second_value_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    feed = inputs((1, 1802)) | {"second": np.zeros(shape, np.float32)}
    with pytest.raises(Exception, match="step 3, FloatLinearAdd: the residual has another shape than the result"):
        run(NETWORK.format(normed=21), 1, feed)
