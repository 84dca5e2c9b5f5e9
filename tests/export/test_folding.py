"""Graphs made small: they compute the same, and what could be known before is gone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import parser

from fuseline.export.embedding.folding import Weights, folded
from fuseline.export.embedding.sizes import divided, product
from fuseline.export.graphs.weights_file import WeightsFile

Arrays = dict[str, npt.NDArray[Any]]


def _model(text: str) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> {text}')
    onnx.checker.check_model(model, full_check=True)
    return model


def _folded(model: onnx.ModelProto, place: Path) -> onnx.ModelProto:
    with WeightsFile(place / "read.bin") as read, WeightsFile(place / "written.bin") as written:
        return folded(model, read, Weights(written))


def _run(model: onnx.ModelProto, given: Arrays, place: Path) -> list[npt.NDArray[Any]]:
    path = place / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    results: list[npt.NDArray[Any]] = onnxruntime.InferenceSession(path, options).run(None, given)
    return results


# A graph, and the nodes that are left of it.
GRAPHS: dict[str, tuple[str, dict[str, int]]] = {
    "constants are computed": (
        """g (float[N, 2] x) => (float[N, 2] y) <float[2] a = {1, 2}> {
            two = Constant<value = float {2.0}>() b = Mul(a, two) c = Neg(b) y = Add(x, c)
        }""",
        {"Add": 1},
    ),
    "equal nodes are one": (
        """g (float[N, 2] x) => (float[N, 2] y) { a = Exp(x) b = Exp(x) c = Neg(a) d = Neg(b) y = Add(c, d) }""",
        {"Exp": 1, "Neg": 1, "Add": 1},
    ),
    "nodes with other attributes are not": (
        """g (float[N, N] x) => (float[N, N] y) {
            a = Softmax<axis = 0>(x) b = Softmax<axis = 1>(x) y = Add(a, b)
        }""",
        {"Softmax": 2, "Add": 1},
    ),
    "what nobody reads is gone": ("g (float[N] x) => (float[N] y) { a = Exp(x) y = Neg(x) }", {"Neg": 1}),
    "a width that is known needs no Shape": (
        """g (float[N, 2] x) => (float[N, 2] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}, float[3, 2] v = {1, 2, 3, 4, 5, 6}>
        {
            a = MatMul(x, w) width = Shape<start = 1>(a) ends = Identity(width)
            zero = Constant<value = int64[1] {0}>() cut = Slice(v, zero, ends, zero) y = MatMul(a, cut)
        }""",
        {"MatMul": 2},
    ),
    "sizes of one name are one": (
        """g (float[N, 2] x, float[N, 2] z) => (float[K, M] y) {
            n = Shape<end = 1>(x) m = Shape<end = 1>(z) two = Constant<value = int64[1] {2}>()
            a = Concat<axis = 0>(n, two) b = Concat<axis = 0>(m, two) c = Reshape(x, a) d = Reshape(z, b) y = Add(c, d)
        }""",
        {"Add": 1},
    ),
    "a product over one of its factors is the other": (
        """g (float[N, M, 2] x) => (float[K, L] y) {
            flat = Constant<value = int64[2] {-1, 2}>() a = Reshape(x, flat)
            n = Shape<end = 1>(x) all = Shape<end = 1>(a) m = Div(all, n) two = Constant<value = int64[1] {2}>()
            again = Concat<axis = 0>(n, m, two) b = Reshape(x, again) y = Reshape(b, flat)
        }""",
        {"Reshape": 1},
    ),
    "an expansion may be to one": (
        """g (float[M] x, float[N] z) => (float[K] y) { n = Shape(z) y0 = Expand(x, n) y = Neg(y0) }""",
        {"Shape": 1, "Expand": 1, "Neg": 1},
    ),
    "graphs inside read what is around them": (
        """g (bool c, float[N, 2] x) => (float[K, 2] y) {
            e = Exp(x)
            y = If (c) <
                then_branch = t () => (float[K, 2] a) { f = Exp(x) g = Identity(f) a = Neg(g) },
                else_branch = u () => (float[K, 2] b) {
                    one = Constant<value = float {1.0}>() h = Neg(one) b = Mul(e, h)
                }
            >
        }""",
        {"Exp": 1, "If": 1, "Neg": 1, "Mul": 1},
    ),
    "outputs keep their names": (
        """g (float[N] x) => (float[N] y, float[N] z, float[1] w) {
            y = Identity(x) z = Identity(x) w = Constant<value = float[1] {1.0}>()
        }""",
        {"Identity": 2, "Constant": 1},
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_known_is_gone(name: str, tmp_path: Path) -> None:
    """And the results are the same to the bit."""
    text, left = GRAPHS[name]
    model = _model(text)
    made = _folded(model, tmp_path)
    assert _operators(made.graph) == left
    draw = np.random.default_rng(0)
    for sizes in ({"N": 1, "M": 3}, {"N": 3, "M": 3}):
        given: Arrays = {}
        for value in model.graph.input:
            shape = [sizes.get(each.dim_param, each.dim_value) for each in value.type.tensor_type.shape.dim]
            kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            given[value.name] = draw.standard_normal(shape).astype(kind)
        for found, expected in zip(_run(made, given, tmp_path), _run(model, given, tmp_path), strict=True):
            np.testing.assert_array_equal(found, expected)


def _operators(graph: onnx.GraphProto) -> Counter[str]:
    """How many nodes of each there are, those of graphs inside too."""
    counts = Counter(node.op_type for node in graph.node)
    for node in graph.node:
        for each in node.attribute:
            if each.HasField("g"):
                counts += _operators(each.g)
    return counts


def test_constants_are_not_made_larger(tmp_path: Path) -> None:
    """Codes stay codes: onnxruntime makes numbers of them when it loads. What only moves them is done."""
    codes = np.random.default_rng(0).integers(0, 256, (128, 64), np.uint8)
    model = _model(
        """g (float[N, 64] x, uint8[128, 64] codes) => (float[N, 128] y) {
            moved = Transpose<perm = [1, 0]>(codes) numbers = Cast<to = 1>(moved) y = MatMul(x, numbers)
        }"""
    )
    del model.graph.input[1]
    model.graph.initializer.append(onnx.numpy_helper.from_array(codes, "codes"))
    made = _folded(model, tmp_path)
    assert _operators(made.graph) == {"Cast": 1, "MatMul": 1}
    assert (tmp_path / "written.bin").read_bytes() == codes.T.tobytes()
    given = {"x": np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)}
    np.testing.assert_array_equal(_run(made, given, tmp_path)[0], _run(model, given, tmp_path)[0])


def test_weights_of_several_graphs_are_written_once(tmp_path: Path) -> None:
    """Under whatever name."""
    with WeightsFile(tmp_path / "written.bin") as file:
        weights, first, second = Weights(file), onnx.GraphProto(), onnx.GraphProto()
        for graph, name in ((first, "a"), (second, "b")):
            weights.declare(graph, name, np.arange(4096, dtype=np.float32))
    assert (tmp_path / "written.bin").stat().st_size == 4 * 4096
    assert [first.initializer[0].name, second.initializer[0].name] == ["a", "b"]
    assert first.initializer[0].external_data == second.initializer[0].external_data


def test_what_a_run_refuses_is_refused_still(tmp_path: Path) -> None:
    """Of constants, too."""
    model = _model(
        """g (float[N] x) => (float[N] y) <int64[1] none = {0}> {
            five = Constant<value = int64 {5}>() beyond = Gather(none, five)
            nothing = Cast<to = 1>(beyond) y = Add(x, nothing)
        }"""
    )
    made = _folded(model, tmp_path)
    with pytest.raises(Exception, match="indices element out of data bounds"):
        _run(made, {"x": np.zeros(2, np.float32)}, tmp_path)


def test_products_of_dimensions() -> None:
    """And what times a part is the whole."""
    assert product([2, "d2", 3, "d1"]) == "6*d1*d2" and product(["d1*d1"]) == "d1*d1" and product([0, "d1"]) == 0
    assert divided("6*d1*d2", "2*d2") == "3*d1" and divided("d1", "d1") == 1 and divided(6, 3) == 2
    assert divided("d1", "d2") is None and divided(5, 2) is None and divided("d1", 0) is None
