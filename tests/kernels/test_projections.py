"""Rows that are prepared once: linear layers of one value as one node, and norms before a linear layer."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN, FORMATS, OPSET, VERSION, add_bodies
from fuseline.kernels.layers import ENCODER_LAYER, PROJECTIONS, join_layers, split_layers

from .nodes import Array
from .test_text_layers import Builder, run


def built(form: str, counts: tuple[int, ...], rows: int, width: int = 132) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """As many linear layers of each of several values, all of them outputs, the values' among each other."""
    b = Builder(form)
    for value, count in enumerate(counts):
        b.feed[f"x{value}"] = b.floats(2, rows, width)
        b.graph.input.append(helper.make_tensor_value_info(f"x{value}", TensorProto.FLOAT, [None, None, None]))
        for number in range(count):
            made = b.linear(f"x{value}", f"value.{value}.{number}", width, 16 * number + 7)
            b.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return add_bodies(helper.make_model(b.graph, opset_imports=opsets, ir_version=9)), b.feed


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("rows", [1, 5, 60])
@pytest.mark.parametrize("form", FORMATS)
def test_the_numbers_are_those_of_separate_layers(form: str, rows: int) -> None:
    (apart, feed), (model, _) = built(form, (6,), rows), built(form, (6,), rows)
    assert join_layers(model) == []
    assert kinds(model) == [PROJECTIONS]
    for fused in (True, False) if library_info().path else (False,):
        for threads in (1, 2) if fused else (1,):
            pairs = zip(run(model, feed, fused, threads), run(apart, feed, fused, threads), strict=True)
            for found, right in pairs:
                np.testing.assert_array_equal(found, right)


@pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")
def test_rows_that_go_in_several_turns() -> None:
    (apart, feed), (model, _) = built("Int8", (3,), 700, 1500), built("Int8", (3,), 700, 1500)
    join_layers(model)
    for found, right in zip(run(model, feed, True), run(apart, feed, True), strict=True):
        np.testing.assert_array_equal(found, right)


def test_splitting_undoes_joining() -> None:
    model, _ = built("Int8", (4,), 3)
    before = [(node.op_type, list(node.input), list(node.output)) for node in model.graph.node]
    join_layers(model)
    joined = model.SerializeToString(deterministic=True)
    split_layers(model)
    assert [(node.op_type, list(node.input), list(node.output)) for node in model.graph.node] == before
    assert join_layers(model) == []
    assert model.SerializeToString(deterministic=True) == joined


def test_as_few_nodes_of_one_size_as_there_is_room_for() -> None:
    model, _ = built("Int8", (64,), 1, 4)
    assert join_layers(model) == []
    assert [len(node.output) for node in model.graph.node] == [16] * 4


def test_what_stays_as_it_is() -> None:
    model, _ = built("Float", (1, 1), 2)  # of values of their own
    assert join_layers(model) == []
    assert kinds(model) == ["FloatLinear"] * 2
    model, _ = built("Float", (3,), 2)
    model.graph.node.append(helper.make_node("Identity", ["value.0.1"], ["copy"]))  # which one of them is read by
    model.graph.output.append(helper.make_tensor_value_info("copy", TensorProto.FLOAT, None))
    assert join_layers(model) == []
    assert kinds(model) == ["FloatLinear", PROJECTIONS, "Identity"]


def encoder(form: str, rows: int, norm: str) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A layer whose first norm is read by two linear layers and whose last one leaves it."""
    b = Builder(form)
    b.feed = {"x": b.floats(1, rows, 132), "lengths": np.array([[rows]])}
    b.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None, None]))
    b.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, [None, 1]))

    def normed(x: str, name: str) -> str:
        values = [
            b.constant(f"{name}.{part}", b.floats(132)) for part in ("scale", "bias")[: 2 if norm == "LayerNorm" else 1]
        ]
        return b.add(norm, [x, *values], name, epsilon=1e-5)

    first = normed("x", "layer.0/first")
    qkv = b.linear(first, "layer.0/qkv", 132, 396)
    gate = b.linear(first, "layer.0/gate", 132, 132)
    mixed = b.add("SelfAttention", [qkv, "lengths"], "layer.0/mixed", heads=4, scale=0.2)
    read = b.linear(mixed, "layer.0/out", 132, 132, "Mul", gate)
    for name in (
        b.linear(normed(read, "layer.0/second"), "layer.0/y", 132, 132, "Add", "x"),
        normed(read, "layer.0/z"),
    ):
        b.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return add_bodies(helper.make_model(b.graph, opset_imports=opsets, ir_version=9)), b.feed


@pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")
@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("rows", [3, 84, 85, 230])
@pytest.mark.parametrize("form", ["Float", "Int8", "Int4", "BFloat16"])
def test_rows_that_a_layer_norms_as_it_reads_them(form: str, rows: int, norm: str) -> None:
    (apart, feed), (model, _) = encoder(form, rows, norm), encoder(form, rows, norm)
    assert join_layers(model) == []
    assert kinds(model) == [ENCODER_LAYER]
    for threads in (1, 2, 5):
        for found, right in zip(run(model, feed, True, threads), run(apart, feed, True, threads), strict=True):
            assert np.isfinite(right).all()
            np.testing.assert_array_equal(found, right)


def post_norm(form: str, rows: int) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A layer in which nothing but the norm reads what is normed: its memory, which a wider value had before, may be
    the next value's."""
    b = Builder(form)
    b.feed = {"x": b.floats(1, rows, 132), "lengths": np.array([[rows]])}
    b.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None, None]))
    b.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, [None, 1]))
    qkv = b.linear("x", "layer.0/qkv", 132, 396)
    mixed = b.add("SelfAttention", [qkv, "lengths"], "layer.0/mixed", heads=4, scale=0.2)
    narrow = b.linear(b.linear(mixed, "layer.0/wide", 132, 1500), "layer.0/narrow", 1500, 60)
    read = b.linear(narrow, "layer.0/read", 60, 700)
    values = [b.constant(f"norm.{part}", b.floats(700)) for part in ("scale", "bias")]
    normed = b.add("LayerNorm", [read, *values], "layer.0/normed", epsilon=1e-5)
    y = b.linear(b.linear(normed, "layer.0/wide_again", 700, 1500), "layer.0/y", 1500, 132)
    b.graph.output.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, None))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return add_bodies(helper.make_model(b.graph, opset_imports=opsets, ir_version=9)), b.feed


@pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")
@pytest.mark.parametrize("rows", [300, 1600])
@pytest.mark.parametrize("form", ["Float", "Int8"])
def test_what_is_normed_late_stays_until_then(form: str, rows: int) -> None:
    (apart, feed), (model, _) = post_norm(form, rows), post_norm(form, rows)
    assert join_layers(model) == []
    assert kinds(model) == [ENCODER_LAYER]
    for found, right in zip(run(model, feed, True, 2), run(apart, feed, True, 2), strict=True):
        np.testing.assert_array_equal(found, right)
