"""Convolutions in rows of channels against their bodies and against numpy in float64, for every instruction set.

Between the layers of a bottleneck lie codes. Where a sum lies so near the middle of two codes that float32 cannot tell
them apart, either is right: a result may be off by what the other code makes of it, which the oracle adds up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from onnx import TensorProto

from fuseline.export.graphs.convolutions import Convolution, bottleneck, conv_relu6
from fuseline.export.graphs.graph import Graph, new_graph
from fuseline.export.graphs.weights import quantize_columns
from fuseline.kernels import library_info

from .nodes import NODES, Array, floats
from .nodes import run as run_node
from .test_operators import ISAS, run, using

pytestmark = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")

STEP = np.float32(6 / 127)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    with using(request.param):
        yield request.param


def windows(x_YXC: Array, kernel: int, stride: int) -> Array:
    """float64[Y', X', K, K, C]: what each result is made of, with zeros around as TensorFlow's SAME has them."""
    results = [-(-size // stride) for size in x_YXC.shape[:2]]
    zeros = [max(0, (r - 1) * stride + kernel - size) for r, size in zip(results, x_YXC.shape, strict=False)]
    padded = np.pad(x_YXC.astype(np.float64), [(z // 2, z - z // 2 + stride) for z in zeros] + [(0, 0)])
    return np.stack(
        [[padded[y * stride :, x * stride :][:kernel, :kernel] for x in range(results[1])] for y in range(results[0])]
    )


def conv(outputs: int, inputs: int, kernel: int) -> Convolution:
    weight = floats(outputs, inputs, kernel, kernel) * np.float32((inputs * kernel * kernel) ** -0.5)
    return Convolution(weight.astype(np.float32), floats(outputs))


@pytest.mark.parametrize(
    ("images", "channels", "height", "width", "outputs", "kernel", "stride"),
    [
        (2, 3, 16, 16, 32, 3, 2),
        (1, 3, 7, 9, 5, 3, 2),
        (1, 1, 5, 4, 17, 5, 1),
        (3, 2, 1, 3, 48, 4, 3),
        (0, 3, 8, 8, 8, 3, 1),
    ],
)
def test_convolution_of_planes(
    isa: str, images: int, channels: int, height: int, width: int, outputs: int, kernel: int, stride: int
) -> None:
    x, layer = floats(images, channels, height, width), conv(outputs, channels, kernel)
    g = new_graph("one")
    y = conv_relu6(g, g.input("x", TensorProto.FLOAT, ["B", "C", "Y", "X"]), layer, stride, "conv")
    g.output(y, TensorProto.FLOAT, ["B", "Y", "X", outputs])
    [found], [of_body] = run(g, {"x": x}, fused=True), run(g, {"x": x}, fused=False)
    np.testing.assert_allclose(found, of_body, rtol=1e-5, atol=1e-5)
    for image, result in zip(x, found, strict=True):
        of_each = windows(image.transpose(1, 2, 0), kernel, stride)
        sums = np.einsum("yxijc,ocij->yxo", of_each, layer.weight.astype(np.float64)) + layer.bias
        np.testing.assert_allclose(result, np.clip(sums, 0, 6), rtol=1e-5, atol=1e-5)


@dataclass(frozen=True)
class Case:
    """An inverted bottleneck, or without `expand` a depthwise separable convolution."""

    height: int
    width: int
    expand: Convolution | None
    depthwise: Convolution
    project: Convolution
    stride: int
    adds: bool = False

    def graph(self) -> Graph:
        g = new_graph("one")
        first = self.depthwise if self.expand is None else self.expand
        channels = len(first.weight) if self.expand is None else first.weight.shape[1]
        x = g.input("x", TensorProto.FLOAT, ["B", self.height, self.width, channels])
        y = bottleneck(g, x, self.expand, self.depthwise, self.project, self.stride, self.adds, "block")
        g.output(y, TensorProto.FLOAT, ["B", "Y", "X", len(self.project.weight)])
        return g

    def exact(self, x_YXC: Array) -> tuple[Array, Array]:
        """Results in float64, and by how much codes on the edge may move them."""
        wide = x_YXC.astype(np.float64)
        if self.expand is not None:
            step = np.maximum(np.abs(x_YXC).max(-1, keepdims=True) * np.float32(1 / 127), np.float32(1e-30))
            read = np.rint(x_YXC / step).astype(np.float64) * step
            wide = np.clip(read @ stored(self.expand) + self.expand.bias, 0, 6)
        window = self.depthwise.weight[:, 0].astype(np.float16).astype(np.float64)  # as the graph keeps it
        sums = np.einsum("yxijm,mij->yxm", windows(wide, window.shape[1], self.stride), window) + self.depthwise.bias
        code = np.clip(sums, 0, 6) * 127 / 6
        unsure = np.abs(code % 1 - 0.5) < 2e-4  # of at most 127, sums of at most some ten numbers below 6
        matrix = stored(self.project)
        y = np.rint(code) * STEP @ matrix + self.project.bias
        return y + x_YXC if self.adds else y, (unsure * STEP) @ np.abs(matrix)

    def check(self, images: int) -> None:
        channels = len(self.depthwise.weight) if self.expand is None else self.expand.weight.shape[1]
        x = floats(images, self.height, self.width, channels)
        [found], [of_body] = run(self.graph(), {"x": x}, fused=True), run(self.graph(), {"x": x}, fused=False)
        [alone] = run(self.graph(), {"x": x}, fused=True, threads=1)
        np.testing.assert_array_equal(found, alone)
        for image, *results in zip(x, found, of_body, strict=True):
            y, away = self.exact(image)
            for result in results:
                assert result.shape == y.shape
                assert (np.abs(result - y) <= 2e-5 + 1e-5 * np.abs(y) + away).all()


def stored(layer: Convolution) -> Array:
    codes, scale = quantize_columns(layer.matrix())
    values: Array = (codes.astype(np.float64) - 128) * scale
    return values


def case(
    height: int, width: int, channels: int, middle: int, outputs: int, kernel: int, stride: int, adds: bool = False
) -> Case:
    """channels 0: without a layer that widens them."""
    expand = conv(middle, channels, 1) if channels else None
    return Case(height, width, expand, conv(middle, 1, kernel), conv(outputs, middle, 1), stride, adds)


@pytest.mark.parametrize(
    ("of", "images"),
    [
        (case(8, 8, 16, 96, 24, 3, 2), 2),
        (case(15, 15, 24, 144, 24, 5, 1, adds=True), 1),
        (case(9, 7, 5, 20, 5, 3, 1, adds=True), 3),
        (case(6, 11, 13, 33, 17, 5, 2), 1),
        (case(1, 1, 3, 16, 2, 5, 1), 2),
        (case(5, 6, 4, 32, 8, 4, 3), 1),  # a kernel and a stride that no instruction set has code of its own for
        (case(3, 4, 7, 16, 7, 1, 2), 1),  # windows that do not touch
        (case(12, 10, 0, 32, 16, 3, 1), 1),
        (case(4, 3, 0, 19, 3, 5, 2), 2),
        (case(20, 33, 6, 512, 6, 5, 1, adds=True), 2),  # several bands
        (case(8, 8, 4, 16, 4, 3, 1), 0),
    ],
)
def test_bottleneck(isa: str, of: Case, images: int) -> None:
    of.check(images)


def test_random_bottlenecks(isa: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(25):
        height, width, channels, middle, outputs = (int(rng.integers(1, most)) for most in (14, 14, 40, 70, 40))
        kernel, stride = int(rng.integers(1, 8)), int(rng.integers(1, 4))
        case(height, width, channels, middle, outputs, kernel, stride).check(int(rng.integers(1, 3)))


def test_the_result_of_an_image_depends_on_no_other(isa: str) -> None:
    of = case(9, 9, 8, 48, 8, 3, 1, adds=True)
    x = floats(3, 9, 9, 8)
    [together] = run(of.graph(), {"x": x}, fused=True)
    [alone] = run(of.graph(), {"x": x[1:2]}, fused=True)
    np.testing.assert_array_equal(together[1:2], alone)


SENTENCES = "weights, scales, biases, channels, group and strides do not fit x"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": floats(2, 6, 5, 6)}, SENTENCES),
        ({"depthwise": floats(3, 2, 20)}, SENTENCES),
        ({"depthwise": floats(16, 16, 20)}, "sizes that it does not take"),
        ({"depthwise_bias": floats(19)}, SENTENCES),
        ({"project_scale": np.zeros(5, np.float32)}, "a scale of the weights is zero or not finite"),
        ({"expand_scale": np.full(20, np.inf, np.float32)}, "a scale of the weights is zero or not finite"),
        ({"project_bias": floats(4)}, SENTENCES),
    ],
)
def test_what_does_not_fit(changes: dict[str, Array], sentence: str) -> None:
    node = NODES["Int8InvertedBottleneckAdd"]
    with pytest.raises(Exception, match=sentence):
        run_node(node, changes)


def test_x_is_added_only_where_it_fits() -> None:
    node = NODES["Int8InvertedBottleneckAdd"]
    with pytest.raises(Exception, match=SENTENCES):
        run_node(node, attributes=dict(node.attributes) | {"strides": [2, 2]})


def test_a_separable_convolution_has_no_residual() -> None:
    with pytest.raises(ValueError, match="no residual"):
        bottleneck(new_graph("one"), "x", None, conv(16, 1, 3), conv(16, 16, 1), 1, True, "block")
