"""Loops that are shared out: as many threads as there are, and several runs at once, give the same to the bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import helper

from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN
from fuseline.kernels.layers import DECODER_LAYER

from .nodes import LARGE, NAME, Array, Node, codes, floats, graph_of, halves, session

pytestmark = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")

ROWS, WIDTH = 17, 192  # enough for several threads, in every operator
QUADS, EIGHTS, BLOCKS = WIDTH // 4, WIDTH // 8, WIDTH // 16
x, shift = floats(ROWS, WIDTH), floats(WIDTH)
weights: dict[str, dict[str, Array]] = {
    "Float": {"weight": floats(BLOCKS, WIDTH, 16)},
    "Half": {"weight": halves(BLOCKS, WIDTH, 16)},
    "Int8": {"weight": codes(BLOCKS, QUADS, 16, 4), "scale": np.full(WIDTH, 1e-3, np.float32)},
    "Int4": {"weight": codes(BLOCKS, EIGHTS, 16, 4), "scale": np.full((BLOCKS, 2, 16), 1e-3, np.float16)},
}
heads = {"heads": 6, "scale": 0.1}
cache = {
    "qkv": floats(2 * 34, 3 * WIDTH), "key": floats(40, 2, WIDTH), "value": floats(40, 2, WIDTH),
    "position": np.array([3]), "beam_table": np.random.default_rng(0).integers(0, 2, (2, 40)),
}  # fmt: skip
sources = {"query": floats(6, WIDTH), "key": floats(2, 99, WIDTH), "value": floats(2, 99, WIDTH)}
halved = {"query": floats(6, WIDTH), "key": halves(2, 6, 99, 32), "value": halves(2, 6, 99, 32)}
layer = {"x": x, "scale": floats(WIDTH), "shift": shift} | weights["Float"] | {"source": floats(1, 70, WIDTH)}
STEPS = (
    "LayerNorm 0 1 2 > 7;FloatLinearGelu 7 3 2 > 8;CrossAttention 8 4 4 > 9;FloatLinearAdd 9 3 2 0 > 10;"
    "LayerNorm 10 1 2 > 5;FloatLinear 5 3 2 > 6"
)
steps = heads | {"epsilon": 1e-5, "steps": STEPS}
NODES = [
    *(Node(f"{form}LinearGelu", {"x": x} | stored | {"bias": shift}, 1, {}) for form, stored in weights.items()),
    Node("LayerNorm", {"x": floats(200, WIDTH), "scale": floats(WIDTH), "bias": shift}, 1, {"epsilon": 1e-5}),
    Node("CachedSelfAttention", cache, 3, heads),
    Node("CrossAttention", sources, 1, heads),
    Node("HalfCrossAttention", halved, 1, heads),
    Node(DECODER_LAYER, layer, 2, steps),
    *LARGE.values(),
]


@pytest.mark.parametrize("node", NODES, ids=[node.operator for node in NODES])
def test_any_number_of_threads_gives_the_same(node: Node) -> None:
    names = [f"output_{i}" for i in range(node.outputs)]
    made = helper.make_node(node.operator, list(node.feed), names, name=NAME, domain=DOMAIN, **node.attributes)
    constants = [name for name in ("weight", "scale") if name in node.feed]
    feed = {name: array for name, array in node.feed.items() if name not in constants}
    expected = session(graph_of([made], node.feed, names, constants), threads=1).run(None, feed)
    for threads in (2, 3):
        opened = session(graph_of([made], node.feed, names, constants), threads=threads)
        with ThreadPoolExecutor(2) as pool:
            for found in pool.map(lambda _, opened=opened: opened.run(None, feed), range(6)):
                for one, other in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(one, other)
