"""Decoder layers of texts as one node each: a distance bias and lengths that all share, RMSNorm, gated networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fuseline.export.graphs.weights import to_bfloat16
from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN, FORMATS, OPSET, VERSION, add_bodies
from fuseline.kernels.layers import DECODER_LAYER, ENCODER_LAYER, join_layers, split_layers

from .nodes import Array, session

LAYERS, HEADS, WIDTH, INNER, INPUTS, BEAMS, CAPACITY, POSITIONS = 3, 4, 132, 200, 2, 3, 9, 11
ROWS, SIZE = INPUTS * BEAMS, WIDTH // HEADS
SHARED = ("lengths", "position", "beam_table", "distance_bias")


class Builder:
    """A model of several layers, and what it is fed."""

    def __init__(self, form: str) -> None:
        self.form, self.random = form, np.random.default_rng(0)
        self.graph, self.feed = onnx.GraphProto(name="layers"), dict[str, Array]()

    def floats(self, *shape: int, size: float = 1.0) -> Array:
        return self.random.normal(0, size, shape).astype(np.float32)

    def constant(self, name: str, array: Array) -> str:
        tensor = numpy_helper.from_array(array, name)
        if array.dtype == np.uint16:  # bits of bfloat16
            tensor.data_type = TensorProto.BFLOAT16
        self.graph.initializer.append(tensor)
        return name

    def add(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        name = f"{outputs[0].split('/')[0]}/{operator}_{len(self.graph.node)}"
        self.graph.node.append(helper.make_node(operator, inputs, outputs, name=name, domain=DOMAIN, **attributes))
        return outputs[0]

    def norm(self, x: str, name: str) -> str:
        return self.add("RMSNorm", [x, self.constant(f"{name}.s", self.floats(WIDTH))], name, epsilon=1e-6)

    def linear(self, x: str, name: str, inputs: int, outputs: int, ending: str = "", second: str = "") -> str:
        values = [self.constant(f"{name}.{part}", array) for part, array in self.stored(inputs, outputs)]
        return self.add(f"{self.form}Linear{ending}", [x, *values, *([second] if second else [])], name)

    def stored(self, inputs: int, outputs: int) -> list[tuple[str, Array]]:
        blocks, bias = -(-outputs // 16), ("b", np.zeros(outputs, np.float32))
        if self.form in ("Float", "Half"):
            weight = self.floats(blocks, inputs, 16, size=inputs**-0.5)
            return [("w", weight.astype(np.float16) if self.form == "Half" else weight), bias]
        if self.form == "BFloat16":
            return [("w", to_bfloat16(self.floats(blocks, -(-inputs // 2), 16, 2, size=inputs**-0.5))), bias]
        groups = -(-inputs // 32)
        scale = np.full(outputs, 0.01 * inputs**-0.5, np.float32)
        if self.form == "Int8":
            codes = self.random.integers(0, 256, (blocks, -(-inputs // 4), 16, 4)).astype(np.uint8)
            return [("w", codes), ("scale", scale), bias]
        codes = self.random.integers(0, 256, (blocks, groups * 4, 16, 4)).astype(np.uint8)
        return [("w", codes), ("scale", np.full((blocks, groups, 16), 0.02, np.float16)), bias]

    def crossed(self, at: str, read: list[str], attention: dict[str, Any]) -> str:
        half = "" if self.form == "Float" else "Half"
        return self.add(f"{half}PaddedCrossAttention", [*read, "lengths"], f"{at}/crossed", **attention)

    def layer(self, x: str, number: int, gated: bool) -> str:
        """T5's, in the order of its operators: gate and inner layer read the same normed value."""
        at, halves = f"layer.{number}", self.form != "Float"
        attention = {"heads": HEADS, "scale": 1.0}
        for part in ("key", "value"):
            self.feed[f"{at}.past_{part}"] = self.floats(CAPACITY, ROWS, WIDTH)
            source = self.floats(INPUTS, HEADS, POSITIONS, SIZE) if halves else self.floats(INPUTS, POSITIONS, WIDTH)
            self.feed[f"{at}.cross_{part}"] = source.astype(np.float16) if halves else source
        qkv = self.linear(self.norm(x, f"{at}/n1"), f"{at}/qkv", WIDTH, 3 * WIDTH)
        cache = [f"{at}.past_key", f"{at}.past_value", "position", "beam_table", "distance_bias"]
        present = f"{at}.key", f"{at}.value"
        mixed = self.add("BiasedCachedSelfAttention", [qkv, *cache], f"{at}/mixed", *present, **attention)
        x = self.linear(mixed, f"{at}/a", WIDTH, WIDTH, "Add", x)
        query = self.linear(self.norm(x, f"{at}/n2"), f"{at}/query", WIDTH, WIDTH)
        mixed = self.crossed(at, [query, f"{at}.cross_key", f"{at}.cross_value"], attention)
        x = self.linear(mixed, f"{at}/b", WIDTH, WIDTH, "Add", x)
        normed = self.norm(x, f"{at}/n3")
        inner = self.linear(normed, f"{at}/wi_0", WIDTH, INNER, "GeluTanh" if gated else "Relu")
        if gated:
            inner = self.linear(normed, f"{at}/wi_1", WIDTH, INNER, "Mul", inner)
        return self.linear(inner, f"{at}/wo", INNER, WIDTH, "Add", x)


def built(form: str, gated: bool, lengths: tuple[int, ...] = (4, 11)) -> tuple[onnx.ModelProto, dict[str, Array]]:
    b = Builder(form)
    b.feed = {
        "x": b.floats(ROWS, WIDTH), "lengths": np.array(lengths)[:, None], "position": np.array([4]),
        "beam_table": b.random.integers(0, ROWS, (ROWS, CAPACITY)),
    }  # fmt: skip
    b.constant("distance_bias", b.floats(HEADS, 3))
    value, outputs = "x", list[str]()
    for number in range(LAYERS):
        value = b.layer(value, number, gated)
        outputs += [f"layer.{number}.key", f"layer.{number}.value"]
    for name, array in b.feed.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        b.graph.input.append(helper.make_tensor_value_info(name, kind, [None] * array.ndim))
    for name in [value, *outputs]:
        b.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return add_bodies(helper.make_model(b.graph, opset_imports=opsets, ir_version=9)), b.feed


def run(model: onnx.ModelProto, feed: dict[str, Array], fused: bool, threads: int = 2) -> list[Array]:
    results: list[Array] = session(model, fused, threads).run(None, feed)
    return results


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("form", FORMATS)
def test_joined_layers_give_the_same_numbers(form: str, gated: bool) -> None:
    (apart, feed), (model, _) = built(form, gated), built(form, gated)
    assert join_layers(model) == []
    assert [node.op_type for node in model.graph.node] == [DECODER_LAYER] * LAYERS
    for fused in (True, False) if library_info().path else (False,):
        for threads in (1, 2, 5) if fused else (1,):
            pairs = zip(run(model, feed, fused, threads), run(apart, feed, fused, threads), strict=True)
            for found, right in pairs:
                assert np.isfinite(right).all()
                np.testing.assert_array_equal(found, right)


@pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")
@pytest.mark.parametrize("form", ["Float", "Half"])
def test_the_library_gives_the_numbers_of_the_bodies(form: str) -> None:
    model, feed = built(form, gated=True)
    join_layers(model)
    for found, right in zip(run(model, feed, True), run(model, feed, False), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-3)


def test_splitting_undoes_joining() -> None:
    model, _ = built("Int8", gated=True)
    before = [(node.op_type, len(node.input), str(sorted(map(str, node.attribute)))) for node in model.graph.node]
    join_layers(model)
    joined = model.SerializeToString(deterministic=True)
    split_layers(model)
    after = [(node.op_type, len(node.input), str(sorted(map(str, node.attribute)))) for node in model.graph.node]
    assert after == before
    assert all(node.name.startswith("layer.") for node in model.graph.node)
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    assert join_layers(model) == []
    assert model.SerializeToString(deterministic=True) == joined


@pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")
def test_what_a_layer_says_of_bad_lengths_and_biases() -> None:
    model, feed = built("Float", gated=True, lengths=(4, 12))
    join_layers(model)
    with pytest.raises(
        Exception, match="layer.0, step 7, PaddedCrossAttention: lengths must have a row for each input"
    ):
        run(model, feed, True)


def test_an_encoders_layers_are_of_another_operator() -> None:
    b = Builder("Float")
    for layer in (0, 1):
        b.add("SelfAttention", ["qkv", "lengths"], f"layer.{layer}/mixed", heads=2, scale=1.0)
    b.add("CachedSelfAttention", [*"abcde"], "layer.2/mixed", "key", "value", heads=2, scale=1.0)
    for name in ("layer.0/mixed", "layer.1/mixed", "layer.2/mixed"):
        b.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    model = helper.make_model(b.graph)
    before = [node.op_type for node in model.graph.node]
    assert join_layers(model) == []
    assert [node.op_type for node in model.graph.node] == [ENCODER_LAYER, ENCODER_LAYER, DECODER_LAYER]
    assert [node.op_type for node in split_layers(model).graph.node] == before


def test_what_has_no_attention_is_no_layer() -> None:
    b = Builder("Float")
    b.norm("x", "layer.0/normed")
    model = helper.make_model(b.graph)
    before = model.SerializeToString(deterministic=True)
    assert join_layers(model) == []
    assert model.SerializeToString(deterministic=True) == before
