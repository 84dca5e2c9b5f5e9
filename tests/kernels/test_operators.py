"""Every fused operator against its body in standard operators and against numpy in float64, for every instruction set.

The body is run by onnxruntime without the kernel library. Tolerances: sums of some hundred float32 products in another
order differ by some 1e-6 of their size; gelu and exponentials by formulas that are good to 2e-7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from fuseline.export.graphs.graph import (
    Activation,
    Graph,
    StepValues,
    cached_self_attention,
    cross_attention,
    embedding,
    key_value_type,
    layer_norm,
    linear,
    model_of,
    table,
)
from fuseline.export.graphs.graph import new_graph as _new_graph
from fuseline.export.graphs.weights import Scheme, of_bfloat16, quantize_columns, quantize_groups, to_bfloat16
from fuseline.kernels import document, library_info
from fuseline.kernels.bodies import body, operators, text
from fuseline.kernels.library import Native, kernels

from .nodes import Node
from .nodes import run as run_node

pytestmark = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")

Array = np.ndarray[Any, Any]
SCHEMES: tuple[Scheme, ...] = ("fp32", "fp16", "bf16", "int8", "int4")
ACTIVATIONS: tuple[Activation, ...] = ("", "relu", "gelu", "gelu_tanh", "quick_gelu", "relu6")
ISAS = kernels().available_isas if isinstance(kernels(), Native) else ()  # type: ignore[attr-defined]


@contextmanager
def using(isa: str) -> Iterator[None]:
    native = kernels()
    assert isinstance(native, Native)
    before = native.info.isa
    native.use_isa(isa)
    try:
        yield
    finally:
        native.use_isa(before)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    with using(request.param):
        yield request.param


def run(g: Graph, feed: dict[str, Array], fused: bool, threads: int = 2) -> list[Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if fused:
        options.register_custom_ops_library(str(library_info().path))
    session = ort.InferenceSession(model_of(g).SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, feed)
    return results


def layer(weight_IO: Array, bias_O: Array, scheme: Scheme, activation: Activation, add: bool) -> Graph:
    inputs, outputs = weight_IO.shape
    g = _new_graph("layer")
    x = g.input("x", TensorProto.FLOAT, ["N", inputs])
    residual = g.input("residual", TensorProto.FLOAT, ["N", outputs]) if add else ""
    linear(g, x, weight_IO, bias_O, scheme, "layer", activation=activation, residual=residual, result="y")
    g.output("y", TensorProto.FLOAT, ["N", outputs])
    return g


def exact(x: Array, weight_IO: Array, bias_O: Array, scheme: Scheme, activation: str, residual: Array | None) -> Array:
    """The definition in numpy, float64: quantized as the scheme says, everything else exact."""
    x64 = x.astype(np.float64)
    if scheme in ("int8", "int4") and x.size:
        step = np.maximum(np.abs(x).max(axis=1, keepdims=True) * np.float32(1 / 127), np.float32(1e-30))
        x64 = np.rint(x / step).astype(np.float64) * step
    if scheme == "bf16":
        x64 = of_bfloat16(to_bfloat16(x)).astype(np.float64)
    y = x64 @ stored_values(weight_IO, scheme) + bias_O
    y = ACTIVATE[activation](y)
    return y if residual is None else y + residual


def stored_values(weight_IO: Array, scheme: Scheme) -> Array:
    if scheme == "int8":
        codes, scale = quantize_columns(weight_IO)
        return (codes.astype(np.float64) - 128) * scale
    if scheme == "int4":
        group = 128 if len(weight_IO) >= 768 else 32
        codes, scales = quantize_groups(weight_IO, group)
        values: Array = (codes.astype(np.float64) - 8) * scales.astype(np.float64).repeat(group, axis=0)
        return values[: len(weight_IO)]
    if scheme == "bf16":
        return of_bfloat16(to_bfloat16(weight_IO)).astype(np.float64)
    return weight_IO.astype(np.float16 if scheme == "fp16" else np.float32).astype(np.float64)


_erf = np.vectorize(math.erf, otypes=[np.float64])
ACTIVATE = {
    "": lambda y: y,
    "relu": lambda y: np.maximum(y, 0),
    "gelu": lambda y: y * 0.5 * (1 + _erf(y / math.sqrt(2))),
    "gelu_tanh": lambda y: y * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))),
    "quick_gelu": lambda y: y / (1 + np.exp(-1.702 * y)),
    "relu6": lambda y: np.clip(y, 0, 6),
}


# Linear layers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [(4, 768, 100), (1, 33, 17), (3, 70, 5), (7, 256, 48), (0, 64, 16), (5, 1, 1), (2, 800, 33)],
)
def test_linear_is_its_body_and_its_definition(isa: str, scheme: Scheme, rows: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(rows * inputs + outputs)
    weight = rng.normal(size=(inputs, outputs)).astype(np.float32) * np.float32(inputs**-0.5)
    bias, x = rng.normal(size=outputs).astype(np.float32), rng.normal(size=(rows, inputs)).astype(np.float32)
    residual = rng.normal(size=(rows, outputs)).astype(np.float32)
    for activation in ACTIVATIONS:
        check_linear(x, weight, bias, scheme, activation, None)
    check_linear(x, weight, bias, scheme, "", residual)


def check_linear(
    x: Array, weight: Array, bias: Array, scheme: Scheme, activation: Activation, residual: Array | None
) -> None:
    g = layer(weight, bias, scheme, activation, residual is not None)
    feed = {"x": x} if residual is None else {"x": x, "residual": residual}
    [found], [of_body] = run(g, feed, fused=True), run(g, feed, fused=False)
    wanted = exact(x, weight, bias, scheme, activation, residual)
    np.testing.assert_allclose(found, of_body, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_row_among_many_is_as_it_is_alone(isa: str, scheme: Scheme) -> None:
    """Of 400 rows a layer takes some after the others, and all of them in larger tiles than one alone."""
    rng = np.random.default_rng(3)
    inputs = 3400 if scheme.startswith("int") else 1700
    weight = rng.normal(size=(inputs, 40)).astype(np.float32)
    x, residual = rng.normal(size=(400, inputs)).astype(np.float32), rng.normal(size=(400, 40)).astype(np.float32)
    g = layer(weight, rng.normal(size=40).astype(np.float32), scheme, "", True)
    [together] = run(g, {"x": x, "residual": residual}, fused=True)
    for rows in ([0], [167, 168], [399], list(range(140, 200))):
        [alone] = run(g, {"x": x[rows], "residual": residual[rows]}, fused=True)
        np.testing.assert_array_equal(together[rows], alone)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_layers(data: st.DataObject) -> None:
    rows, inputs, outputs = (data.draw(st.integers(least, 300)) for least in (0, 1, 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    weight = rng.normal(size=(inputs, outputs)).astype(np.float32) * np.float32(inputs**-0.5)
    x = rng.normal(size=(rows, inputs)).astype(np.float32)
    scheme, activation = data.draw(st.sampled_from(SCHEMES)), data.draw(st.sampled_from(ACTIVATIONS))
    with using(data.draw(st.sampled_from(ISAS))):
        check_linear(x, weight, rng.normal(size=outputs).astype(np.float32), scheme, activation, None)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_largest_products_do_not_overflow(isa: str, scheme: Scheme) -> None:
    x, weight = np.full((5, 3072), -3, np.float32), np.full((3072, 32), 2, np.float32)
    weight[:, 16:] = -2
    [found] = run(layer(weight, np.zeros(32, np.float32), scheme, "", False), {"x": x}, fused=True)
    np.testing.assert_allclose(found, x.astype(np.float64) @ weight, rtol=1e-3 if scheme == "int4" else 1e-6)


def test_every_code_of_8_bits_is_a_weight(isa: str) -> None:
    """Exports use -127 to 127; -128 has no opposite in 8 bits. Sums of integers are the body's to the bit."""
    codes, signs = np.arange(256, dtype=np.uint8), np.array([[1, -1] * 32, [-1, 1] * 32], np.float32)
    weight = np.stack([np.roll(codes, 37 * i) for i in range(4)]).reshape(1, 16, 16, 4)
    node = Node("Int8Linear", {
        "x": np.concatenate([signs, np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)]),
        "weight": weight, "scale": np.linspace(0.01, 0.02, 16, dtype=np.float32), "bias": np.zeros(16, np.float32),
    }, 1, {})  # fmt: skip
    for rows in (1, 7):
        some = {"x": node.feed["x"][:rows]}
        np.testing.assert_array_equal(run_node(node, some)[0], run_node(node, some, fused=False)[0])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_extreme_rows_stay_with_themselves(isa: str, scheme: Scheme) -> None:
    """A row of zeros, denormals, or huge values is computed; NaN and infinity break their own row only."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 64)).astype(np.float32)
    x[0], x[1], x[2] = 0, 1e-41, x[2] * 1e30
    weight, bias = rng.normal(size=(64, 20)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    g = layer(weight, bias, scheme, "", False)
    [plain] = run(g, {"x": x}, fused=True)
    np.testing.assert_allclose(plain, exact(x, weight, bias, scheme, "", None), rtol=2e-5, atol=1e-5)
    x[3, 5], x[4, 7] = np.nan, np.inf
    [broken], [of_body] = run(g, {"x": x}, fused=True), run(g, {"x": x}, fused=False)
    assert not np.isfinite(broken[3:5]).any() and not np.isfinite(of_body[3:5]).any()
    np.testing.assert_array_equal(broken[[0, 1, 2, 5]], plain[[0, 1, 2, 5]])


def test_one_thread_gives_what_two_give(isa: str) -> None:
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(512, 1000)).astype(np.float32), rng.normal(size=(4, 512)).astype(np.float32)
    for scheme in SCHEMES:
        g = layer(weight, np.zeros(1000, np.float32), scheme, "gelu_tanh", False)
        np.testing.assert_array_equal(run(g, {"x": x}, True, threads=1)[0], run(g, {"x": x}, True, threads=2)[0])


# Embeddings ---------------------------------------------------------------------------------------

TABLES: tuple[Scheme, ...] = ("fp32", "fp16", "int8")


def embed(ids: Array, table_VE: Array, scheme: Scheme, fused: bool) -> Array:
    g = _new_graph("embedding")
    tokens = g.input("ids", TensorProto.INT64, ["R", "T"])
    g.output(embedding(g, tokens, table(g, table_VE, scheme, "tokens")), TensorProto.FLOAT, ["R", "T", "E"])
    [found] = run(g, {"ids": ids}, fused)
    return found


def check_embedding(rows: int, tokens: int, vocabulary: int, width: int, scheme: Scheme, seed: int) -> None:
    """To the bit: there is one rounding at most."""
    rng = np.random.default_rng(seed)
    table_VE = rng.normal(size=(vocabulary, width)).astype(np.float32)
    ids = rng.integers(0, vocabulary, (rows, tokens))
    found, of_body = embed(ids, table_VE, scheme, fused=True), embed(ids, table_VE, scheme, fused=False)
    np.testing.assert_array_equal(found, of_body)
    np.testing.assert_array_equal(found, stored_values(table_VE.T, scheme).T[ids].astype(np.float32))


@pytest.mark.parametrize("scheme", TABLES)
@pytest.mark.parametrize(
    ("rows", "tokens", "vocabulary", "width"),
    [(4, 1, 97, 32), (2, 5, 16, 768), (1, 3, 1, 1), (3, 2, 33, 7), (0, 1, 5, 4)],
)
def test_embedding(isa: str, scheme: Scheme, rows: int, tokens: int, vocabulary: int, width: int) -> None:
    check_embedding(rows, tokens, vocabulary, width, scheme, seed=0)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_embeddings(data: st.DataObject) -> None:
    rows, tokens, vocabulary, width = (data.draw(st.integers(1, most)) for most in (9, 5, 200, 130))
    scheme, seed = data.draw(st.sampled_from(TABLES)), data.draw(st.integers(0, 2**32))
    with using(data.draw(st.sampled_from(ISAS))):
        check_embedding(rows, tokens, vocabulary, width, scheme, seed)


def test_a_token_out_of_range_is_refused_by_the_body_too() -> None:
    for scheme in TABLES:
        with pytest.raises(Exception, match="out of data bounds"):
            embed(np.array([[97]]), np.zeros((97, 8), np.float32), scheme, fused=False)


# Layer norms --------------------------------------------------------------------------------------


def check_layer_norm(rows: int, tokens: int, width: int, mean: float, seed: int, threads: int = 2) -> None:
    rng = np.random.default_rng(seed)
    x = (mean + rng.normal(size=(rows, tokens, width)) * rng.uniform(0.01, 10)).astype(np.float32)
    weight, bias = (rng.normal(size=width).astype(np.float32) for _ in range(2))
    g = _new_graph("norm")
    normal = layer_norm(g, g.input("x", TensorProto.FLOAT, ["R", "T", "E"]), weight, bias, 1e-5, "ln")
    g.output(normal, TensorProto.FLOAT, ["R", "T", "E"])
    [found], [of_body] = run(g, {"x": x}, fused=True, threads=threads), run(g, {"x": x}, fused=False)
    away = x - x.mean(-1, keepdims=True, dtype=np.float64)
    deviation = np.sqrt(np.square(away).mean(-1, keepdims=True) + 1e-5)
    part = away / deviation * weight
    wanted, unit = part + bias, 8 * 2.0**-24
    # The mean is off by some units of the largest number, and with it all that is away from it. Where that is little,
    # as of two numbers that are nearly one, units are many.
    size = np.abs(x).max(-1, keepdims=True) / deviation
    tolerance = unit * (size * (np.abs(weight) + np.abs(part)) + np.abs(part) + np.abs(wanted))
    assert (np.abs(found - wanted) <= tolerance).all()
    # onnxruntime takes the mean square less the square of the mean, so its variance is off by units of that square.
    close = np.broadcast_to(unit * size**2 < 0.1, x.shape)  # beyond it can be below zero
    assert (np.abs(found - of_body) <= 2 * tolerance + unit * size**2 * np.abs(part))[close].all()


@pytest.mark.parametrize(
    ("rows", "tokens", "width"), [(4, 1, 768), (1, 1, 1), (3, 2, 33), (0, 1, 5), (2, 1, 64), (1, 197, 768), (2, 3, 15)]
)
@pytest.mark.parametrize("mean", [0, 3])
def test_layer_norm(isa: str, rows: int, tokens: int, width: int, mean: float) -> None:
    check_layer_norm(rows, tokens, width, mean, seed=0)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_layer_norms(data: st.DataObject) -> None:
    rows, tokens, width = (data.draw(st.integers(1, most)) for most in (40, 5, 900))
    threads, seed = data.draw(st.integers(1, 2)), data.draw(st.integers(0, 2**32))
    with using(data.draw(st.sampled_from(ISAS))):
        check_layer_norm(rows, tokens, width, 0, seed, threads)


# Attention ----------------------------------------------------------------------------------------

SELF = [(4, 1, 3, 8, 9, 5), (2, 4, 2, 64, 7, 0), (1, 1, 5, 7, 4, 3), (3, 2, 1, 80, 6, 2)]


@cache
def self_graph(heads: int, size: int) -> Graph:
    g, width = _new_graph("attention"), heads * size
    qkv = g.input("qkv", TensorProto.FLOAT, ["N", 3 * width])
    position = g.input("position", TensorProto.INT64, [1])
    table = g.input("beam_table", TensorProto.INT64, ["R", "C"])
    past = tuple(g.input(f"past_{part}", TensorProto.FLOAT, ["C", "R", width]) for part in ("key", "value"))
    step = StepValues("", "", position, table, heads, size)
    mixed = cached_self_attention(g, step, qkv, (past[0], past[1]), ("key", "value"), size**-0.5)
    g.output(mixed, TensorProto.FLOAT, ["N", width])
    for name in ("key", "value"):
        g.output(name, TensorProto.FLOAT, ["C", "R", width])
    return g


def self_feed(rows: int, tokens: int, heads: int, size: int, capacity: int, position: int) -> dict[str, Array]:
    rng = np.random.default_rng(rows + tokens)
    table = rng.integers(0, rows, (rows, capacity))
    table[:, position:] = np.arange(rows)[:, None]  # what is written in this step is the rows' own
    floats = {
        "qkv": rng.normal(size=(rows * tokens, 3 * heads * size)),
        "past_key": rng.normal(size=(capacity, rows, heads * size)),
        "past_value": rng.normal(size=(capacity, rows, heads * size)),
    }
    feed: dict[str, Array] = {name: value.astype(np.float32) for name, value in floats.items()}
    return feed | {"position": np.array([position]), "beam_table": table}


def softmax(scores: Array) -> Array:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Array = weights / weights.sum(axis=-1, keepdims=True)
    return result


@pytest.mark.parametrize(("rows", "tokens", "heads", "size", "capacity", "position"), SELF)
def test_self_attention(isa: str, rows: int, tokens: int, heads: int, size: int, capacity: int, position: int) -> None:
    check_self_attention(rows, tokens, heads, size, capacity, position)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_self_attention(data: st.DataObject) -> None:
    rows, tokens, heads, size = (data.draw(st.integers(1, most)) for most in (9, 5, 6, 130))
    position = data.draw(st.integers(0, 70))
    capacity = position + tokens + data.draw(st.integers(0, 3))
    with using(data.draw(st.sampled_from(ISAS))):
        check_self_attention(rows, tokens, heads, size, capacity, position)


def check_self_attention(rows: int, tokens: int, heads: int, size: int, capacity: int, position: int) -> None:
    feed = self_feed(rows, tokens, heads, size, capacity, position)
    g = self_graph(heads, size)
    found, of_body = run(g, feed, fused=True), run(g, feed, fused=False)
    for each, wanted in zip(found, of_body, strict=True):
        np.testing.assert_allclose(each, wanted, rtol=1e-5, atol=2e-6)
    query, key, value = feed["qkv"].astype(np.float64).reshape(rows, tokens, 3, heads, size).transpose(2, 0, 1, 3, 4)
    for r in range(rows):
        for t in range(tokens):
            row = feed["beam_table"][r, : position + t + 1]
            keys, values = (
                np.concatenate(
                    [feed[f"past_{name}"][np.arange(position), row[:position]], new[r, : t + 1].reshape(t + 1, -1)]
                )
                for name, new in (("key", key), ("value", value))
            )
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                wanted = softmax(keys[:, part] @ query[r, t, h] * size**-0.5) @ values[:, part]
                np.testing.assert_allclose(found[0][r * tokens + t, part], wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"position": np.array([9])}, "more than the cache's capacity"),
        ({"position": np.array([-1])}, "must not be negative"),
        ({"beam_table": np.full((4, 9), 4)}, "a row that the cache does not have"),
        ({"beam_table": np.full((4, 9), -1)}, "a row that the cache does not have"),
        ({"past_value": np.zeros((8, 4, 24), np.float32)}, "do not go together"),
        ({"qkv": np.zeros((5, 72), np.float32)}, "do not go together"),
    ],
)
def test_bad_input_of_self_attention_is_refused_by_the_node(changes: dict[str, Array], sentence: str) -> None:
    feed = self_feed(*SELF[0]) | changes
    with pytest.raises(Exception, match=f"the node CachedSelfAttention: .*{sentence}"):
        run(self_graph(3, 8), feed, fused=True)


@cache
def cross_graph(heads: int, size: int, half: bool = False) -> Graph:
    g, width = _new_graph("attention"), heads * size
    query = g.input("query", TensorProto.FLOAT, ["N", width])
    scheme: Scheme = "fp16" if half else "fp32"
    key, value = (g.input(name, *key_value_type(scheme, heads, size)) for name in ("key", "value"))
    mixed = cross_attention(g, query, key, value, heads, size, size**-0.5, scheme)
    g.output(mixed, TensorProto.FLOAT, ["N", width])
    return g


def cross_feed(inputs: int, beams: int, positions: int, heads: int, size: int, half: bool = False) -> dict[str, Array]:
    rng = np.random.default_rng(heads * size)
    query = rng.normal(size=(inputs * beams, heads * size)).astype(np.float32)
    shape = (inputs, heads, positions, size) if half else (inputs, positions, heads * size)
    key, value = (rng.normal(size=shape).astype(np.float16 if half else np.float32) for _ in range(2))
    return {"query": query, "key": key, "value": value}


@pytest.mark.parametrize(
    ("inputs", "beams", "positions", "heads", "size"), [(1, 4, 197, 2, 64), (3, 2, 5, 3, 7), (2, 1, 1, 1, 80)]
)
@pytest.mark.parametrize("half", [False, True])
def test_cross_attention(isa: str, inputs: int, beams: int, positions: int, heads: int, size: int, half: bool) -> None:
    check_cross_attention(inputs, beams, positions, heads, size, half)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_cross_attention(data: st.DataObject) -> None:
    sizes = [data.draw(st.integers(1, most)) for most in (4, 9, 300, 6, 130)]
    with using(data.draw(st.sampled_from(ISAS))):
        check_cross_attention(*sizes, half=data.draw(st.booleans()))


def check_cross_attention(inputs: int, beams: int, positions: int, heads: int, size: int, half: bool) -> None:
    g, feed = cross_graph(heads, size, half), cross_feed(inputs, beams, positions, heads, size, half)
    [found], [of_body] = run(g, feed, fused=True), run(g, feed, fused=False)
    np.testing.assert_allclose(found, of_body, rtol=1e-5, atol=2e-6)
    for n in range(inputs * beams):
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            of_input = [feed[name][n // beams].astype(np.float64) for name in ("key", "value")]
            keys, values = (each[h] if half else each[:, part] for each in of_input)
            wanted = softmax(keys @ feed["query"][n, part] * size**-0.5) @ values
            np.testing.assert_allclose(found[n, part], wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("half", [False, True])
def test_bad_input_of_cross_attention_is_refused_by_the_node(isa: str, half: bool) -> None:
    feed = cross_feed(3, 2, 5, 3, 7, half)
    rows = {"query": np.zeros((7, 21), np.float32)}  # not a multiple of the inputs
    none = {name: feed[name][:, :, :0] if half else feed[name][:, :0] for name in ("key", "value")}
    for changes in (rows, none):
        with pytest.raises(Exception, match="the node (Half)?CrossAttention: .*as many rows as the others"):
            run(cross_graph(3, 7, half), feed | changes, fused=True)


def test_every_operator_has_a_body_and_no_other_has() -> None:
    assert all(body(name).name == name for name in operators())
    with pytest.raises(ValueError, match="there is no operator 'Linear'"):
        text("Linear")


def test_the_page_of_the_operators_is_what_the_bodies_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "operators.md"
    assert page.read_text() == document.page(), "run python -m fuseline.kernels.document > docs/operators.md"
