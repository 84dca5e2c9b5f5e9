"""Every slot of every operator with what does not belong there: a sentence that names the node, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN, SECOND, TABLES, operators
from fuseline.kernels.layers import DECODER_LAYER, OPERATORS

from .nodes import NAME, NODES, Array, Node, floats, graph_of, run, session

pytestmark = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")

INF, NAN = float("inf"), float("nan")
STRANGE_ATTRIBUTES: dict[str, list[Any]] = {
    "heads": [0, -1, 10**18, -(2**63), 5, 0.5, "3"],
    "scale": [NAN, INF, -INF, 1, "1"],
    "vocabulary": [0, -1, -(2**63), 2**62, 2**63 - 1, 40],
    "width": [0, -5, -(2**63), 2**62, 2**63 - 1, 9],
    "channels": [0, -1, 2**63 - 1, 4, 8, 0.5, "5"],
    "group": [0, -1, 10**18, 5, 0.5, "3"],
    "strides": [[0, 0], [-1, -1], [1, 2], [1], [1, 1, 1], [16, 16], [10**18, 10**18], 1, "1", 0.5],
    "epsilon": [NAN, INF, -1.0, 1],
    "steps": ["", 3, "LayerNorm 0 1 2 > 5;LayerNorm 0 1 2 > 5", b"LayerNorm 0 1 2 > 5\0;nonsense", "x" * 5000],
}
# A slot's other array: without elements, of another type, without dimensions, with one dimension more.
CHANGED: dict[str, Callable[[Array], Array]] = {
    "empty": lambda array: np.zeros((0,) * max(1, array.ndim), array.dtype),
    "double": lambda array: array.astype(np.float64),
    "bool": lambda array: array.astype(np.bool_),
    "number": lambda array: np.array(array.flat[0]),
    "deeper": lambda array: array[None],
}
# What has a meaning all the same.
FINE = {
    *((f"{form}Embedding", "ids", change) for form in TABLES for change in ("empty", "number", "deeper")),
    ("LayerNorm", "x", "deeper"),
    ("RMSNorm", "x", "deeper"),
    ("Rotary", "qkv", "deeper"),
    ("Rotary", "rows", "deeper"),
    *((layer, "x", "deeper") for layer in OPERATORS),
    *(
        (operator, "x", "deeper")
        for operator in operators()
        if "Linear" in operator and not operator.endswith(tuple(SECOND))
    ),
}  # fmt: skip


def test_all_operators_are_here() -> None:
    assert set(NODES) == {*operators(), *OPERATORS}


@pytest.mark.parametrize("operator", NODES)
def test_good_inputs_run(operator: str) -> None:
    node = NODES[operator]
    for constants in ((), list(node.feed)[1:]):
        assert len(run(node, constants=constants)) == node.outputs


def refused(*arguments: Any, **options: Any) -> None:
    with pytest.raises(Exception, match=NAME):
        run(*arguments, **options)


@pytest.mark.parametrize("operator", NODES)
def test_inputs_of_another_kind(operator: str) -> None:
    """Of the two other types each slot gets one as an input and the other as a constant."""
    node = NODES[operator]
    for slot, (name, array) in enumerate(node.feed.items()):
        for constants in ((), list(node.feed)[1:]):
            left_out = ("double", "bool")[(slot + bool(constants)) % 2]
            for change, made in CHANGED.items():
                if change == left_out:
                    continue
                changed = {name: made(array)}
                if (operator, name, change) in FINE:
                    run(node, changed, constants=constants)
                else:
                    refused(node, changed, constants=constants)


@pytest.mark.parametrize("operator", NODES)
def test_inputs_and_outputs_that_are_not_there(operator: str) -> None:
    node = NODES[operator]
    names, outputs = list(node.feed), [f"output_{i}" for i in range(node.outputs)]
    for i in range(len(names)):
        refused(node, inputs=[*names[:i], "", *names[i + 1 :]])
        refused(node, inputs=[*names[:i], "", *names[i + 1 :]], constants=names[1:])
    refused(node, inputs=names[:-1])
    refused(node, inputs=[*names, names[-1]])
    for i in range(node.outputs):
        refused(node, outputs=[*outputs[:i], "", *outputs[i + 1 :]])
    refused(node, outputs=[*outputs, ""])
    if operator not in OPERATORS:  # whose values in between may be outputs
        refused(node, outputs=[*outputs, "one_more"])
        refused(node, outputs=outputs[:-1])


@pytest.mark.parametrize("operator", NODES)
def test_attributes_that_are_strange(operator: str) -> None:
    node = NODES[operator]
    for name in node.attributes:
        refused(node, attributes={other: value for other, value in node.attributes.items() if other != name})
        for value in STRANGE_ATTRIBUTES[name]:
            refused(node, attributes=dict(node.attributes) | {name: value})


# Layers -------------------------------------------------------------------------------------------

LAYER = {"x": floats(2, 8), "scale": floats(8), "shift": floats(8)}
NORM = Node(DECODER_LAYER, LAYER, 1, {"epsilon": 1e-5, "steps": "LayerNorm 0 1 2 > 3"})


@pytest.mark.parametrize("outputs", [["", "y"], ["y", ""], ["", ""]])
def test_a_layer_with_an_output_without_a_name(outputs: list[str]) -> None:
    steps = NORM.attributes | {"steps": "LayerNorm 0 1 2 > 3;LayerNorm 0 1 2 > 4"}
    refused(replace(NORM, outputs=2, attributes=steps), outputs=outputs)


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_layer_whose_cache_has_no_name(absent: int) -> None:
    cached = NODES["CachedSelfAttention"]
    attributes = cached.attributes | {"steps": "CachedSelfAttention 0 1 2 3 4 > 5 6 7"}
    outputs = ["mixed", "key_out", "value_out"]
    outputs[absent] = ""
    layer = replace(cached, operator=DECODER_LAYER, attributes=attributes)
    assert len(run(layer)) == 3
    refused(layer, outputs=outputs)


def test_a_layer_with_more_values_than_there_are() -> None:
    names = list(LAYER)
    refused(NORM, inputs=names + names * 60)
    refused(NORM, outputs=[f"y{i}" for i in range(200)])


def test_text_as_an_input() -> None:
    refused(NORM, {"shift": np.array(["a"] * 8, object)})


@pytest.mark.parametrize("maker", ["SequenceConstruct", "Optional", "SequenceEmpty"])
def test_what_is_no_tensor(maker: str) -> None:
    inputs = [] if maker == "SequenceEmpty" else ["x"]
    strange = helper.make_node(maker, inputs, ["strange"])
    layer = helper.make_node(
        DECODER_LAYER, ["strange", "scale", "shift"], ["y"], name=NAME, domain=DOMAIN, **NORM.attributes
    )
    with pytest.raises(Exception, match=NAME):
        session(graph_of([strange, layer], LAYER, ["y"])).run(None, LAYER)


@pytest.mark.parametrize("constants", [(), ("scale", "shift")])
def test_a_layer_in_a_branch(constants: tuple[str, ...]) -> None:
    branches = {
        f"{branch}_branch": helper.make_graph(
            [helper.make_node(DECODER_LAYER, list(LAYER), [branch], name=NAME, domain=DOMAIN, **NORM.attributes)],
            branch, [], [helper.make_tensor_value_info(branch, TensorProto.FLOAT, None)],
        )
        for branch in ("then", "else")
    }  # fmt: skip
    feed = LAYER | {"which": np.array(True)}
    opened = session(graph_of([helper.make_node("If", ["which"], ["y"], **branches)], feed, ["y"], constants))
    [found] = opened.run(None, {name: array for name, array in feed.items() if name not in constants})
    np.testing.assert_array_equal(found, run(NORM)[0])


@pytest.mark.parametrize("parallel", [False, True])
def test_a_shared_layer_in_a_loop(parallel: bool) -> None:
    width = 160  # so many weights are for several threads
    weights = {"weight": floats(10, width, 16) * np.float32(width**-0.5), "bias": floats(width)}
    feed = {"x": floats(3, width)} | weights | {"times": np.array(5), "go": np.array(True)}
    info = helper.make_tensor_value_info
    steps = {"steps": "FloatLinear 0 1 2 > 3"}
    body = helper.make_graph(
        [
            helper.make_node(DECODER_LAYER, ["before", "weight", "bias"], ["after"], name=NAME, domain=DOMAIN, **steps),
            helper.make_node("Identity", ["on"], ["still"]),
        ],
        "body",
        [info("i", TensorProto.INT64, []), info("on", TensorProto.BOOL, []), info("before", TensorProto.FLOAT, None)],
        [info("still", TensorProto.BOOL, []), info("after", TensorProto.FLOAT, None)],
    )
    model = graph_of([helper.make_node("Loop", ["times", "go", "x"], ["y"], body=body)], feed, ["y"], list(weights))
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library_info().path))
    if parallel:
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    opened = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    [found] = opened.run(None, {name: array for name, array in feed.items() if name not in weights})
    expected = feed["x"]
    for _ in range(5):
        [expected] = run(Node("FloatLinear", {"x": expected} | weights, 1, {}))
    np.testing.assert_array_equal(found, expected)


# What would be wrong in silence -------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 20), (0,), (3, 0)])
@pytest.mark.parametrize("constants", [(), ("residual",)])
def test_a_residual_without_elements_is_not_left_out(shape: tuple[int, ...], constants: tuple[str, ...]) -> None:
    refused(NODES["FloatLinearAdd"], {"residual": np.zeros(shape, np.float32)}, constants=constants)


@pytest.mark.parametrize("operator", ["Int8Linear", "Int4LinearAdd", "Int8Embedding"])
def test_a_scale_that_is_fed_is_looked_at_in_every_run(operator: str) -> None:
    node = NODES[operator]
    made = helper.make_node(operator, list(node.feed), ["y"], name=NAME, domain=DOMAIN, **node.attributes)
    feed = {name: array.copy() for name, array in node.feed.items()}
    opened = session(graph_of([made], feed, ["y"]))
    opened.run(None, feed)
    feed["scale"][...] = NAN  # in the same memory
    with pytest.raises(Exception, match="a scale of the weights is zero or not finite"):
        opened.run(None, feed)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("operator", "changes"),
    [
        *((f"{form}Embedding", {"ids": np.array([[0, token]])}) for form in ("Float", "Int8") for token in (-1, 20)),
        *(("CachedSelfAttention", {"position": np.array([position])}) for position in (-1, -9, 8, 9, 2**62)),
        *(("CachedSelfAttention", {"beam_table": np.full((2, 9), row)}) for row in (-1, 2, 3, 2**62, -(2**62))),
        ("CachedSelfAttention", {"key": np.zeros((9, 2, 25), np.float32), "value": np.zeros((9, 2, 25), np.float32)}),
        ("CrossAttention", {"query": np.zeros((5, 24), np.float32)}),
        ("HalfCrossAttention", {"key": np.zeros((2, 3, 6, 8), np.float16)}),
        ("FloatLinear", {"x": np.zeros((3, 41), np.float32)}),
        ("Int8Linear", {"bias": np.zeros(40, np.float32)}),
        ("Int4LinearAdd", {"residual": np.zeros((4, 20), np.float32)}),
        ("LayerNorm", {"bias": np.zeros(9, np.float32)}),
        ("RMSNorm", {"scale": np.zeros(9, np.float32)}),
        *(("Rotary", {"position": np.array([position])}) for position in (-1, 11, 12, 2**62)),
        ("Rotary", {"sines": np.zeros((12, 2), np.float32)}),
        ("FloatLinearMul", {"factor": np.zeros((4, 20), np.float32)}),
        *(
            (operator, {"lengths": np.array([[5], [length]])})
            for operator in operators()
            if "lengths" in NODES[operator].feed and "starts" not in NODES[operator].feed
            for length in (-1, -5, 6, 2**62, -(2**63))
        ),
        *(
            (operator, changes)
            for operator in operators()
            if "starts" in NODES[operator].feed
            for changes in (
                {"lengths": np.array([[2, 1, 2], [3, 0, 1]])},
                {"lengths": np.array([[2, 1, 1], [-1, 0, 1]])},
                {"starts": np.array([0, 4, 3, 5])},
                {"starts": np.array([0, 3, 4, 6])},
                {"starts": np.array([1, 3, 4, 5])},
                {"weights": np.full((2, 3), NAN, np.float32)},
                {"weights": np.full((2, 3), -1, np.float32)},
                {"weights": np.full((2, 3), INF, np.float32)},
            )
        ),
        *(("BiasedCachedSelfAttention", {"position": np.array([position])}) for position in (-1, 8, 2**62)),
        ("BiasedCachedSelfAttention", {"distance_bias": np.zeros((2, 4), np.float32)}),
        ("BiasedSelfAttention", {"distance_bias": np.zeros((2, 7), np.float32)}),
    ],
)
def test_library_and_body_refuse_the_same(operator: str, changes: dict[str, Array], fused: bool) -> None:
    node = NODES[operator]
    if "position" in changes:  # two tokens a row, and a cache of 9
        assert len(node.feed["qkv"]) == 4
    with pytest.raises(Exception, match=NAME if fused else "."):
        run(node, changes, fused=fused)


def test_a_body_without_a_bias_does_not_crash() -> None:
    for inputs in (["x", "scale", ""], ["x", "scale"]):
        with pytest.raises(Exception, match="expected to have type|Input 2"):
            run(NODES["LayerNorm"], inputs=inputs, fused=False)


@pytest.mark.parametrize("operator", NODES)
def test_random_sizes_are_refused_or_right(operator: str) -> None:
    """Where the library gives numbers for other sizes, ids, positions or tables, they are the body's, if that runs."""
    node, random = NODES[operator], np.random.default_rng(list(NODES).index(operator))
    for _ in range(25):
        changes = {name: another(random, array) for name, array in node.feed.items() if random.random() < 0.4}
        try:
            found = run(node, changes)
        except Exception as error:
            assert NAME in str(error)
            continue
        try:
            wanted = [] if operator in OPERATORS else run(node, changes, fused=False)
        except Exception:  # of no rows, say, which the body cannot divide by
            continue
        for one, other in zip(found, wanted, strict=False):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def another(random: np.random.Generator, array: Array) -> Array:
    """An array of the same type, with one size changed or, for whole numbers, other ones."""
    if array.dtype == np.int64 and random.random() < 0.5:
        return random.integers(-1, 22, array.shape)
    sizes = list(array.shape)
    at = int(random.integers(len(sizes)))
    sizes[at] = int(random.choice([0, 1, 2, 3, max(0, sizes[at] - 1), sizes[at] + 1, 2 * sizes[at]]))
    return np.resize(array, sizes) if array.size and 0 not in sizes else np.zeros(sizes, array.dtype)
