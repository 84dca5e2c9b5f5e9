"""Moonshine's weights out of its package's graphs, by the names of transformers' state dict, in float32.

The graphs were exported from transformers' model and quantized by onnxruntime: a matrix of 8 bits has a scale and a
zero point beside it, which are its name's with other endings. Matrices have lost their names; the nodes that multiply
by them have kept theirs, which say where in the model they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import ExportError

from .ort_format import Node, OrtGraph, read_ort

Array = npt.NDArray[Any]

_CODES, _SCALE, _ZERO = "_quantized", "_scale", "_zero_point"
_PRODUCT = re.compile(r"/(?P<place>(?:[\w.]+/)*[\w.]+)/MatMul(?:_quant)?")
_NAMED = re.compile(r"[\w.]+\.(?:weight|bias)")
# Endings of what conversions made of a weight: one of two equal ones, codes, and what they stand for.
_MADE = re.compile(r"(?:_merged_\d+)?(?:_quantized)?(?:_add_tensor)?$")
_GROUPNORM = {"/groupnorm/Mul": "groupnorm.weight", "/groupnorm/Add": "groupnorm.bias"}


def read_weights(encoder: Path, decoder: Path) -> dict[str, Array]:
    """float32 by the names of transformers' state dict. Raises ExportError for files that hold another model."""
    found = _state(read_ort(encoder), "model.encoder") | _state(read_ort(decoder), "model.decoder")
    if "model.decoder.embed_tokens.weight" not in found:
        raise ExportError(f"{decoder} holds no Moonshine: it has no embed_tokens")
    return found


def _state(graph: OrtGraph, part: str) -> dict[str, Array]:
    """The weights of one part; linear layers as [out, in]."""
    stored = graph.all_weights()
    found = {f"{part}.{name}": array for name, array in _named(stored)}
    for node in graph.all_nodes():
        for place, array in _placed(node, stored):
            name = place if place.startswith(("model.", "proj_out")) else f"{part}.{place}"
            if name in found and not np.array_equal(found[name], array):
                raise ExportError(f"the graph of Moonshine has two weights for {name}")
            found[name] = array
    return found


def _named(stored: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Weights that have kept their names."""
    for name in stored:
        whole = _MADE.sub("", name)
        if _NAMED.fullmatch(whole):
            yield whole.removeprefix("model.decoder."), _float(stored, name)


def _placed(node: Node, stored: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Weights by the node that reads them: a product's matrix, a group norm's vector."""
    product, vector = _PRODUCT.fullmatch(node.name), _GROUPNORM.get(node.name)
    if product is None and vector is None:
        return
    for name in node.inputs:
        array = stored.get(name)
        if array is None or (product is not None and array.ndim != 2):
            continue
        if product is not None:
            yield f"{product['place'].replace('/', '.')}.weight", np.ascontiguousarray(_float(stored, name).T)
        elif vector is not None:
            yield vector, _float(stored, name).reshape(-1)


def _float(stored: Mapping[str, Array], name: str) -> Array:
    """A weight, unfolded where it is stored as codes: a scale for all of it, or for each of the last dimension."""
    array = stored[name]
    if not name.endswith(_CODES):
        return array.astype(np.float32)
    base = name.removesuffix(_CODES)
    scale, zero = stored.get(base + _SCALE), stored.get(base + _ZERO)
    if scale is None or zero is None:
        raise ExportError(f"the graph of Moonshine has no scale or zero point of {name}")
    made: Array = (array.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
    return made
