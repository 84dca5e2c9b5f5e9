"""An encoder's attention in windows, by its body and by the library, against numpy in float64 (exact.py).

Tolerances as in test_operators.py. Sizes are random and odd: heads of 1 to 128, windows of 1 to 300 places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from . import exact
from .conftest import BODY, ISAS
from .exact import Array
from .nodes import LARGE, NAME, NODES, Node, run

OPERATOR, ROUNDED = "WindowSelfAttention", "BFloat16WindowSelfAttention"


def case_of(seed: int, operator: str = OPERATOR) -> Node:
    """Windows of any positions, with one region, with few, or with as many as places."""
    random = np.random.default_rng(seed)
    places, windows = int(random.choice((1, 2, 15, 16, 17, 49, 64, 65, 100, 144, 300))), int(random.integers(1, 5))
    inputs, heads = int(random.integers(1, 4)), int(random.integers(1, 4))
    size = int(random.choice((1, 3, 8, 20, 32, 64)))
    feed = {
        "qkv": random.normal(size=(inputs, windows * places, 3 * heads * size)).astype(np.float32),
        "windows": random.permutation(windows * places).reshape(windows, places),
        "regions": random.integers(0, int(random.choice((1, 3, 400))), (windows, places)) * 2**40 - 2**60,
        "place_bias": random.normal(size=(heads, places, places)).astype(np.float32),
    }
    return Node(operator, feed, 1, {"heads": heads, "scale": float(np.float32(0.5 * size**-0.5))})


@pytest.mark.parametrize("operator", [OPERATOR, ROUNDED])
@pytest.mark.parametrize("seed", range(16))
def test_random_sizes_give_what_numpy_gives(on: str, seed: int, operator: str) -> None:
    node = case_of(seed, operator)
    [found] = run(node, fused=on != BODY)
    bfloat16 = operator == ROUNDED
    exact.check_attention(found, exact.window_attention(**node.feed, **node.attributes, bfloat16=bfloat16), operator)


def test_nothing_comes_from_other_windows_and_regions(on: str) -> None:
    node = LARGE[OPERATOR]
    [plain] = run(node, fused=on != BODY)
    places = node.feed["windows"][3]
    own = places[node.feed["regions"][3] == node.feed["regions"][3, 0]]
    others = np.delete(np.arange(240), own)
    changed = node.feed["qkv"].copy()
    changed[:, others] = 7
    [found] = run(node, {"qkv": changed}, fused=on != BODY)
    np.testing.assert_allclose(found[:, own], plain[:, own], rtol=1e-5, atol=4e-6)
    assert (found[:, others] != plain[:, others]).any()


@pytest.mark.parametrize("on", ISAS, indirect=True)
def test_an_input_does_not_depend_on_others(on: str) -> None:
    """Bit for bit, and neither on threads."""
    rounded = (case_of(seed, ROUNDED) for seed in range(8))
    for node in (*map(case_of, range(8)), *rounded, LARGE[OPERATOR]):
        [together] = run(node)
        for b in range(len(together)):
            [alone] = run(replace(node, feed={**node.feed, "qkv": node.feed["qkv"][b : b + 1]}), threads=1)
            np.testing.assert_array_equal(alone[0], together[b])


@pytest.mark.parametrize("position", [-1, 8, 0, 2**62, -(2**63)])
def test_windows_that_have_not_every_position_once_are_refused(on: str, position: int) -> None:
    node = NODES[OPERATOR]
    windows = node.feed["windows"].copy()
    windows[1, 2] = position
    with pytest.raises(Exception, match="exactly once" if on != BODY else "out of|indices"):
        run(node, {"windows": windows}, fused=on != BODY)


@pytest.mark.skipif(not ISAS, reason="the kernel library was not built")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"qkv": np.zeros((2, 8, 71), np.float32)}, "qkv must be query, key and value of all heads"),
        ({"qkv": np.zeros((2, 9, 72), np.float32)}, "windows must have every position of an input exactly once"),
        ({"windows": np.zeros((0, 4), np.int64)}, "windows must have every position"),
        ({"windows": np.arange(8)}, "windows must have every position"),
        ({"regions": np.zeros((1, 4), np.int64)}, "regions must have one for each position of each window"),
        ({"place_bias": np.zeros((2, 4, 4), np.float32)}, "place_bias must have a number for each head"),
        ({"place_bias": np.zeros((3, 4, 5), np.float32)}, "place_bias must have a number for each head"),
        ({"place_bias": np.zeros((3, 16), np.float32)}, "place_bias must have a number for each head"),
    ],
)
def test_what_does_not_go_together(changes: Mapping[str, Array], reason: str) -> None:
    with pytest.raises(Exception, match=f"the node {NAME}: .*{reason}"):
        run(NODES[OPERATOR], changes)
