"""ViT and DeiT (arXiv:2010.11929, arXiv:2012.12877) written from their weights, as torch.onnx.export would write them.

Tracing gives the same graph, and takes a third of the time of an export. What is not quite as expected is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto

from ..graphs.graph import ACTIVATIONS, Graph, model_of, new_graph
from ..graphs.weights import Array

if TYPE_CHECKING:
    import torch

# Class of transformers, and what it puts before the patches.
_FIRST = {"ViTModel": ("cls_token",), "DeiTModel": ("cls_token", "distillation_token")}
_GELUS = {"gelu": "none", "gelu_tanh": "tanh"}  # activation to ONNX's approximate
_PREFIX = "encoder."  # of the names that the checkpoint has
_UNUSED = re.compile(r"pooler\.|embeddings\.mask_token$")  # of the hidden states


def write_vit(encoder: torch.nn.Module, photo: Sequence[int], result: str) -> onnx.ModelProto | None:
    """pixel_values float32[B, C, height, width] -> `result` float32[B, S, E]; None for what must be traced.

    encoder: a model of transformers; photo: height and width, which the graph is fixed to.
    """
    first, config = _FIRST.get(type(encoder).__name__), getattr(encoder, "config", None)
    if first is None or config is None or ACTIVATIONS.get(config.hidden_act) not in _GELUS:
        return None
    weights = {name: tensor.numpy() for name, tensor in encoder.state_dict().items() if not _UNUSED.search(name)}
    if {name: array.shape for name, array in weights.items()} != _shapes(config, first, photo):
        return None
    return _Vit(config, weights, photo).write(first, result)


def _shapes(config: Any, first: Sequence[str], photo: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The tensors that such a model has."""
    width, inner, (height, across) = config.hidden_size, config.intermediate_size, _pair(config.patch_size)
    patches = (photo[0] // height) * (photo[1] // across)
    shapes: dict[str, tuple[int, ...]] = {f"embeddings.{name}": (1, 1, width) for name in first}
    shapes["embeddings.position_embeddings"] = (1, patches + len(first), width)
    shapes["embeddings.patch_embeddings.projection.weight"] = (width, config.num_channels, height, across)
    shapes["embeddings.patch_embeddings.projection.bias"] = (width,)

    def pair(name: str, weight: tuple[int, ...], bias: bool = True) -> None:
        shapes[f"{name}.weight"] = weight
        if bias:
            shapes[f"{name}.bias"] = weight[:1]

    for layer in (f"encoder.layer.{index}" for index in range(config.num_hidden_layers)):
        for part in ("query", "key", "value"):
            pair(f"{layer}.attention.attention.{part}", (width, width), config.qkv_bias)
        pair(f"{layer}.attention.output.dense", (width, width))
        pair(f"{layer}.intermediate.dense", (inner, width))
        pair(f"{layer}.output.dense", (width, inner))
        pair(f"{layer}.layernorm_before", (width,))
        pair(f"{layer}.layernorm_after", (width,))
    pair("layernorm", (width,))
    return shapes


class _Vit:
    """The graph while it is written."""

    def __init__(self, config: Any, weights: Mapping[str, Array], photo: Sequence[int]) -> None:
        self._config, self._weights, self._photo = config, weights, photo
        self._g: Graph = new_graph("encoder")

    def write(self, first: Sequence[str], result: str) -> onnx.ModelProto:
        g, config = self._g, self._config
        pixel_values = g.input("pixel_values", TensorProto.FLOAT, ["B", config.num_channels, *self._photo])
        hidden_BSE = self._embedded(pixel_values, first)
        for index in range(config.num_hidden_layers):
            hidden_BSE = self._layer(hidden_BSE, f"encoder.layer.{index}")
        positions = self._weights["embeddings.position_embeddings"].shape[1]
        g.output(self._norm(hidden_BSE, "layernorm", result), TensorProto.FLOAT, ["B", positions, config.hidden_size])
        return model_of(g)

    def _embedded(self, pixel_values: str, first: Sequence[str]) -> str:
        """Patches behind the tokens of their own, each with its place."""
        g, width, name = self._g, self._config.hidden_size, "embeddings.patch_embeddings.projection"
        patch = list(_pair(self._config.patch_size))
        weight, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        patches = g.op("Conv", pixel_values, weight, bias, kernel_shape=patch, strides=patch)
        patches_BEP = g.op("Reshape", patches, g.ints(0, width, -1))
        shape = g.op("Concat", g.op("Shape", pixel_values, start=0, end=1), g.ints(1, width), axis=0)
        tokens = [g.op("Expand", self._weight(f"embeddings.{each}"), shape) for each in first]
        all_BSE = g.op("Concat", *tokens, g.op("Transpose", patches_BEP, perm=[0, 2, 1]), axis=1)
        return g.op("Add", all_BSE, self._weight("embeddings.position_embeddings"))

    def _layer(self, hidden_BSE: str, at: str) -> str:
        g = self._g
        with g.scope(at):
            mixed_BSE = self._attention(self._norm(hidden_BSE, f"{at}.layernorm_before"), f"{at}.attention")
            hidden_BSE = g.op("Add", mixed_BSE, hidden_BSE)
            inner = self._linear(self._norm(hidden_BSE, f"{at}.layernorm_after"), f"{at}.intermediate.dense")
            inner = g.op("Gelu", inner, approximate=_GELUS[ACTIVATIONS[self._config.hidden_act]])
            return g.op("Add", self._linear(inner, f"{at}.output.dense"), hidden_BSE)

    def _attention(self, hidden_BSE: str, at: str) -> str:
        g, width, heads = self._g, self._config.hidden_size, self._config.num_attention_heads

        def headed(part: str, perm: list[int]) -> str:
            found_BSE = self._linear(hidden_BSE, f"{at}.attention.{part}")
            return g.op("Transpose", g.op("Reshape", found_BSE, g.ints(0, -1, heads, width // heads)), perm=perm)

        key_BHDS, value_BHSD = headed("key", [0, 2, 3, 1]), headed("value", [0, 2, 1, 3])
        scores = g.op("MatMul", headed("query", [0, 2, 1, 3]), key_BHDS)
        scores = g.op("Mul", scores, g.scalar((width // heads) ** -0.5, np.float32))
        mixed_BHSD = g.op("MatMul", g.op("Softmax", scores, axis=-1), value_BHSD)
        mixed_BSHD = g.op("Transpose", mixed_BHSD, perm=[0, 2, 1, 3])
        return self._linear(g.op("Reshape", mixed_BSHD, g.ints(0, -1, width)), f"{at}.output.dense")

    def _linear(self, x: str, name: str) -> str:
        g = self._g
        product = g.op("MatMul", x, g.weight(f"{_PREFIX}{name}.weight", self._weights[f"{name}.weight"].T))
        return g.op("Add", product, self._weight(f"{name}.bias")) if f"{name}.bias" in self._weights else product

    def _norm(self, x: str, name: str, result: str = "") -> str:
        weight, bias, epsilon = (
            self._weight(f"{name}.weight"),
            self._weight(f"{name}.bias"),
            self._config.layer_norm_eps,
        )
        return self._g.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon, name=result)

    def _weight(self, name: str) -> str:
        return self._g.weight(f"{_PREFIX}{name}", self._weights[name])


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
