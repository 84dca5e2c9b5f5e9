"""Reads the tensors of a checkpoint, and checks that they, and an encoder graph, have the shapes that a part needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto

from fuseline.errors import ExportError

from .graph import APPENDABLE_OPSETS, Array


@dataclass(frozen=True)
class Tensors:
    """Which tensors there must be.

    linears: (in, out) by name, a weight and a bias each; matrices: likewise, without biases; norms: E by name, a weight
    and a bias each; others: shapes by the whole name; perhaps: likewise, which may be missing.
    """

    linears: dict[str, tuple[int, int]] = field(default_factory=dict)
    matrices: dict[str, tuple[int, int]] = field(default_factory=dict)
    norms: dict[str, int] = field(default_factory=dict)
    others: dict[str, tuple[int, ...]] = field(default_factory=dict)
    perhaps: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def names(self) -> set[str]:
        """The names of all of them, .weight and .bias included."""
        return set(_shapes(self))


def read_tensors(
    what: str, state_dict: Mapping[str, Array], wanted: Tensors, source: Callable[[str], str], *, out_in: bool
) -> dict[str, Array]:
    """The tensors wanted, float32, linear layers as [in, out].

    what: whose they are, "BART decoder"; source: the name in the state dict of a tensor's name; out_in: linear layers
    lie there as [out, in].
    Raises one ExportError that names every tensor that is missing or has another shape. Others in the state dict are
    ignored: old checkpoints carry causal masks.
    """
    weights: dict[str, Array] = {}
    problems: list[str] = []
    transposed = {f"{name}.weight" for name in (*wanted.linears, *wanted.matrices)} if out_in else set()
    for name, shape in _shapes(wanted).items():
        expected = shape[::-1] if name in transposed else shape
        array = state_dict.get(source(name))
        if array is None:
            if name not in wanted.perhaps:
                problems.append(f"{source(name)} is missing")
        elif array.shape != expected:
            problems.append(f"{source(name)} is {list(array.shape)} and must be {list(expected)}")
        else:
            values = np.asarray(array, np.float32)
            weights[name] = values.T if name in transposed else values
    if problems:
        raise ExportError(f"the {what}'s tensors do not fit its config: {'; '.join(problems)}")
    return weights


def _shapes(wanted: Tensors) -> dict[str, tuple[int, ...]]:
    shapes = wanted.others | wanted.perhaps
    for name, width in wanted.norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    for name, (inputs, outputs) in wanted.linears.items():
        shapes |= {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}
    return shapes | {f"{name}.weight": dims for name, dims in wanted.matrices.items()}


def check_hidden(model: onnx.ModelProto, hidden_name: str, width: int) -> None:
    """Raises ExportError if the encoder graph has no float32[B, S, width] of that name, or an opset of another form."""
    opset = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
    if opset not in APPENDABLE_OPSETS:
        low, high = APPENDABLE_OPSETS[0], APPENDABLE_OPSETS[-1]
        raise ExportError(f"the encoder graph has ONNX opset {opset}; it must be {low} to {high}")
    values = [*model.graph.output, *model.graph.value_info]
    hidden = next((value.type.tensor_type for value in values if value.name == hidden_name), None)
    if hidden is None:
        outputs = [value.name for value in model.graph.output]
        raise ExportError(f"the encoder graph has no value {hidden_name!r}; its outputs are {outputs}")
    dims = [dim.dim_param or dim.dim_value for dim in hidden.shape.dim]
    if hidden.elem_type != TensorProto.FLOAT or len(dims) != 3 or dims[2] != width:
        kind = TensorProto.DataType.Name(hidden.elem_type).lower()
        raise ExportError(f"the encoder's {hidden_name!r} is {kind}{dims} and must be float[B, S, {width}]")
