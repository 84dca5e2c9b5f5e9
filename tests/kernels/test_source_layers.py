"""Decoder layers that read several sources as one node each: operators with two outputs, of which one may leave it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN, FORMATS, OPSET, VERSION, add_bodies
from fuseline.kernels.layers import DECODER_LAYER, join_layers, split_layers

from .nodes import Array
from .test_text_layers import CAPACITY, HEADS, INPUTS, LAYERS, ROWS, WIDTH, Builder, run

SOURCES = 2
KINDS = ("Flat", "Separate")
needs_kernels = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")


class Fused(Builder):
    """Layers whose cross-attention is to two sources; their shares are outputs of the model."""

    def __init__(self, form: str, kind: str) -> None:
        super().__init__(form)
        self.kind = kind

    def crossed(self, at: str, read: list[str], attention: dict[str, Any]) -> str:
        half = "" if self.form == "Float" else "Half"
        sources = [*read, "lengths", "starts", "weights"]
        share = at.replace("layer", "source_share")
        mixed = self.add(f"{half}CrossAttention{self.kind}", sources, f"{at}/crossed", share, **attention)
        return mixed if self.kind == "Flat" else self.linear(mixed, f"{at}/together", SOURCES * WIDTH, WIDTH)


def built(
    form: str, kind: str, shares: bool = True, starts: tuple[int, ...] = (0, 6, 11)
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """shares: whether they leave the layers."""
    b = Fused(form, kind)
    b.feed = {
        "x": b.floats(ROWS, WIDTH), "lengths": np.array([[4, 5], [0, 3]]), "starts": np.array(starts),
        "weights": np.array([[1, 0.3], [0.5, 1]], np.float32), "position": np.array([4]),
        "beam_table": b.random.integers(0, ROWS, (ROWS, CAPACITY)),
    }  # fmt: skip
    b.constant("distance_bias", b.floats(HEADS, 3))
    value, outputs = "x", list[str]()
    for number in range(LAYERS):
        value = b.layer(value, number, gated=False)
        outputs += [f"layer.{number}.key", f"layer.{number}.value"] + [f"source_share.{number}"] * shares
    for name, array in b.feed.items():
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        b.graph.input.append(helper.make_tensor_value_info(name, dtype, [None] * array.ndim))
    for name in [value, *outputs]:
        b.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return add_bodies(helper.make_model(b.graph, opset_imports=opsets, ir_version=9)), b.feed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_joined_layers_give_the_same_numbers(form: str, kind: str) -> None:
    for shares in (True, False):
        (apart, feed), (model, _) = built(form, kind, shares), built(form, kind, shares)
        assert join_layers(model) == []
        assert [node.op_type for node in model.graph.node] == [DECODER_LAYER] * LAYERS
        for fused in (True, False) if library_info().path else (False,):
            for threads in (1, 2, 5) if fused else (1,):
                pairs = zip(run(model, feed, fused, threads), run(apart, feed, fused, threads), strict=True)
                for found, right in pairs:
                    assert np.isfinite(right).all()
                    np.testing.assert_array_equal(found, right)


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["Float", "Half"])
def test_the_library_gives_the_numbers_of_the_bodies(form: str, kind: str) -> None:
    model, feed = built(form, kind)
    join_layers(model)
    for found, right in zip(run(model, feed, True), run(model, feed, False), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-3)
    shares = run(model, feed, True)[3::3]
    for share in shares:
        assert share.shape == (ROWS, HEADS, SOURCES)
        np.testing.assert_allclose(share.sum(axis=2), 1, rtol=1e-6)
        assert (share[ROWS // INPUTS :] == [0, 1]).all()  # the second input has one source


@pytest.mark.parametrize("kind", KINDS)
def test_splitting_undoes_joining(kind: str) -> None:
    (apart, feed), (model, _) = built("Half", kind), built("Half", kind)
    join_layers(model)
    joined = model.SerializeToString(deterministic=True)
    split_layers(model)
    assert [node.op_type for node in model.graph.node] == [node.op_type for node in apart.graph.node]
    for found, right in zip(run(model, feed, False), run(apart, feed, False), strict=True):
        np.testing.assert_array_equal(found, right)
    assert join_layers(model) == []
    assert model.SerializeToString(deterministic=True) == joined


@needs_kernels
def test_what_a_layer_says_of_sources_that_are_none() -> None:
    model, feed = built("Float", "Flat", starts=(0, 6, 12))
    join_layers(model)
    with pytest.raises(Exception, match="layer.0, step 7, CrossAttentionFlat: starts must rise from 0"):
        run(model, feed, True)
    with pytest.raises(Exception, match="layer.0, step 7, CrossAttentionFlat: an input has another type"):
        wrong, _ = built("Float", "Flat")
        join_layers(wrong)
        for value in wrong.graph.input:
            if value.name == "weights":
                value.type.tensor_type.elem_type = TensorProto.DOUBLE
        run(wrong, feed | {"starts": np.array([0, 6, 11]), "weights": feed["weights"].astype(np.float64)}, True)
