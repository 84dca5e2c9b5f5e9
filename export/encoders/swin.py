"""Swin and Donut's Swin (arXiv:2103.14030, arXiv:2111.15664).

Layers attend within windows of their stage's grid of patches, every second one within windows that are shifted by half
of one; between stages four patches become one. Source: transformers' modeling_swin.py and modeling_donut_swin.py for
the arithmetic (their eager form) and the tensors' names. Grids that windows do not divide, which transformers fills up
with zeros, are left to tracing.
Names of values end in their shapes; fuseline.export.graphs.graph has the legend, P stands for places of a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from fuseline.folders.tensors import PIXEL_VALUES

from ..graphs.architecture import Pen, Sizes
from ..graphs.graph import ACTIVATIONS, Array, window_attention
from ..graphs.tensors import Tensors
from .vision_encoder import VisionEncoder
from .written import EncoderLayer

_E = "embeddings"
_EPSILON = 1e-5  # of norms that a config says nothing of: torch's own


@dataclass(frozen=True)
class Stage:
    """Layers of one width over one grid of patches."""

    index: int
    first: int
    """the number of its first layer, of all stages'"""
    depth: int
    heads: int
    width: int
    grid: tuple[int, int]
    """rows and columns of patches"""
    window: int
    """rows, and columns, of a window"""

    def shift(self, block: int) -> int:
        """By how many patches the windows of a layer are shifted, which they are not where one is all of a side."""
        return self.window // 2 if block % 2 and min(self.grid) > self.window else 0


class Swin(VisionEncoder):
    """An encoder of one architecture, of a model of transformers alone, whose tensors it knows by their names there."""

    title = "Swin"
    projection = f"{_E}.patch_embeddings.projection"
    norm_after = "layernorm"
    unused = r".*\.relative_position_index$|embeddings\.mask_token$"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.of = {**self.defaults, **config}
        self.stages = self._read_stages()
        self.sizes = self._read_sizes()

    def takes(self) -> bool:
        """Whether patches, windows and fours of patches leave nothing over."""
        divided = [size % patch == 0 for size, patch in zip(self.photo(), self.patch(), strict=True)]
        divided += [size % stage.window == 0 for stage in self.stages for size in stage.grid]
        divided += [size % 2 == 0 for stage in self.stages[:-1] for size in stage.grid]
        return all(divided) and not self.of["use_absolute_embeddings"]

    def _read_stages(self) -> list[Stage]:
        of, stages = self.of, list[Stage]()
        (height, width), (down, across) = self.photo(), self.patch()
        for index, (depth, heads) in enumerate(zip(of["depths"], of["num_heads"], strict=False)):
            first = sum(stage.depth for stage in stages)
            grid = (height // down >> index, width // across >> index)
            stages.append(
                Stage(index, first, depth, heads, int(of["embed_dim"]) << index, grid, int(of["window_size"]))
            )
        return stages

    def _read_sizes(self) -> Sizes:
        """Of the last stage, but for the number of all layers."""
        of, last = self.of, self.stages[-1]
        if of["hidden_act"] not in ACTIVATIONS:
            raise self.refuse(f"has hidden_act {of['hidden_act']!r}, which is not known")
        return Sizes(
            layers=last.first + last.depth,
            heads=last.heads,
            head_size=self._head_size(last.width, last.heads),
            width=last.width,
            inner=self._inner(last),
            vocab_size=0,
            positions=last.grid[0] * last.grid[1],
            activation=ACTIVATIONS[of["hidden_act"]],
            epsilon=float(of["layer_norm_eps"]),
            tied=False,
        )

    def _head_size(self, width: int, heads: int) -> int:
        if heads < 1 or width % heads:
            raise self.refuse(f"has a width of {width}, which is not a multiple of {heads} heads")
        return width // heads

    def _inner(self, stage: Stage) -> int:
        return int(self.of["mlp_ratio"] * stage.width)

    def tensors(self) -> Tensors:
        first = self.stages[0].width
        wanted = Tensors(norms={f"{_E}.norm": first})
        wanted.others[f"{self.tokens}.weight"] = (first, int(self.of["num_channels"]), *self.patch())
        wanted.others[f"{self.tokens}.bias"] = (first,)
        if self.norm_after:
            wanted.norms[self.norm_after] = self.sizes.width
        for stage in self.stages:
            for block in range(stage.depth):
                self._layer_tensors(stage, _at(stage, block), wanted)
            if stage is not self.stages[-1]:
                wanted.norms[f"{_merging(stage)}.norm"] = 4 * stage.width
                wanted.matrices[f"{_merging(stage)}.reduction"] = (4 * stage.width, 2 * stage.width)
        return wanted

    def _layer_tensors(self, stage: Stage, at: str, wanted: Tensors) -> None:
        width, inner = stage.width, self._inner(stage)
        parts = wanted.linears if self.of["qkv_bias"] else wanted.matrices
        parts.update({f"{at}.attention.self.{part}": (width, width) for part in ("query", "key", "value")})
        wanted.linears[f"{at}.attention.output.dense"] = (width, width)
        wanted.linears[f"{at}.intermediate.dense"] = (width, inner)
        wanted.linears[f"{at}.output.dense"] = (inner, width)
        wanted.norms.update({f"{at}.layernorm_before": width, f"{at}.layernorm_after": width})
        wanted.others[_bias(at)] = ((2 * stage.window - 1) ** 2, stage.heads)

    def begin(self, pen: Pen) -> tuple[str, str]:
        g, patch = pen.g, list(self.patch())
        pixels = g.input(PIXEL_VALUES, TensorProto.FLOAT, ["B", int(self.of["num_channels"]), *self.photo()])
        inputs = [g.weight(name, pen.weights[name]) for name in (f"{self.tokens}.weight", f"{self.tokens}.bias")]
        found = g.op("Conv", pixels, *inputs, kernel_shape=patch, strides=patch)
        flat_BES = g.op("Reshape", found, g.ints(0, self.stages[0].width, -1))
        embedded_BSE = g.op("Transpose", flat_BES, perm=[0, 2, 1])
        return replace(pen, epsilon=_EPSILON).norm(embedded_BSE, f"{_E}.norm"), ""  # nothing has a length

    def between(self, pen: Pen, index: int, hidden_BSE: str) -> str:
        stage = self._stage(index)
        if index > stage.first or stage is self.stages[0]:
            return hidden_BSE
        return self._merged(pen, self.stages[stage.index - 1], hidden_BSE)

    def _merged(self, pen: Pen, stage: Stage, hidden_BSE: str) -> str:
        """Four patches side by side become one of the next stage, in the order up, down, left before right."""
        g, (rows, columns), width = pen.g, stage.grid, stage.width
        parts = g.op("Reshape", hidden_BSE, g.ints(0, rows // 2, 2, columns // 2, 2, width))
        fours = g.op("Transpose", parts, perm=[0, 1, 3, 4, 2, 5])
        fours_BSI = g.op("Reshape", fours, g.ints(0, rows * columns // 4, 4 * width))
        normed_BSI = replace(pen, epsilon=_EPSILON).norm(fours_BSI, f"{_merging(stage)}.norm")
        return pen.linear(normed_BSI, f"{_merging(stage)}.reduction")

    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        stage = self._stage(pen.index)
        block = pen.index - stage.first
        at = _at(stage, block)
        qkv = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        qkv_BS3E = pen.linear(pen.norm(hidden_BSE, f"{at}.layernorm_before"), *qkv, name=f"{at}.attention.self.qkv")
        mixed_BSE = self._attention(pen, stage, block, qkv_BS3E)
        hidden_BSE = pen.linear(mixed_BSE, f"{at}.attention.output.dense", residual=hidden_BSE)
        normed_BSE = pen.norm(hidden_BSE, f"{at}.layernorm_after")
        inner_BSI = pen.linear(normed_BSE, f"{at}.intermediate.dense", activation=self.sizes.activation)
        return pen.linear(inner_BSI, f"{at}.output.dense", residual=hidden_BSE)

    def _attention(self, pen: EncoderLayer, stage: Stage, block: int, qkv_BS3E: str) -> str:
        g, shift, scale = pen.g, stage.shift(block), float((stage.width // stage.heads) ** -0.5)
        name = f"stage.{stage.index}/{'shifted' if shift else 'plain'}"
        windows_WP = g.constant(f"{name}_windows", windows_of(stage.grid, stage.window, shift))
        regions_WP = g.constant(f"{name}_regions", regions_of(stage.grid, stage.window, shift))
        table = pen.weights[_bias(_at(stage, block))]  # of distances down and across
        bias_HPP = table[distances_of(stage.window)].transpose(2, 0, 1)
        place_bias_HPP = g.weight(_bias(_at(stage, block)), bias_HPP)
        return window_attention(g, qkv_BS3E, windows_WP, regions_WP, place_bias_HPP, stage.heads, scale, pen.scheme)

    def _stage(self, layer: int) -> Stage:
        return next(stage for stage in reversed(self.stages) if stage.first <= layer)


class DonutSwin(Swin):
    """Donut's, without a norm after all layers."""

    title = "Donut"
    norm_after = ""


def _at(stage: Stage, block: int) -> str:
    return f"encoder.layers.{stage.index}.blocks.{block}"


def _merging(stage: Stage) -> str:
    return f"encoder.layers.{stage.index}.downsample"


def _bias(at: str) -> str:
    return f"{at}.attention.self.relative_position_bias_table"


def windows_of(grid: tuple[int, int], window: int, shift: int) -> Array:
    """int64[W, P]: the positions of each window of a grid that was rolled by `shift` up and to the left."""
    positions = np.arange(grid[0] * grid[1]).reshape(grid)
    return _in_windows(np.roll(positions, (-shift, -shift), (0, 1)), window)


def regions_of(grid: tuple[int, int], window: int, shift: int) -> Array:
    """int64[W, P]: what came from opposite edges of the grid by rolling has different ones in a window."""
    rows, columns = (np.arange(size) >= size - shift for size in grid)
    return _in_windows(2 * rows[:, None].astype(np.int64) + columns, window)


def distances_of(window: int) -> Array:
    """int64[P, P]: the row of a table that is for the distances, down and across, of a query's place from a key's."""
    places = np.stack(np.divmod(np.arange(window * window), window))
    down, across = places[:, :, None] - places[:, None] + window - 1
    found: Array = down * (2 * window - 1) + across
    return found


def _in_windows(values: Array, window: int) -> Array:
    rows, columns = (size // window for size in values.shape)
    parts = values.reshape(rows, window, columns, window).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(parts.reshape(rows * columns, window * window))
