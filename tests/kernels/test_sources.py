"""Cross-attention to several sources, by the bodies and by the library, against numpy in float64 (exact.py).

Tolerances as in test_operators.py. What is said to be the same is so bit for bit. Bodies are left out where only the
library promises that: onnxruntime's own products of matrices do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from . import exact
from .conftest import BODY, ISAS
from .exact import Array
from .nodes import LARGE, NAME, NODES, Node, run

FLAT, SEPARATE = (
    ("CrossAttentionFlat", "HalfCrossAttentionFlat"),
    ("CrossAttentionSeparate", "HalfCrossAttentionSeparate"),
)
OPERATORS = (*FLAT, *SEPARATE)
SIZES, ROWS = (1, 7, 16, 32, 64, 80), (1, 4, 5, 8)
in_the_library = pytest.mark.parametrize("on", ISAS, indirect=True)


def made(
    random: np.random.Generator, operator: str, lengths: Array, rooms: list[int], weights: Array, rows: int, heads: int,
    size: int,
) -> Node:  # fmt: skip
    """A node of so many rows an input; rooms: positions of each source, of which lengths [B, M] are read."""
    inputs, positions, half = len(lengths), sum(rooms), operator.startswith("Half")
    shape = (inputs, heads, positions, size) if half else (inputs, positions, heads * size)
    kind = np.float16 if half else np.float32
    key, value = (random.normal(size=shape).astype(kind) for _ in range(2))
    feed = {
        "query": random.normal(size=(inputs * rows, heads * size)).astype(np.float32), "key": key, "value": value,
        "lengths": np.asarray(lengths, np.int64), "starts": np.cumsum([0, *rooms]),
        "weights": np.asarray(weights, np.float32),
    }  # fmt: skip
    return Node(operator, feed, 2, {"heads": heads, "scale": size**-0.5})


def node_of(operator: str, seed: int, long: bool = False) -> Node:
    """Lengths and weights of all kinds: nothing, one position, an odd number of them, 1,500; weights 0 and odd ones."""
    random = np.random.default_rng(seed)
    inputs, sources, heads = (int(random.integers(1, end)) for end in (4, 6, 4))
    rooms = [int(each) for each in random.choice([0, 1, 2, 7, 33, 70], sources)]
    rooms[int(random.integers(sources))] = 1500 if long else int(random.integers(1, 40))
    most = np.array(rooms)
    kinds = np.stack([0 * most, np.minimum(most, 1), most, random.integers(0, most + 1), most])
    lengths = np.array([random.choice(kinds, axis=0) for _ in range(inputs)])
    lengths = np.where(random.random((inputs, sources)) < 0.2, 0, lengths)
    weights = random.choice([1, 1, 0, 0.3, 0.7, 1e-3, 17.5], (inputs, sources))
    return made(random, operator, lengths, rooms, weights, int(random.choice(ROWS)), heads, int(random.choice(SIZES)))


def wanted(node: Node) -> list[Array]:
    heads, scale = node.attributes["heads"], node.attributes["scale"]
    flat, parts, share = exact.sources_attention(*node.feed.values(), heads=heads, scale=scale)
    return [flat if node.operator in FLAT else parts, share]


def changed(node: Node, **arrays: Any) -> Node:
    return replace(node, feed={**node.feed, **{name: np.asarray(each) for name, each in arrays.items()}})


def equal(one: list[Array], other: list[Array]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def padded(node: Node, seen: Mapping[str, Array], lengths: Array) -> list[Array]:
    """PaddedCrossAttention of the same queries and kind over other keys and values."""
    operator = "HalfPaddedCrossAttention" if node.operator.startswith("Half") else "PaddedCrossAttention"
    feed = {"query": node.feed["query"], **seen, "lengths": np.asarray(lengths, np.int64)}
    return run(Node(operator, feed, 1, node.attributes))


def positions_of(node: Node, places: slice | list[int]) -> dict[str, Array]:
    """Keys and values at these positions."""
    axis = 2 if node.operator.startswith("Half") else 1
    taken = np.arange(node.feed["key"].shape[axis])[places]
    return {name: np.ascontiguousarray(node.feed[name].take(taken, axis)) for name in ("key", "value")}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("long", [False, True])
def test_random_sizes_give_what_numpy_gives(on: str, operator: str, long: bool) -> None:
    for seed in range(4 if long else 20):
        node = node_of(operator, seed, long)
        for threads in (1, 2):
            for found, right in zip(run(node, fused=on != BODY, threads=threads), wanted(node), strict=True):
                assert found.shape == right.shape
                atol = 4e-6 * max(1, node.feed["weights"].max())  # of parts
                np.testing.assert_allclose(found, right, rtol=1e-5, atol=atol, err_msg=f"{operator}, seed {seed}")


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_of_heads_and_numbers_of_rows(on: str, operator: str, size: int) -> None:
    for rows in ROWS:
        random = np.random.default_rng(size * rows)
        node = made(random, operator, np.array([[5, 3], [1, 0]]), [5, 4], np.array([[1, 0.3], [1, 1]]), rows, 2, size)
        for found, right in zip(run(node, fused=on != BODY), wanted(node), strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-5, atol=4e-6, err_msg=f"{rows} rows")


@in_the_library
@pytest.mark.parametrize("operator", FLAT)
def test_one_source_flat_is_cross_attention(on: str, operator: str) -> None:
    for size in SIZES:
        for rows in ROWS:
            for weight in (1, 0.3):
                random = np.random.default_rng(size * rows)
                lengths = [[0], [1], [17], [50]]
                node = made(random, operator, np.array(lengths), [50], np.full((4, 1), weight), rows, 2, size)
                mixed, share = run(node)
                equal([mixed], padded(node, positions_of(node, slice(None)), np.array(lengths)))
                assert (share[:rows] == 0).all()
                assert (share[rows:] == 1).all()


@in_the_library
@pytest.mark.parametrize("operator", FLAT)
def test_flat_is_one_attention_over_all_that_is_there(on: str, operator: str) -> None:
    for rows in ROWS:
        random = np.random.default_rng(rows)
        node = made(random, operator, np.array([[3, 0, 9, 5]]), [7, 4, 9, 6], np.array([[1, 1, 1, 1]]), rows, 3, 32)
        there = positions_of(node, [0, 1, 2, *range(11, 20), *range(20, 25)])
        mixed, share = run(node)
        equal([mixed], padded(node, there, np.array([[17]])))
        np.testing.assert_allclose(share.sum(axis=2), 1, rtol=1e-6)
        assert (share[:, :, 1] == 0).all()
        assert (share[:, :, [0, 2, 3]] > 0).all()


@in_the_library
@pytest.mark.parametrize("operator", SEPARATE)
def test_each_part_is_the_attention_to_its_source_alone(on: str, operator: str) -> None:
    for rows in ROWS:
        random = np.random.default_rng(rows)
        node = made(random, operator, np.array([[3, 0, 9]]), [7, 4, 9], np.array([[1, 1, 0.25]]), rows, 3, 32)
        parts = run(node)[0].reshape(rows, 3, -1)
        equal([parts[:, 0]], padded(node, positions_of(node, slice(0, 7)), np.array([[3]])))
        assert (parts[:, 1] == 0).all()
        [third] = padded(node, positions_of(node, slice(11, 20)), np.array([[9]]))
        np.testing.assert_allclose(parts[:, 2], third * 0.25, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", ["", "Half"])
def test_flat_is_the_separate_ones_by_their_shares(on: str, form: str) -> None:
    random = np.random.default_rng(0)
    weights = np.array([[1, 0.3, 0.7]])
    node = made(random, f"{form}CrossAttentionFlat", np.array([[20, 31, 9]]), [20, 33, 9], weights, 5, 3, 32)
    mixed, share = run(node, fused=on != BODY)
    parts, same_share = run(replace(node, operator=f"{form}CrossAttentionSeparate"), fused=on != BODY)
    np.testing.assert_allclose(share, same_share, atol=1e-6)
    alone = parts.reshape(5, 3, 3, 32) / weights[0][:, None, None]
    np.testing.assert_allclose(mixed, np.einsum("nhm,nmhd->nhd", share, alone).reshape(5, -1), atol=1e-6)


def spoiled(node: Node) -> Node:
    """NaN in all that must not be read: beyond lengths, and where a source is absent."""
    key, value = node.feed["key"].copy(), node.feed["value"].copy()
    half = node.operator.startswith("Half")
    for b, (lengths, weights) in enumerate(zip(node.feed["lengths"], node.feed["weights"], strict=True)):
        for m, start in enumerate(node.feed["starts"][:-1]):
            rest = slice(start + (lengths[m] if weights[m] > 0 else 0), node.feed["starts"][m + 1])
            for each in (key, value):
                each[(b, slice(None), rest) if half else (b, rest)] = np.nan
    return changed(node, key=key, value=value)


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_is_not_there_is_never_read(on: str, operator: str) -> None:
    for seed in range(12):
        node = node_of(operator, seed)
        equal(run(spoiled(node), fused=on != BODY), run(node, fused=on != BODY))


@pytest.mark.parametrize("operator", OPERATORS)
def test_weight_0_and_length_0_are_the_same(on: str, operator: str) -> None:
    for seed in range(12):
        node = node_of(operator, seed)
        lengths, weights = node.feed["lengths"], node.feed["weights"]
        there = (lengths > 0) & (weights > 0)
        shorter = changed(node, lengths=np.where(there, lengths, 0), weights=np.where(there, weights, np.float32(9)))
        lighter = changed(node, weights=np.where(there, weights, np.float32(0)))
        for other in (shorter, lighter):
            equal(run(other, fused=on != BODY), run(node, fused=on != BODY))


@in_the_library
@pytest.mark.parametrize("operator", OPERATORS)
def test_an_absent_source_is_as_if_there_were_none(on: str, operator: str) -> None:
    for rows in ROWS:
        random = np.random.default_rng(rows)
        node = made(random, operator, np.array([[5, 9, 3]]), [7, 9, 6], np.array([[0.3, 0, 1]]), rows, 3, 32)
        fewer = positions_of(node, [*range(7), *range(16, 22)])
        without = changed(node, **fewer, lengths=[[5, 3]], starts=[0, 7, 13], weights=np.array([[0.3, 1]], np.float32))
        found, right = run(node), run(without)
        equal([found[1][:, :, [0, 2]]], [right[1]])
        mixed = found[0] if operator in FLAT else found[0].reshape(rows, 3, -1)[:, [0, 2]].reshape(rows, -1)
        equal([mixed], [right[0]])


@pytest.mark.parametrize("operator", OPERATORS)
def test_without_any_source_there_are_zeros(on: str, operator: str) -> None:
    random = np.random.default_rng(0)
    for rows in ROWS:
        weights = np.array([[1, 1], [0, 0], [0, 1]])
        node = made(random, operator, np.array([[0, 0], [4, 3], [4, 0]]), [4, 3], weights, rows, 3, 7)
        for found in run(spoiled(node), fused=on != BODY):
            assert (found == 0).all()


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_factor_of_all_weights_changes_nothing_but_the_parts(on: str, operator: str) -> None:
    for seed in range(8):
        node = node_of(operator, seed)
        mixed, share = run(node, fused=on != BODY)
        for factor in (2.0**-9, 64.0):
            more = changed(node, weights=node.feed["weights"] * np.float32(factor))
            equal(run(more, fused=on != BODY), [mixed if operator in FLAT else mixed * np.float32(factor), share])
        odd = run(changed(node, weights=node.feed["weights"] * np.float32(0.37)), fused=on != BODY)
        np.testing.assert_allclose(odd[1], share, atol=1e-6)


@pytest.mark.parametrize("operator", FLAT)
def test_equal_weights_are_none(on: str, operator: str) -> None:
    random = np.random.default_rng(0)
    node = made(random, operator, np.array([[20, 31]]), [20, 33], np.ones((1, 2)), 5, 3, 32)
    for weight in (0.3, 17.5):
        equal(
            run(changed(node, weights=np.full((1, 2), weight, np.float32)), fused=on != BODY),
            run(node, fused=on != BODY),
        )


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_same_source_twice(on: str, operator: str) -> None:
    """It says what once says, with half of the share each; weights 0.7 and 0.3 share as 7 to 3."""
    random = np.random.default_rng(0)
    once = made(random, operator, np.array([[31]]), [33], np.ones((1, 1)), 5, 3, 32)
    twice = positions_of(once, [*range(33)] * 2)
    for weights, shares in (([1, 1], [0.5, 0.5]), ([0.7, 0.3], [0.7, 0.3]), ([1, 3 / 7], [0.7, 0.3])):
        node = changed(once, **twice, lengths=[[31, 31]], starts=[0, 33, 66], weights=np.array([weights], np.float32))
        found, share = run(node, fused=on != BODY)
        np.testing.assert_allclose(share, np.broadcast_to(shares, share.shape), rtol=1e-5)
        [alone, _] = run(once, fused=on != BODY)
        right = alone if operator in FLAT else np.concatenate([alone * weight for weight in weights], axis=1)
        np.testing.assert_allclose(found, right, atol=1e-6)


@in_the_library
@pytest.mark.parametrize("operator", OPERATORS)
def test_an_input_does_not_depend_on_others_nor_on_padding(on: str, operator: str) -> None:
    for seed in range(12):
        node = node_of(operator, seed)
        together, inputs = run(node), len(node.feed["lengths"])
        for b in range(inputs):
            one = {name: node.feed[name][b : b + 1] for name in ("key", "value", "lengths", "weights")}
            one["query"] = np.split(node.feed["query"], inputs)[b]
            alone = changed(node, **one)
            right = [np.split(each, inputs)[b] for each in together]
            equal(run(alone, threads=1), right)
            starts, lengths = node.feed["starts"], one["lengths"][0]
            kept = [p for m, n in enumerate(lengths) for p in range(starts[m], starts[m] + n)]
            if kept:
                equal(run(changed(alone, **positions_of(alone, kept), starts=np.cumsum([0, *lengths]))), right)


@pytest.mark.parametrize("operator", OPERATORS)
def test_scores_that_are_far_apart(on: str, operator: str) -> None:
    """Sources whose scores differ by more than an exponential holds, and weights that make up for that."""
    random = np.random.default_rng(0)
    node = made(random, operator, np.array([[9, 9]]), [9, 9], np.array([[1, 1e-37]]), 5, 2, 16)
    key = np.abs(node.feed["key"])
    half = operator.startswith("Half")
    for keys, factor in ((slice(0, 9), 1), (slice(9, 18), 30)):
        key[(0, slice(None), keys) if half else (0, keys)] *= factor
    for weights in ([1, 1e-37], [1e-37, 1], [1, 1], [1e37, 1e-30]):
        far = changed(node, key=key, query=np.abs(node.feed["query"]), weights=np.array([weights], np.float32))
        found = run(far, fused=on != BODY)
        right = wanted(far)
        np.testing.assert_allclose(found[1], right[1], atol=2e-5)
        np.testing.assert_allclose(found[0], right[0], rtol=1e-4, atol=2e-5)


@in_the_library
@pytest.mark.parametrize("operator", OPERATORS)
def test_any_number_of_threads_gives_the_same(on: str, operator: str) -> None:
    node = LARGE[operator]
    expected = run(node, threads=1)
    for threads in (2, 3):
        equal(run(node, threads=threads), expected)


STARTS, LENGTHS, WEIGHTS = (
    "starts must rise from 0",
    "lengths must have a row for each input",
    "weights must have a row",
)
BAD: list[tuple[str, Any, str]] = [
    *(("starts", starts, STARTS) for starts in ([0, 3, 4, 4], [0, 3, 4, 6], [1, 3, 4, 5], [0, 4, 3, 5], [-1, 3, 4, 5])),
    ("starts", [0, 2**62, 4, 5], STARTS),
    ("starts", [-(2**63), 3, 4, 5], STARTS),
    *(("lengths", [[2, 1, 1], [3, 0, length]], LENGTHS) for length in (-1, 2, 2**62, -(2**63))),
    ("lengths", [[4, 1, 1], [3, 0, 1]], LENGTHS),
    *(("weights", [[1, 1, 1], [1, weight, 1]], WEIGHTS) for weight in (-1, -1e-30, np.nan, np.inf, -np.inf)),
]  # fmt: skip


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("name", "array", "reason"), BAD)
def test_sources_that_are_none_are_refused(on: str, operator: str, name: str, array: Any, reason: str) -> None:
    node = NODES[operator]
    with pytest.raises(Exception, match=f"the node {NAME}: .*{reason}" if on != BODY else "out of data bounds"):
        run(changed(node, **{name: np.array(array, node.feed[name].dtype)}), fused=on != BODY)


@pytest.mark.skipif(not ISAS, reason="the kernel library was not built")
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("starts", (3,), LENGTHS),
        ("starts", (1,), STARTS),
        ("starts", (0,), STARTS),
        ("starts", (4, 1), STARTS),
        ("lengths", (2, 2), LENGTHS),
        ("lengths", (1, 3), LENGTHS),
        ("lengths", (6,), LENGTHS),
        ("weights", (2, 1), WEIGHTS),
        ("weights", (3, 3), WEIGHTS),
        ("weights", (2, 3, 1), WEIGHTS),
        ("query", (5, 24), "as many rows as the others"),
        ("query", (4, 25), "do not go together"),
    ],
)
def test_shapes_that_do_not_go_together(operator: str, name: str, shape: tuple[int, ...], reason: str) -> None:
    node = NODES[operator]
    with pytest.raises(Exception, match=f"the node {NAME}: .*{reason}"):
        run(node, {name: np.zeros(shape, node.feed[name].dtype)})
