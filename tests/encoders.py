"""Encoder graphs of small models; those that torch traces are traced once a run for each structure, which takes seconds
and depends on no weight.

The encoder is traced with a number of its own for every weight. Whatever torch and onnxscript make of a tensor while
they fold constants (transposed matrices, tables of relative positions picked out) then says which weights are in it,
and the graph of any other weights is made by putting those there.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from fuseline.export.encoders import traced as exporting
from fuseline.export.encoders.vision import write_vision
from tests.made_once import shared

# Numbers of weights begin here, above the constants of the models; up to 2**24 float32 has all integers.
FIRST = 2**20
FILE = "encoder.onnx"

_traced: dict[str, onnx.ModelProto] = {}


def export_encoder(encoder: Any, photo: Sequence[int]) -> onnx.ModelProto:
    """As fuseline.export.encoders.traced.export_encoder in float32, which traces once for each structure."""
    return write_vision(encoder, photo, exporting.HIDDEN_STATES) or traced_encoder(encoder, photo)


def traced_encoder(encoder: Any, photo: Sequence[int]) -> onnx.ModelProto:
    """As fuseline.export.encoders.traced.traced_encoder, which is called once for each structure."""
    config = encoder.config
    structure = f"{type(encoder).__name__} {config._attn_implementation} {tuple(photo)} {config.to_json_string()}"
    if structure not in _traced:
        name = f"traced {hashlib.sha256(structure.encode()).hexdigest()}"
        folder = shared(
            name, lambda place: onnx.save(exporting.traced_encoder(_numbered(encoder), photo), place / FILE)
        )
        _traced[structure] = onnx.load(folder / FILE)
    weights = np.concatenate([tensor.detach().numpy().ravel() for tensor in _floats(encoder)])
    model = onnx.ModelProto()
    model.CopyFrom(_traced[structure])
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            _put(tensor, weights)
    return model


def _numbered(encoder: Any) -> Any:
    numbered, first = copy.deepcopy(encoder), FIRST
    with torch.no_grad():
        for tensor in _floats(numbered):
            tensor.copy_(torch.arange(first, first + tensor.numel()).reshape(tensor.shape))
            first += tensor.numel()
    assert first < 2**24
    return numbered


def _floats(encoder: Any) -> list[torch.Tensor]:
    return [tensor for tensor in encoder.state_dict().values() if tensor.is_floating_point()]


def _put(tensor: onnx.TensorProto, weights: np.ndarray[Any, Any]) -> None:
    """Replace numbers by the weights of these numbers; a constant that is none of weights stays."""
    place = numpy_helper.to_array(tensor).astype(np.float64) - FIRST
    ours = (place >= 0) & (place < len(weights)) & (place % 1 == 0)
    if ours.any():
        assert ours.all(), f"{tensor.name} holds weights and other numbers"
        tensor.CopyFrom(numpy_helper.from_array(weights[place.astype(np.int64)], tensor.name))
