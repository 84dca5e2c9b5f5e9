"""The same graph with its weights stored by another scheme: what `fuseline quantize` makes of an exported float graph.

What is stored anew: fused float layers (FloatLinear..., HalfLinear...) and the tables that tokens are embedded by
(FloatEmbedding, HalfEmbedding). Of an exported fp32 graph comes what the export itself writes in that scheme.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from fuseline.errors import ExportError
from fuseline.folders.tensors import width_of
from fuseline.kernels.bodies import DOMAIN, add_bodies
from fuseline.kernels.layers import ENCODER_LAYER, OPERATORS

from .graph import cross_operator, encoder_attention, key_value_type
from .weights import FLOATS, FORMATS, Array, Scheme, content_of, restore, store, table_scheme, tensor_of

LOGITS = "logits"
_FLOATS = tuple(FORMATS[scheme] for scheme in FLOATS)
_STORED = re.compile(r"(Float|Half|BFloat16|Int8|Int4)(Linear|Embedding)")


@dataclass(frozen=True)
class Matrix:
    """Weights in blocks that a fused layer or an embedding reads.

    name: the tensor's; x: the value that is multiplied by it, "" for a table that only embeds; table: it embeds tokens
    or makes logits.
    """

    name: str
    x: str
    weight_IO: Array
    table: bool

    def scheme(self, wanted: Scheme) -> Scheme:
        """Tables stay in 8 bits, or halves; see fuseline.export.graphs.graph.table."""
        return table_scheme(wanted) if self.table else wanted


def float_matrices(model: onnx.ModelProto) -> Iterator[Matrix]:
    """Every matrix once, in the order of the graph.

    Raises ExportError where one is quantized already, or is not finite.
    """
    for node in model.graph.node:
        form = form_of(node)
        if form not in (None, *_FLOATS):
            raise ExportError(
                f"{node.name} is stored as {str(form).lower()} already; quantize from a variant of floats"
            )
    return matrices(model)


def matrices(model: onnx.ModelProto) -> Iterator[Matrix]:
    """Every matrix once, in the order of the graph, tables that only embed last; of quantized ones what codes stand
    for, padded inputs included.

    Raises ExportError for weights that are not finite, and for graphs from before there were embeddings.
    """
    _check_embedding(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if form_of(node) is not None]
    embedded = {node.input[1] for node in nodes if embeds(node)}
    seen = set()
    for node in sorted(nodes, key=embeds):  # of a tied table the head tells by what it is multiplied
        name, form = node.input[1], form_of(node)
        if name in seen:
            continue
        seen.add(name)
        scale = None if form in _FLOATS else constants[node.input[2]]
        if embeds(node):
            yield Matrix(name, "", _matrix(constants[name], scale, _vocabulary(node)), True)
        else:
            bias = constants[node.input[2 if scale is None else 3]]
            matrix_IO = _matrix(constants[name], scale, bias.dims[0])
            yield Matrix(name, node.input[0], matrix_IO, name in embedded or LOGITS in node.output)


def recode(
    model: onnx.ModelProto,
    scheme: Scheme,
    moments: Mapping[str, Array] | None = None,
    others: Mapping[str, Scheme] | None = None,
    *,
    anew: bool = False,
) -> onnx.ModelProto:
    """A copy of the model with its matrices stored by `scheme`, and what a decoder keeps of a photo too.

    moments: by the value that is multiplied, for 4 bits (weights.store); others: the scheme of single
    matrices by their names; anew: take quantized matrices too, as what their codes stand for, where no layer's inputs
    were padded. Raises ExportError for what is quantized already, and for weights that are not finite.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    forms: dict[str, str] = {}
    stored: dict[str, list[onnx.TensorProto]] = {}
    for matrix in matrices(model) if anew else float_matrices(model):
        own = matrix.scheme((others or {}).get(matrix.name, scheme))
        found = store(matrix.weight_IO, own, None if matrix.table else (moments or {}).get(matrix.x))
        forms[matrix.name] = FORMATS[own]
        stored[matrix.name] = [_tensor(found.weight, matrix.name)]
        if found.scale is not None:
            stored[matrix.name].append(_tensor(found.scale, f"{matrix.name}_scale"))
    for node in made.graph.node:
        form = form_of(node)
        if form is not None:
            values = [tensor.name for tensor in stored[node.input[1]]]
            rest = 2 if form in _FLOATS else 3
            inputs = [node.input[0], *values, *node.input[rest:]]
            node.op_type = forms[node.input[1]] + node.op_type.removeprefix(form)
            del node.input[:]
            node.input.extend(inputs)
    _keep(made, scheme)
    gone = {f"{name}_scale" for name in stored}
    tensors = [tensor for tensor in made.graph.initializer if tensor.name not in gone]
    del made.graph.initializer[:]
    made.graph.initializer.extend(new for tensor in tensors for new in stored.get(tensor.name, [tensor]))
    functions = [function for function in made.functions if function.domain != DOMAIN]
    del made.functions[:]
    made.functions.extend(functions)
    return add_bodies(made)


def _keep(model: onnx.ModelProto, scheme: Scheme) -> None:
    """Let a decoder read a photo's keys and values, and an encoder attend, as the export's of this scheme do."""
    inputs, changed = {value.name: value for value in model.graph.input}, set[str]()
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type in OPERATORS[ENCODER_LAYER]:
            node.op_type = encoder_attention(node.op_type, scheme)
        kind, cross, ending = node.op_type.partition("CrossAttention")
        if node.domain != DOMAIN or not cross:
            continue
        node.op_type = cross_operator(scheme, "Padded" in kind, ending)
        heads = next(attribute.i for attribute in node.attribute if attribute.name == "heads")
        for name in node.input[1:3]:
            if name in changed:  # which a layer of several sources may read more than once
                continue
            changed.add(name)
            width = width_of(dim.dim_param or dim.dim_value for dim in inputs[name].type.tensor_type.shape.dim)
            inputs[name].CopyFrom(helper.make_tensor_value_info(name, *key_value_type(scheme, heads, width // heads)))


def errors(
    model: onnx.ModelProto, made: onnx.ModelProto, moments: Mapping[str, Array] | None = None
) -> dict[str, float]:
    """By matrix, the largest first: how much of a layer's output is rounding error, as a share of its size.

    model: of floats; made: what recode made of it; moments: see recode. A matrix without moments is judged as if its
    inputs were independent and of one size.
    """
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    found = {}
    for matrix in float_matrices(model):
        inputs, outputs = matrix.weight_IO.shape
        scale = stored.get(f"{matrix.name}_scale")
        values = [content_of(each) if each is not None else None for each in (stored[matrix.name], scale)]
        assert values[0] is not None
        error_IO = restore(values[0], values[1], inputs, outputs) - matrix.weight_IO
        moments_II = (moments or {}).get(matrix.x, 1.0)
        found[matrix.name] = float(np.sqrt(_size(error_IO, moments_II) / (_size(matrix.weight_IO, moments_II) or 1.0)))
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _size(weight_IO: Array, moments_II: Array | float) -> float:
    """The mean square of x @ weight, summed over the outputs."""
    seen_IO = moments_II @ weight_IO if isinstance(moments_II, np.ndarray) else moments_II * weight_IO
    return float((weight_IO.astype(np.float64) * seen_IO).sum())


def form_of(node: onnx.NodeProto) -> str | None:
    """Float, Half, BFloat16, Int8 or Int4 of a fused linear layer or an embedding; None for another node."""
    stored = _STORED.match(node.op_type) if node.domain == DOMAIN else None
    return None if stored is None else stored[1]


def embeds(node: onnx.NodeProto) -> bool:
    """Whether the node takes rows out of a table in blocks."""
    return node.domain == DOMAIN and node.op_type.endswith("Embedding")


def _vocabulary(embedding: onnx.NodeProto) -> int:
    size: int = next(helper.get_attribute_value(each) for each in embedding.attribute if each.name == "vocabulary")
    return size


def _check_embedding(model: onnx.ModelProto) -> None:
    """Raises ExportError where tokens are picked out of blocks by standard operators, as they once were: those would
    go on reading the blocks of the old scheme.
    """
    for node in model.graph.node:
        if node.op_type == "GatherND" and node.name.endswith("embedding/GatherND"):
            raise ExportError(
                f"{node.name} embeds tokens as an older fuseline did; export the model anew to change its scheme"
            )


def _matrix(tensor: onnx.TensorProto, scale: onnx.TensorProto | None, outputs: int) -> Array:
    """float32[I, O]. Float blocks have no padding among the inputs."""
    blocks, scales = content_of(tensor), None if scale is None else content_of(scale)
    # inputs that lie together, see fuseline_kernels.h
    together = (2 if blocks.ndim == 4 else 1) if scales is None else 4 if scales.ndim == 1 else 8
    weight_IO = restore(blocks, scales, blocks.shape[1] * together, outputs)
    if not np.isfinite(weight_IO).all():
        row, column = np.argwhere(~np.isfinite(weight_IO))[0]
        value = weight_IO[row, column]
        raise ExportError(f"{tensor.name} has {value} at input {row}, output {column}: weights must be finite numbers")
    return weight_IO


def _tensor(array: Array, name: str) -> onnx.TensorProto:
    return tensor_of(np.ascontiguousarray(array), name)
