"""What is the same in every step is computed once, and steps say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import parser

from fuseline.export.embedding.hoisting import into_start, out_of_loops

Arrays = dict[str, Any]


def _model(text: str) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> {text}')
    onnx.checker.check_model(model, full_check=True)
    return model


def _run(model: onnx.ModelProto, place: Path, given: Arrays) -> Arrays:
    onnx.checker.check_model(model, full_check=True)
    path = place / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options)
    read = {each.name for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {k: v for k, v in given.items() if k in read}), strict=True))


START = """start (float[N] image) => (float[N] given_key, int64[1] given_length, float[N] state_sum) <float c = {2}>
{
    given_key = Neg(image) given_length = Shape(image) state_sum = Mul(image, c)
}"""
# c is another constant here; mask is made of constants alone, and read by what is moved and by what stays.
STEP = """step (float[N] given_key, int64[1] given_length, float[N] state_sum, float[M] option) => (float[N] next_sum)
<float c = {3}, float[1] option = {1}>
{
    mask = Neg(c) scaled = Mul(given_key, mask) seen = Exp(scaled) wide = Expand(c, given_length)
    more = Add(state_sum, seen) masked = Mul(more, mask) there = Add(masked, wide) last = Mul(there, option)
    flag = Constant<value = bool[1] {1}>()
    next_sum = If(flag) <then_branch = t () => (float[N] f) { f = Add(last, seen) },
                           else_branch = o () => (float[N] h) { h = Identity(last) }>
}"""


def test_a_step_reads_what_start_has_computed(tmp_path: Path) -> None:
    """A constant of the same name stays each graph's own; an input of a step that nobody reads any more is gone."""
    start, step = _model(START), _model(STEP)
    image = np.array([0.5, -1.5, 2], np.float32)

    def last(option: Arrays) -> Any:
        feeds = _run(start, tmp_path, {"image": image})
        for _ in range(3):
            result = _run(step, tmp_path, feeds | option)
            feeds["state_sum"] = result["next_sum"]
        return result["next_sum"]

    options: list[Arrays] = [{}, {"option": np.array([0.5], np.float32)}]
    expected = [last(each) for each in options]
    into_start(start.graph, step, "given_")
    assert {each.name for each in step.graph.input} == {"given_length", "given_seen", "state_sum", "option"}
    assert {each.name for each in start.graph.output} == {"given_length", "given_seen", "state_sum"}
    kinds = [node.op_type for node in step.graph.node]
    assert kinds.count("Exp") == 0 and kinds.count("Neg") == 1 and kinds.count("Expand") == 1
    np.testing.assert_array_equal([last(each) for each in options], expected)


def test_a_loop_reads_what_was_computed_before_it(tmp_path: Path) -> None:
    """Not what its rounds change, nor what only gets larger; names that are there already stay others'."""
    model = _model(
        """g (float[N] x, int64 count, int64[1] wide) => (float[N] y, float[N] squared) {
            go = Constant<value = bool {1}>() squared = Mul(x, x)
            y = Loop(count, go, x) <body = round (int64 number, bool more, float[N] sum) => (bool on, float[N] after) {
                exp = Exp(x) twice = Add(exp, exp) large = Expand(number, wide) part = Cast<to = 1>(large)
                added = Add(sum, twice) after = Add(added, part) on = Identity(more)
            }>
        }"""
    )
    given = {"x": np.array([0.5, -1.5], np.float32), "count": np.array(3), "wide": np.array([2])}
    expected = _run(model, tmp_path, given)
    out_of_loops(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Constant", "Mul", "Exp", "Add", "Loop"]
    (body,) = (each.g for each in model.graph.node[-1].attribute)
    assert [node.op_type for node in body.node] == ["Expand", "Cast", "Add", "Add", "Identity"]
    found = _run(model, tmp_path, given)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
