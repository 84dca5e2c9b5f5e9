"""BEiT and Data2Vec's (arXiv:2106.08254, arXiv:2202.03555): as ViT, with a bias for how far apart two patches are.

Source: transformers' modeling_beit.py and modeling_data2vec_vision.py for the arithmetic (their eager form) and the
tensors' names. Photos of another size than the model's, and such that are not square, for which transformers resizes
its tables, are left to tracing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ..graphs.architecture import Pen
from ..graphs.graph import Array, window_attention
from ..graphs.tensors import Tensors
from .swin import distances_of
from .vision_encoder import VisionEncoder
from .vit import Vit
from .written import EncoderLayer

_TABLE = "relative_position_bias.relative_position_bias_table"
_SHARED = f"encoder.{_TABLE}"
_SCALED = {"lambda_1": "attention.output.dense", "lambda_2": "output.dense"}  # what a layer's scales are of


class Beit(VisionEncoder):
    """A token for the whole photo before the patches; distances of a layer's own, or of all, or both."""

    title = "BEiT"
    layers = Vit.layers
    names = Vit.names
    projection = Vit.projection
    first: ClassVar = Vit.first
    positions = Vit.positions
    norm_after = "layernorm"

    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        (height, width), (down, across) = self.photo(), self.patch()
        return height // down, width // across

    def takes(self) -> bool:
        rows, columns = self.grid()
        return super().takes() and rows == columns

    def tensors(self) -> Tensors:
        wanted = super().tensors()
        if self.of["use_mean_pooling"]:
            del wanted.norms[self.norm_after]
        tables = [_SHARED] if self.of["use_shared_relative_position_bias"] else []
        for at in map(self.at, range(self.sizes.layers)):
            key = f"{at}attention.attention.key"
            wanted.matrices[key] = wanted.linears.pop(key)
            if self.of["layer_scale_init_value"] > 0:
                wanted.others.update({at + scale: (self.sizes.width,) for scale in _SCALED})
            tables += [_own(at)] if self.of["use_relative_position_bias"] else []
        wanted.others.update(dict.fromkeys(tables, ((2 * self.grid()[0] - 1) ** 2 + 3, self.sizes.heads)))
        return wanted

    def embedding_tensors(self) -> dict[str, tuple[int, ...]]:
        found = super().embedding_tensors()
        if not self.of["use_absolute_position_embeddings"]:
            del found[self.positions[0]]
        return found

    def _weights(self, state_dict: Mapping[str, Array]) -> dict[str, Array]:
        """As the others', with the scales of what a layer adds in the weights that make it."""
        weights = super()._weights(state_dict)
        for at in map(self.at, range(self.sizes.layers)):
            for scale, linear in _SCALED.items():
                if (scale_E := weights.pop(at + scale, None)) is not None:
                    for part in ("weight", "bias"):
                        weights[f"{at}{linear}.{part}"] = weights[f"{at}{linear}.{part}"] * scale_E
        return weights

    def placed(self, weights: Mapping[str, Array]) -> tuple[Array, Array]:
        if self.of["use_absolute_position_embeddings"]:
            return super().placed(weights)
        [first] = self.first
        return weights[first].reshape(1, -1), np.zeros((1, self.sizes.width), np.float32)

    def attention(self, pen: EncoderLayer, qkv_BS3E: str, scale: float) -> str:
        own, weights = _own(self.at(pen.index)), pen.weights
        tables = [weights[name] for name in (own, _SHARED) if name in weights]
        if not tables:
            return super().attention(pen, qkv_BS3E, scale)
        g, positions = pen.g, np.arange(self.sizes.positions)[None]
        windows, regions = g.constant("all_positions", positions), g.constant("one_region", np.zeros_like(positions))
        bias_HSS = np.sum(tables, axis=0)[_distances(self.grid()[0])].transpose(2, 0, 1)
        bias = g.weight(own, bias_HSS) if own in weights else g.constant(_SHARED, bias_HSS)
        return window_attention(g, qkv_BS3E, windows, regions, bias, self.sizes.heads, scale, pen.scheme)

    def finish(self, pen: Pen, hidden_BSE: str) -> str:
        return hidden_BSE if self.of["use_mean_pooling"] else super().finish(pen, hidden_BSE)


def _own(at: str) -> str:
    return f"{at}attention.attention.{_TABLE}"


def _distances(side: int) -> Array:
    """int64[S, S]: the row of a table for a query and a key, of which the first is the token for the whole photo."""
    rows = (2 * side - 1) ** 2
    index = np.full((side * side + 1,) * 2, rows, np.int64)  # from that token to a patch
    index[:, 0] = rows + 1  # to it
    index[0, 0] = rows + 2
    index[1:, 1:] = distances_of(side)
    return index
