"""Graphs without what is said twice: their results are the same to the bit, those of broken rows too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import parser

from fuseline.export.embedding.tidying import tidied

Array = npt.NDArray[Any]

# A linear layer of rows in steps of their greatest, as the bodies of operators have it.
ROWS = """g (float[N, 3] x) => (float[N, 2] y)
<float zero = {0}, float rest = {0.007874016}, float least = {1e-30}, int64[1] last = {-1},
 float[3, 2] w = {1, -2, 0, 4, 5, 0}>
{
    zeros = Mul(x, zero) broken = ReduceSum<keepdims = 1>(zeros, last)
    size = Abs(x) greatest = ReduceMax<keepdims = 1>(size, last) fine = Mul(greatest, rest) step = Max(fine, least)
    scale = Add(step, broken) quotient = Div(x, step) steps = Round(quotient)
    products = MatMul(steps, w) y = Mul(products, scale)
}"""
# The same where the guard does something, or another row is guarded.
GUARDED = {
    "a row in other steps": ("Div(x, step)", "Div(x, greatest)"),
    "steps of a negative number": ("rest = {0.007874016}", "rest = {-1}"),
    "not zero": ("zero = {0}", "zero = {1}"),
    "along columns": ("ReduceMax<keepdims = 1>(size, last)", "ReduceMax<keepdims = 1>(size)"),
    "another row": ("Abs(x)", "Abs(zeros)"),
    "a product of what is no row": ("MatMul(steps, w)", "Add(steps, steps)"),
    "read by another": ("y = Mul(products, scale)", "z = Mul(products, scale) y = Add(z, scale)"),
}


def _model(text: str) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> {text}')


def _run(model: onnx.ModelProto, place: Path, *inputs: Array) -> list[Array]:
    path = place / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(path)
    return list(session.run(None, dict(zip([each.name for each in session.get_inputs()], inputs, strict=True))))


def _kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_row_is_guarded_once(tmp_path: Path) -> None:
    """Rows with every number that breaks them, and rows at the ends of float32."""
    numbers = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -3e38, 3e38, 1e-45]
    x = np.array(np.meshgrid(numbers, numbers, numbers)).reshape(3, -1).T.astype(np.float32)
    model = _model(ROWS)
    expected = _run(model, tmp_path, x)[0]
    tidied(model.graph)
    found = _run(model, tmp_path, x)[0]
    assert "ReduceSum" not in _kinds(model) and "Add" not in _kinds(model)
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(found[~np.isfinite(x).all(1)]).all() and np.isnan(found).any() and np.isfinite(found).any()


@pytest.mark.parametrize("name", GUARDED)
def test_a_guard_that_does_something_stays(name: str) -> None:
    """Where one thing is otherwise."""
    old, new = GUARDED[name]
    assert old in ROWS
    model = _model(ROWS.replace(old, new))
    tidied(model.graph)
    assert "ReduceSum" in _kinds(model)


def test_outputs_are_no_copies(tmp_path: Path) -> None:
    """Not of what a node makes, inside an If either; an input has to be copied, and a second output of the same."""
    model = _model(
        """g (float[N] x, bool[1] c) => (float[N] a, float[N] b, float[N] d, float[N] e) {
            made = Neg(x) a = Identity(made) b = Identity(x) d = Identity(made)
            e = If(c) <then_branch = t () => (float[N] f) { inner = Exp(made) f = Identity(inner) },
                       else_branch = o () => (float[N] h) { h = Identity(made) }>
        }"""
    )
    x, yes = np.array([1.5, -2], np.float32), np.array([True])
    expected = _run(model, tmp_path, x, yes), _run(model, tmp_path, x, ~yes)
    tidied(model.graph)
    assert _kinds(model) == ["Neg", "Identity", "Identity", "If"]
    branches = {each.name: [node.op_type for node in each.g.node] for each in model.graph.node[-1].attribute}
    assert branches == {"then_branch": ["Exp"], "else_branch": ["Identity"]}
    np.testing.assert_array_equal((_run(model, tmp_path, x, yes), _run(model, tmp_path, x, ~yes)), expected)
