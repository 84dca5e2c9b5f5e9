"""A float graph stored by another scheme is the graph that the export writes in that scheme."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from fuseline.errors import ExportError
from fuseline.export.adapters import model_adapter
from fuseline.export.graphs.recode import float_matrices, matrices, recode
from fuseline.export.graphs.weights import (
    content_of,
    of_bfloat16,
    quantize_columns,
    quantize_groups,
    restore,
    store,
    to_bfloat16,
)
from fuseline.export.plain.operators import plain
from tests import tiny, zoo


def graphs(reference: Any, scheme: str) -> dict[str, onnx.ModelProto]:
    """The decoder of a model of transformers, in a scheme, and the cross-attention part of its encoder."""
    parts = model_adapter({"architectures": [type(reference).__name__]}).parts(reference)
    weights = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
    return {"decoder": parts.decoder.build_decoder(weights, parts.decoder_config, scheme, None)}


def inputs(model: onnx.ModelProto) -> list[list[str]]:
    """What every node reads, without the scheme in the names of values."""
    return [
        [re.sub("(Float|Half|BFloat16|Int8|Int4)(Linear|Embedding|CrossAttention)", r"\2", name) for name in node.input]
        for node in model.graph.node
    ]


MODELS = {"gpt2": lambda: tiny.tiny_model(0)} | {
    name: (lambda name=name: zoo.vision_encoder_decoder(name, 0)) for name in ["bert, untied, relu", "roberta", "donut"]
}


@pytest.mark.parametrize("scheme", ["fp16", "bf16", "int8", "int4"])
@pytest.mark.parametrize("name", MODELS)
def test_equals_what_the_export_writes(name: str, scheme: str) -> None:
    reference = MODELS[name]()
    made = recode(graphs(reference, "fp32")["decoder"], scheme)  # type: ignore[arg-type]
    wanted = graphs(reference, scheme)["decoder"]
    onnx.checker.check_model(made)
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in wanted.graph.node]
    assert inputs(made) == inputs(wanted)
    assert list(made.graph.input) == list(wanted.graph.input)
    assert {function.name for function in made.functions} == {function.name for function in wanted.functions}
    found, expected = ({t.name: content_of(t) for t in of.graph.initializer} for of in (made, wanted))
    assert found.keys() == expected.keys()
    for tensor, array in expected.items():
        np.testing.assert_array_equal(found[tensor], array, err_msg=tensor)


@pytest.mark.parametrize("scheme", ["fp32", "fp16", "bf16", "int8", "int4"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 17), (64, 16), (130, 33), (800, 5)])
def test_restore_gives_back_what_blocks_stand_for(scheme: str, shape: tuple[int, int]) -> None:
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    stored = store(weight, scheme)  # type: ignore[arg-type]
    found = restore(stored.weight, stored.scale, *shape)
    if scheme in ("fp32", "fp16"):
        expected = weight.astype({"fp32": np.float32, "fp16": np.float16}[scheme])
    elif scheme == "bf16":
        expected = of_bfloat16(to_bfloat16(weight))
    elif scheme == "int8":
        codes, scale = quantize_columns(weight)
        expected = (codes.astype(np.float32) - 128) * scale
    else:
        codes, scale = quantize_groups(weight, 128 if shape[0] >= 768 else 32)
        group = len(codes) // len(scale)
        expected = ((codes.astype(np.float32) - 8) * np.repeat(scale.astype(np.float32), group, axis=0))[: shape[0]]
    np.testing.assert_array_equal(found, expected)


def test_quantized_matrices_and_numbers_that_are_none_are_refused() -> None:
    reference = tiny.tiny_model(0)
    with pytest.raises(ExportError, match="is stored as int8 already; quantize from a variant of floats"):
        list(float_matrices(graphs(reference, "int8")["decoder"]))
    broken = graphs(reference, "fp32")["decoder"]
    tensor = next(each for each in broken.graph.initializer if each.name.endswith("c_fc.weight"))
    array = numpy_helper.to_array(tensor).copy()
    array[0, 3, 5] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    with pytest.raises(ExportError, match=r"c_fc\.weight has nan at input 3, output 5: weights must be finite"):
        recode(broken, "int4")


def test_graphs_whose_embedding_is_not_one_operator_are_refused() -> None:
    """As fuseline once wrote them: their nodes read the table's blocks, which would change under them."""
    old = graphs(tiny.tiny_model(0), "fp32")["decoder"]
    name = "embedding/GatherND"
    old.graph.node.append(onnx.helper.make_node("GatherND", ["wte.weight", "place"], [name], name=name))
    with pytest.raises(ExportError, match="embeds tokens as an older fuseline did; export the model anew"):
        recode(old, "int8")


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_codes_can_be_taken_for_the_floats_they_stand_for(scheme: str) -> None:
    """Stored as floats, quantized matrices keep their values; so do they once more in the scheme they had (int8)."""
    model = graphs(tiny.tiny_model(0), scheme)["decoder"]
    floats = recode(model, "fp32", anew=True)
    onnx.checker.check_model(floats)
    wanted = {matrix.name: matrix.weight_IO for matrix in matrices(model)}
    for matrix in float_matrices(floats):
        np.testing.assert_array_equal(matrix.weight_IO, wanted[matrix.name])


@pytest.mark.parametrize("name", MODELS)
def test_plain_operators_compute_the_same(name: str) -> None:
    """Tolerance: two orders of float32 additions, logits of size 1 to 10."""
    model = graphs(MODELS[name](), "fp32")["decoder"]
    used_up = onnx.ModelProto()
    used_up.CopyFrom(model)
    made = plain(used_up)
    onnx.checker.check_model(made)
    assert {node.domain for node in made.graph.node} == {""}
    assert not made.functions
    assert "MatMul" in {node.op_type for node in made.graph.node}
    random, feeds = np.random.default_rng(0), {}
    sizes = {"R": 2, "B": 1, "T": 3, "C": 5, "S": 4}
    for value in model.graph.input:
        shape = [sizes[d.dim_param] if d.dim_param else d.dim_value for d in value.type.tensor_type.shape.dim]
        feeds[value.name] = random.normal(size=shape).astype(np.float32)
    feeds["input_ids"] = np.array([[3, 5, 7], [4, 6, 8]])
    feeds["position"] = np.zeros(1, np.int64)
    feeds["beam_table"] = np.repeat(np.arange(2)[:, None], 5, axis=1)
    found, expected = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(["logits"], feeds)[0] for each in (made, model)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
