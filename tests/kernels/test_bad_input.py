"""What the fused operators refuse: a sentence with the name of the node and the reason, never a crash."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from fuseline.export.graphs.graph import model_of, new_graph
from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN

pytestmark = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")

Array = np.ndarray[Any, Any]
NAME = "decoder/layer.3/fc1"


def run(operator: str, feed: dict[str, Array], outputs: int = 1, **attributes: float) -> list[Array]:
    """One node, all of whose inputs are fed, so that every shape is known only when it runs."""
    g = new_graph("bad")
    for name, array in feed.items():
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        g.input(name, dtype, [f"{name}_{i}" for i in range(array.ndim)])
    names = [f"output_{i}" for i in range(outputs)]
    g.proto.node.append(helper.make_node(operator, list(feed), names, name=NAME, domain=DOMAIN, **attributes))
    for name in names:
        g.proto.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library_info().path))
    session = ort.InferenceSession(model_of(g).SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, feed)
    return results


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def with_one(array: Array, place: tuple[int, ...], value: float) -> Array:
    changed = array.copy()
    changed[place] = value
    return changed


# Layers of 40 inputs and 20 outputs: two blocks, in 4 bits two groups of 32.
SCALE_INT8, SCALE_INT4 = np.ones(20, np.float32), np.ones((2, 2, 16), np.float16)
LAYERS: dict[str, dict[str, Array]] = {
    "FloatLinearGelu": {"x": zeros(3, 40), "weight": zeros(2, 40, 16), "bias": zeros(20)},
    "HalfLinear": {"x": zeros(3, 40), "weight": zeros(2, 40, 16).astype(np.float16), "bias": zeros(20)},
    "Int8Linear": {
        "x": zeros(3, 40), "weight": np.zeros((2, 10, 16, 4), np.uint8), "scale": SCALE_INT8, "bias": zeros(20)
    },
    "Int4LinearAdd": {
        "x": zeros(3, 40), "weight": np.zeros((2, 8, 16, 4), np.uint8), "scale": SCALE_INT4, "bias": zeros(20),
        "residual": zeros(3, 20),
    },
}  # fmt: skip

FIT = "weights, scales and bias do not fit x"
GROUPS = "as many groups as x needs, each of a multiple of 32 inputs"
SCALE = "a scale of the weights is zero or not finite"


@pytest.mark.parametrize("operator", LAYERS)
def test_good_layers_run(operator: str) -> None:
    [y] = run(operator, LAYERS[operator])
    assert y.shape == (3, 20)


@pytest.mark.parametrize(
    ("operator", "changes", "reason"),
    [
        ("FloatLinearGelu", {"x": zeros(3, 41)}, FIT),
        ("FloatLinearGelu", {"x": zeros(3, 0)}, FIT),
        ("FloatLinearGelu", {"weight": zeros(1, 40, 16)}, FIT),
        ("FloatLinearGelu", {"weight": zeros(40, 16)}, FIT),
        ("FloatLinearGelu", {"bias": zeros(33)}, FIT),
        ("FloatLinearGelu", {"bias": zeros(0)}, FIT),
        ("FloatLinearGelu", {"bias": zeros(1, 20)}, FIT),
        ("HalfLinear", {"weight": zeros(2, 40, 8).astype(np.float16)}, FIT),
        ("Int8Linear", {"weight": np.zeros((2, 9, 16, 4), np.uint8)}, FIT),
        ("Int8Linear", {"weight": np.zeros((2, 10, 64), np.uint8)}, FIT),
        ("Int8Linear", {"scale": np.ones(19, np.float32)}, FIT),
        ("Int8Linear", {"scale": np.ones((20, 1), np.float32)}, FIT),
        ("Int8Linear", {"scale": with_one(SCALE_INT8, (19,), 0)}, SCALE),
        ("Int8Linear", {"scale": with_one(SCALE_INT8, (7,), np.nan)}, SCALE),
        ("Int4LinearAdd", {"x": zeros(3, 65)}, GROUPS),
        ("Int4LinearAdd", {"x": zeros(3, 32), "residual": zeros(3, 20)}, GROUPS),
        ("Int4LinearAdd", {"scale": np.ones((2, 4, 16), np.float16)}, GROUPS),
        ("Int4LinearAdd", {"scale": np.ones((2, 0, 16), np.float16)}, FIT),
        ("Int4LinearAdd", {"scale": np.ones((1, 2, 16), np.float16)}, FIT),
        ("Int4LinearAdd", {"scale": np.ones((2, 2), np.float16)}, FIT),
        ("Int4LinearAdd", {"scale": with_one(SCALE_INT4, (1, 1, 3), 0)}, SCALE),
        ("Int4LinearAdd", {"scale": with_one(SCALE_INT4, (0, 0, 0), np.inf)}, SCALE),
        ("Int4LinearAdd", {"residual": zeros(3, 19)}, "the residual has another shape"),
        ("Int4LinearAdd", {"residual": zeros(2, 20)}, "the residual has another shape"),
        ("Int4LinearAdd", {"residual": zeros(1, 3, 20)}, "the residual has another shape"),
    ],
)
def test_layers_that_do_not_fit(operator: str, changes: dict[str, Array], reason: str) -> None:
    with pytest.raises(Exception, match=f"the node {NAME}: .*{reason}"):
        run(operator, LAYERS[operator] | changes)


def test_scales_of_padding_are_not_looked_at() -> None:
    run("Int4LinearAdd", LAYERS["Int4LinearAdd"] | {"scale": with_one(SCALE_INT4, (1, 0, 4), 0)})


# Tables of 20 tokens and a width of 6: two blocks, in 8 bits of two times 4 inputs.
IDS, SIZES = np.array([[0, 19, 3]]), {"vocabulary": 20, "width": 6}
TABLES: dict[str, dict[str, Array]] = {
    "FloatEmbedding": {"ids": IDS, "weight": zeros(2, 6, 16)},
    "HalfEmbedding": {"ids": IDS, "weight": zeros(2, 6, 16).astype(np.float16)},
    "Int8Embedding": {"ids": IDS, "weight": np.zeros((2, 2, 16, 4), np.uint8), "scale": SCALE_INT8},
}
FIT_SIZES = "weights and scales do not fit vocabulary and width"


@pytest.mark.parametrize("operator", TABLES)
def test_good_tables_run(operator: str) -> None:
    [y] = run(operator, TABLES[operator], **SIZES)
    assert y.shape == (1, 3, 6)


@pytest.mark.parametrize("operator", TABLES)
@pytest.mark.parametrize("token", [20, 31, 32, -1, -20, 2**63 - 1, -(2**63)])
def test_tokens_that_are_not_in_the_vocabulary(operator: str, token: int) -> None:
    ids = np.array([[0, 19], [token, 3]])
    with pytest.raises(Exception, match=f"the node {NAME}: ids has a token that is not in the vocabulary"):
        run(operator, TABLES[operator] | {"ids": ids}, **SIZES)


@pytest.mark.parametrize(
    ("operator", "changes", "reason"),
    [
        ("FloatEmbedding", {"weight": zeros(1, 6, 16)}, FIT_SIZES),
        ("FloatEmbedding", {"weight": zeros(2, 5, 16)}, FIT_SIZES),
        ("FloatEmbedding", {"weight": zeros(20, 6)}, FIT_SIZES),
        ("HalfEmbedding", {"weight": zeros(2, 6, 8).astype(np.float16)}, FIT_SIZES),
        ("Int8Embedding", {"weight": np.zeros((2, 1, 16, 4), np.uint8)}, FIT_SIZES),
        ("Int8Embedding", {"weight": np.zeros((2, 2, 64), np.uint8)}, FIT_SIZES),
        ("Int8Embedding", {"scale": np.ones(32, np.float32)}, FIT_SIZES),
        ("Int8Embedding", {"scale": np.ones((20, 1), np.float32)}, FIT_SIZES),
        ("Int8Embedding", {"scale": with_one(SCALE_INT8, (19,), 0)}, SCALE),
        ("Int8Embedding", {"scale": with_one(SCALE_INT8, (3,), np.nan)}, SCALE),
        ("Int8Embedding", {"ids": np.zeros((1,) * 8, np.int64)}, "ids has too many dimensions"),
    ],
)
def test_tables_that_do_not_fit(operator: str, changes: dict[str, Array], reason: str) -> None:
    with pytest.raises(Exception, match=f"the node {NAME}: {reason}"):
        run(operator, TABLES[operator] | changes, **SIZES)


@pytest.mark.parametrize("sizes", [{"vocabulary": 0}, {"width": 0}, {"vocabulary": -(2**63)}, {"width": -1}])
def test_sizes_that_are_none(sizes: dict[str, int]) -> None:
    with pytest.raises(Exception, match=f"the node {NAME}: vocabulary and width must be at least 1"):
        run("FloatEmbedding", TABLES["FloatEmbedding"], **SIZES | sizes)


@pytest.mark.parametrize("sizes", [{"vocabulary": 2**63 - 1}, {"width": 2**63 - 1}])
def test_sizes_beyond_all_tables(sizes: dict[str, int]) -> None:
    for operator, feed in TABLES.items():
        with pytest.raises(Exception, match=f"the node {NAME}: {FIT_SIZES}"):
            run(operator, feed, **SIZES | sizes)


# Two rows of two tokens, 3 heads of 8; 9 positions of the cache, 5 of them in use.
CACHED: dict[str, Array] = {
    "qkv": zeros(4, 72), "key": zeros(9, 2, 24), "value": zeros(9, 2, 24), "position": np.array([5]),
    "beam_table": np.zeros((2, 9), np.int64),
}  # fmt: skip
CROSS: dict[str, Array] = {"query": zeros(4, 24), "key": zeros(2, 5, 24), "value": zeros(2, 5, 24)}
TOGETHER = "do not go together"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"position": np.array([8])}, "more than the cache's capacity"),
        ({"position": np.array([2**63 - 1])}, "more than the cache's capacity"),
        ({"position": np.array([-(2**63)])}, "must not be negative"),
        ({"position": np.array([0, 1])}, "number of dimensions"),
        ({"position": np.zeros(0, np.int64)}, "number of dimensions"),
        ({"beam_table": np.full((2, 9), 2**62)}, "a row that the cache does not have"),
        ({"beam_table": np.zeros((2, 8), np.int64)}, TOGETHER),
        ({"beam_table": np.zeros(18, np.int64)}, "number of dimensions"),
        ({"qkv": zeros(4, 71)}, TOGETHER),
        ({"qkv": zeros(2, 2, 72)}, "number of dimensions"),
        ({"key": zeros(9, 0, 24), "value": zeros(9, 0, 24), "beam_table": np.zeros((0, 9), np.int64)}, TOGETHER),
        ({"key": zeros(9, 2, 16)}, TOGETHER),
    ],
)
def test_caches_that_do_not_fit(changes: dict[str, Array], reason: str) -> None:
    with pytest.raises(Exception, match=f"the node {NAME}: .*{reason}"):
        run("CachedSelfAttention", CACHED | changes, 3, heads=3, scale=0.3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"query": zeros(5, 24)}, "as many rows as the others"),
        ({"query": zeros(4, 25)}, TOGETHER),
        ({"query": zeros(2, 2, 24)}, TOGETHER),
        ({"key": zeros(2, 4, 24)}, TOGETHER),
        ({"key": zeros(0, 5, 24), "value": zeros(0, 5, 24)}, "as many rows as the others"),
        ({"key": zeros(2, 0, 24), "value": zeros(2, 0, 24)}, "positions to attend to"),
    ],
)
def test_encodings_that_do_not_fit(changes: dict[str, Array], reason: str) -> None:
    with pytest.raises(Exception, match=f"the node {NAME}: .*{reason}"):
        run("CrossAttention", CROSS | changes, heads=3, scale=0.3)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"heads": 0, "scale": 0.3}, "heads must be at least 1"),
        ({"heads": -3, "scale": 0.3}, "heads must be at least 1"),
        ({"heads": 3, "scale": float("nan")}, "scale finite"),
        ({"heads": 3, "scale": float("inf")}, "scale finite"),
        ({"heads": 5, "scale": 0.3}, TOGETHER),
    ],
)
def test_heads_and_scale(attributes: dict[str, float], reason: str) -> None:
    for operator, feed, outputs in (("CrossAttention", CROSS, 1), ("CachedSelfAttention", CACHED, 3)):
        with pytest.raises(Exception, match=f"the node {NAME}: .*{reason}"):
            run(operator, feed, outputs, **attributes)


NORM = {"x": zeros(3, 8), "scale": zeros(8), "bias": zeros(8)}


def test_a_good_norm_runs() -> None:
    [y] = run("LayerNorm", NORM, epsilon=1e-5)
    assert y.shape == (3, 8)
    assert run("LayerNorm", {"x": zeros(3, 0), "scale": zeros(0), "bias": zeros(0)}, epsilon=1e-5)[0].shape == (3, 0)


@pytest.mark.parametrize("changes", [{"x": zeros(3, 9)}, {"x": zeros()}, {"scale": zeros(7)}, {"bias": zeros(1, 8)}])
def test_norms_that_do_not_fit(changes: dict[str, Array]) -> None:
    with pytest.raises(Exception, match=f"the node {NAME}: scale and bias do not fit x"):
        run("LayerNorm", NORM | changes, epsilon=1e-5)


@pytest.mark.parametrize("epsilon", [-1e-5, float("nan")])
def test_a_norm_whose_epsilon_is_none(epsilon: float) -> None:
    with pytest.raises(Exception, match="epsilon must not be negative"):
        run("LayerNorm", NORM, epsilon=epsilon)


HALVES = {"query": zeros(4, 6), "key": np.zeros((2, 3, 5, 2), np.float16), "value": np.zeros((2, 3, 5, 2), np.float16)}


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 2, 5, 2), (2, 3, 5, 3), (2, 5, 3, 2)])
def test_halves_that_do_not_fit(shape: tuple[int, ...]) -> None:
    [mixed] = run("HalfCrossAttention", HALVES, heads=3, scale=1.0)
    assert mixed.shape == (4, 6)
    changed = np.zeros(shape, np.float16)
    with pytest.raises(Exception, match=f"the node {NAME}: the shapes of query, key and value do not go together"):
        run("HalfCrossAttention", HALVES | {"key": changed, "value": changed}, heads=3, scale=1.0)
