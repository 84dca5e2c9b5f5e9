"""The operators that texts need, by their bodies and by the library, against numpy in float64 (exact.py).

Tolerances as in test_operators.py. Shapes are random and odd: heads of 1 to 128, 1 to 70 positions, lengths of 0 too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from . import exact
from .conftest import BODY, ISAS
from .exact import Array
from .nodes import LARGE, NAME, NODES, Node, run

SIZES = (1, 3, 8, 32, 33, 64, 80, 128)
PADDED = ("PaddedCrossAttention", "HalfPaddedCrossAttention")
ENCODERS = ("SelfAttention", "BiasedSelfAttention", "BFloat16SelfAttention", "BFloat16BiasedSelfAttention")
ATTENTIONS = (*PADDED, *ENCODERS, "BiasedCachedSelfAttention")


@dataclass(frozen=True)
class Case:
    node: Node
    wanted: list[Array]


def floats(random: np.random.Generator, *shape: int) -> Array:
    return random.normal(size=shape).astype(np.float32)


def lengths_of(random: np.random.Generator, inputs: int, positions: int) -> Array:
    some = [0, 1, positions, *random.integers(0, positions + 1, 3)]
    return random.choice(some, (inputs, 1)).astype(np.int64)


def sizes_of(random: np.random.Generator) -> tuple[int, int, int, int]:
    """Inputs, positions, heads and head size."""
    return (
        int(random.integers(1, 4)),
        int(random.integers(1, 71)),
        int(random.integers(1, 5)),
        int(random.choice(SIZES)),
    )


def cross_case(random: np.random.Generator, operator: str) -> Case:
    inputs, positions, heads, size = sizes_of(random)
    query = floats(random, inputs * int(random.integers(1, 10)), heads * size)
    shape = (inputs, heads, positions, size) if operator.startswith("Half") else (inputs, positions, heads * size)
    key, value = floats(random, *shape), floats(random, *shape)
    if operator.startswith("Half"):
        key, value = key.astype(np.float16), value.astype(np.float16)
    lengths = lengths_of(random, inputs, positions)
    node = Node(
        operator,
        {"query": query, "key": key, "value": value, "lengths": lengths},
        1,
        {"heads": heads, "scale": size**-0.5},
    )
    return Case(node, [exact.cross_attention(query, key, value, lengths, heads, size**-0.5)])


def encoder_case(random: np.random.Generator, operator: str) -> Case:
    inputs, positions, heads, size = sizes_of(random)
    feed = {
        "qkv": floats(random, inputs, positions, 3 * heads * size),
        "lengths": lengths_of(random, inputs, positions),
    }
    if "Biased" in operator:
        feed["distance_bias"] = floats(random, heads, 2 * int(random.choice((1, 2, 7, 90))) - 1)
    scale = float(np.float32(random.choice((1.0, size**-0.5))))
    node = Node(operator, feed, 1, {"heads": heads, "scale": scale * 0.3})
    attributes = (feed["qkv"], feed["lengths"], heads, scale * 0.3, feed.get("distance_bias"))
    return Case(node, [exact.self_attention(*attributes, bfloat16=operator.startswith("BFloat16"))])


def cached_case(random: np.random.Generator, operator: str) -> Case:
    rows, position, heads, size = sizes_of(random)
    rows = int(random.integers(1, 10))
    tokens, room = int(random.integers(1, 6)), int(random.integers(0, 4))
    capacity = position + tokens + room
    table = random.integers(0, rows, (rows, capacity))
    table[:, position:] = np.arange(rows)[:, None]
    feed = {
        "qkv": floats(random, rows * tokens, 3 * heads * size),
        "key": floats(random, capacity, rows, heads * size), "value": floats(random, capacity, rows, heads * size),
        "position": np.array([position]), "beam_table": table,
        "distance_bias": floats(random, heads, int(random.choice((1, 2, 7, 90)))),
    }  # fmt: skip
    scale = size**-0.5
    wanted = exact.cached_self_attention(
        feed["qkv"], feed["key"], feed["value"], position, table, heads, scale, feed["distance_bias"]
    )
    return Case(Node(operator, feed, 3, {"heads": heads, "scale": scale}), list(wanted))


def norm_case(random: np.random.Generator, operator: str) -> Case:
    rows, tokens, width = int(random.integers(1, 10)), int(random.integers(1, 5)), int(random.integers(1, 900))
    x = floats(random, rows, tokens, width) * np.float32(random.choice((1e-3, 1, 30)))
    scale = floats(random, width)
    return Case(Node(operator, {"x": x, "scale": scale}, 1, {"epsilon": 1e-6}), [exact.rms_norm(x, scale, 1e-6)])


def rotary_case(random: np.random.Generator, operator: str) -> Case:
    rows, position, heads, size = sizes_of(random)
    rows, tokens = int(random.integers(1, 10)), int(random.integers(1, 6))
    pairs = int(random.integers(1, size // 2 + 1)) if size > 1 else 0
    angles = random.uniform(-3, 3, (position + tokens + int(random.integers(0, 4)), pairs))
    feed = {
        "qkv": floats(random, rows * tokens, 3 * heads * size), "cosines": np.cos(angles).astype(np.float32),
        "sines": np.sin(angles).astype(np.float32), "position": np.array([position]),
        "rows": np.zeros((rows, int(random.integers(0, 3))), np.int64),
    }  # fmt: skip
    wanted = exact.rotary(feed["qkv"], feed["cosines"], feed["sines"], position, rows, heads)
    if random.random() < 0.5:
        feed["qkv"], wanted = (array.reshape(rows, tokens, -1) for array in (feed["qkv"], wanted))
    return Case(Node(operator, feed, 1, {"heads": heads}), [wanted])


MAKE: dict[str, Callable[[np.random.Generator, str], Case]] = {
    **dict.fromkeys(PADDED, cross_case),
    **dict.fromkeys(ENCODERS, encoder_case),
    "BiasedCachedSelfAttention": cached_case,
    "RMSNorm": norm_case,
    "Rotary": rotary_case,
}


def case_of(operator: str, seed: int) -> Case:
    return MAKE[operator](np.random.default_rng(seed), operator)


@pytest.mark.parametrize("operator", MAKE)
def test_random_sizes_give_what_numpy_gives(on: str, operator: str) -> None:
    for seed in range(12):
        case = case_of(operator, seed)
        for found, wanted in zip(run(case.node, fused=on != BODY), case.wanted, strict=True):
            exact.check_attention(found, wanted, operator)


@pytest.mark.parametrize("form", ["Float", "Half", "BFloat16"])
def test_endings_of_linear_layers(on: str, form: str) -> None:
    """What the body of the same layer without an ending gives, ended in float64."""
    node = NODES[f"{form}Linear"]
    [plain] = run(node, fused=False)
    plain64 = plain.astype(np.float64)
    [silu] = run(Node(f"{form}LinearSilu", node.feed, 1, {}), fused=on != BODY)
    np.testing.assert_allclose(silu, plain64 / (1 + np.exp(-plain64)), rtol=1e-5, atol=1e-5)
    factor = np.random.default_rng(0).normal(size=plain.shape).astype(np.float32)
    [product] = run(Node(f"{form}LinearMul", {**node.feed, "factor": factor}, 1, {}), fused=on != BODY)
    np.testing.assert_allclose(product, plain64 * factor, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operator", [*PADDED, *ENCODERS])
def test_what_is_beyond_a_length_is_never_read(on: str, operator: str) -> None:
    for seed in range(8):
        node = case_of(operator, seed).node
        plain = run(node, fused=on != BODY)
        spoiled = {name: array.copy() for name, array in node.feed.items()}
        for b, n in enumerate(node.feed["lengths"][:, 0]):
            if operator in ENCODERS:
                spoiled["qkv"][b, n:] = np.nan
            else:
                for name in ("key", "value"):
                    spoiled[name][
                        (b, slice(None), slice(n, None)) if operator.startswith("Half") else (b, slice(n, None))
                    ] = np.nan
        np.testing.assert_array_equal(run(node, spoiled, fused=on != BODY), plain)


@pytest.mark.parametrize("operator", [*PADDED, *ENCODERS])
@pytest.mark.parametrize("length", [-1, 2**62, -(2**63), "one more"])
def test_lengths_that_are_none_are_refused(on: str, operator: str, length: int | str) -> None:
    node = case_of(operator, 3).node
    positions = node.feed["qkv" if operator in ENCODERS else "key"].shape[2 if operator.startswith("Half") else 1]
    lengths = node.feed["lengths"].copy()
    lengths[-1] = positions + 1 if length == "one more" else length
    with pytest.raises(Exception, match="lengths" if on != BODY else "out of data bounds"):
        run(node, {"lengths": lengths}, fused=on != BODY)


def alone(operator: str, feed: Mapping[str, Array], b: int, room: int) -> dict[str, Array]:
    """The feed of input b alone, with as much padding as is left of its positions: `room`."""
    one = {name: array[b : b + 1] for name, array in feed.items() if name not in ("query", "distance_bias")}
    if operator in ENCODERS:
        one["qkv"] = one["qkv"][:, :room]
        return one | {name: feed[name] for name in ("distance_bias",) if name in feed}
    for name in ("key", "value"):
        one[name] = np.ascontiguousarray(one[name][:, :, :room] if one[name].ndim == 4 else one[name][:, :room])
    return {"query": np.split(feed["query"], len(feed["lengths"]))[b]} | one


@pytest.mark.parametrize("on", ISAS, indirect=True)
@pytest.mark.parametrize("operator", [*PADDED, *ENCODERS])
def test_an_input_does_not_depend_on_others_nor_on_padding(on: str, operator: str) -> None:
    """Bit for bit; of the library, since onnxruntime's own products of matrices promise nothing of the kind."""
    for seed in range(8):
        node = case_of(operator, seed).node
        [together] = run(node)
        lengths = node.feed["lengths"][:, 0]
        for b, n in enumerate(lengths):
            for room in {max(1, int(n)), node.feed["qkv" if operator in ENCODERS else "key"].shape[-2]}:
                feed = alone(operator, node.feed, b, room)
                [found] = run(replace(node, feed=feed), threads=1)
                own = together[b : b + 1, :room] if operator in ENCODERS else np.split(together, len(lengths))[b]
                np.testing.assert_array_equal(found, own)


@pytest.mark.parametrize("operator", ["BiasedSelfAttention", "BFloat16BiasedSelfAttention"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("positions", [1, 15, 16, 17, 63, 64, 65, 130])
def test_blocks_of_queries_and_positions(on: str, size: int, positions: int, operator: str) -> None:
    """An encoder's attention goes by blocks of 64 queries and 16 positions, in bfloat16 by pairs of these."""
    random = np.random.default_rng(size * positions)
    lengths = np.array([[positions], [positions // 2], [0]])
    feed = {"qkv": floats(random, 3, positions, 6 * size), "lengths": lengths, "distance_bias": floats(random, 2, 9)}
    node = Node(operator, feed, 1, {"heads": 2, "scale": 0.5 * size**-0.5})
    [found] = run(node, fused=on != BODY)
    of = (feed["qkv"], lengths, 2, 0.5 * size**-0.5, feed["distance_bias"])
    exact.check_attention(found, exact.self_attention(*of, bfloat16=operator.startswith("BFloat16")), operator)


@pytest.mark.parametrize("on", ISAS, indirect=True)
@pytest.mark.parametrize("operator", MAKE)
def test_any_number_of_threads_gives_the_same(on: str, operator: str) -> None:
    node = LARGE[operator]
    expected = run(node, threads=1)
    for threads in (2, 3):
        for found, wanted in zip(run(node, threads=threads), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.skipif(not ISAS, reason="the kernel library was not built")
@pytest.mark.parametrize(
    ("operator", "changes", "reason"),
    [
        ("PaddedCrossAttention", {"lengths": np.array([[1], [1], [1]])}, "lengths must have a row for each input"),
        ("PaddedCrossAttention", {"lengths": np.array([1, 1])}, "lengths must have a row for each input"),
        ("HalfPaddedCrossAttention", {"lengths": np.array([[1, 1]])}, "lengths must have a row for each input"),
        ("SelfAttention", {"lengths": np.array([[1]])}, "lengths must have a row for each input"),
        ("SelfAttention", {"qkv": np.zeros((2, 99, 575), np.float32)}, "qkv must be query, key and value of all heads"),
        ("SelfAttention", {"qkv": np.zeros((2, 99, 3), np.float32)}, "qkv must be query, key and value of all heads"),
        ("BiasedSelfAttention", {"distance_bias": np.zeros((6, 8), np.float32)}, "of an odd number of distances"),
        ("BiasedSelfAttention", {"distance_bias": np.zeros((5, 9), np.float32)}, "a row for each head"),
        ("BiasedSelfAttention", {"distance_bias": np.zeros((6, 0), np.float32)}, "a row for each head"),
        ("BiasedCachedSelfAttention", {"distance_bias": np.zeros((6, 0), np.float32)}, "a row for each head"),
        ("BiasedCachedSelfAttention", {"distance_bias": np.zeros((1, 9), np.float32)}, "a row for each head"),
        ("RMSNorm", {"scale": np.zeros(191, np.float32)}, "scale does not fit x"),
        ("Rotary", {"sines": np.zeros((12, 149), np.float32)}, "has another shape than it must have"),
        ("Rotary", {"rows": np.zeros((3, 1), np.int64)}, "as many for each of the rows"),
        ("Rotary", {"position": np.array([6])}, "there are no cosines and sines for some of the positions"),
        ("Rotary", {"position": np.array([-1])}, "there are no cosines and sines for some of the positions"),
        (
            "Rotary",
            {"cosines": np.zeros((12, 161), np.float32), "sines": np.zeros((12, 161), np.float32)},
            "for at most the pairs that a head has",
        ),
    ],
)
def test_what_does_not_go_together(operator: str, changes: Mapping[str, Array], reason: str) -> None:
    with pytest.raises(Exception, match=f"the node {NAME}: .*{reason}"):
        run(LARGE[operator], changes)
