"""The same graph with its weights stored by another scheme: what `fuseline quantize` makes of an exported float graph.

What is stored anew: fused float layers (FloatLinear..., HalfLinear...) and the tables that tokens are embedded by, as
fuseline.export.graph writes them. Of an exported fp32 graph comes what the export itself writes in that scheme.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from fuseline.errors import ExportError
from fuseline.kernels.bodies import DOMAIN, add_bodies

from .graph import Graph, Table, embedding
from .weights import FORMATS, Array, Scheme, restore, store

LOGITS = "logits"
_FLOATS = ("Float", "Half")


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
        """Tables stay in 8 bits; see fuseline.export.graph.table."""
        return "int8" if wanted == "int4" and self.table else wanted


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
    """Every matrix once, in the order of the graph; of quantized ones what codes stand for, padded inputs included.

    Raises ExportError for weights that are not finite.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    embedded = [node.input[0] for node in pickers(model)]
    seen = set()
    for node in model.graph.node:
        form = form_of(node)
        if form is None or node.input[1] in seen:
            continue
        name = node.input[1]
        seen.add(name)
        scale = None if form in _FLOATS else constants[node.input[2]]
        bias = constants[node.input[2 if scale is None else 3]]
        matrix_IO = _matrix(constants[name], scale, bias.dims[0])
        yield Matrix(name, node.input[0], matrix_IO, name in embedded or LOGITS in node.output)
    for name in embedded:
        if name not in seen:
            scale = constants.get(f"{name}_scale")
            yield Matrix(name, "", _matrix(constants[name], scale, _vocab_size(model)), True)


def recode(
    model: onnx.ModelProto,
    scheme: Scheme,
    moments: Mapping[str, Array] | None = None,
    others: Mapping[str, Scheme] | None = None,
    *,
    anew: bool = False,
) -> onnx.ModelProto:
    """A copy of the model with its matrices stored by `scheme`.

    moments: by the value that is multiplied, for 4 bits (fuseline.export.weights.store); others: the scheme of single
    matrices by their names; anew: take quantized matrices too, as what their codes stand for, where no layer's inputs
    were padded. Raises ExportError for what is quantized already, and for weights that are not finite.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    forms: dict[str, str] = {}
    stored: dict[str, list[onnx.TensorProto]] = {}
    widths: dict[str, int] = {}
    for matrix in matrices(model) if anew else float_matrices(model):
        own = matrix.scheme((others or {}).get(matrix.name, scheme))
        found = store(matrix.weight_IO, own, None if matrix.table else (moments or {}).get(matrix.x))
        forms[matrix.name], widths[matrix.name] = FORMATS[own], len(matrix.weight_IO)
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
    gone = {f"{name}_scale" for name in stored}
    tensors = [tensor for tensor in made.graph.initializer if tensor.name not in gone]
    _keep(made, [new for tensor in tensors for new in stored.get(tensor.name, [tensor])])
    for picker in pickers(made):
        name = picker.input[0]
        table = Table(forms[name], name, f"{name}_scale", widths[name], _vocab_size(model))
        scope = picker.name.rpartition("/")[0] + "/"

        def embed(g: Graph, ids: str, table: Table = table) -> str:
            return embedding(g, ids, table)

        embed_anew(made, scope, [table.weight, table.scale], embed)
    functions = [function for function in made.functions if function.domain != DOMAIN]
    del made.functions[:]
    made.functions.extend(functions)
    return add_bodies(made)


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
        values = [numpy_helper.to_array(each) if each is not None else None for each in (stored[matrix.name], scale)]
        assert values[0] is not None
        error_IO = restore(values[0], values[1], inputs, outputs) - matrix.weight_IO
        moments_II = (moments or {}).get(matrix.x, 1.0)
        found[matrix.name] = float(np.sqrt(_size(error_IO, moments_II) / (_size(matrix.weight_IO, moments_II) or 1.0)))
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _size(weight_IO: Array, moments_II: Array | float) -> float:
    """The mean square of x @ weight, summed over the outputs."""
    seen_IO = moments_II @ weight_IO if isinstance(moments_II, np.ndarray) else moments_II * weight_IO
    return float((weight_IO.astype(np.float64) * seen_IO).sum())


def embed_anew(made: onnx.ModelProto, scope: str, keep: Sequence[str], embed: Callable[[Graph, str], str]) -> None:
    """Write the nodes of an embedding anew. scope: how their names begin; keep: constants that `embed` reads."""
    nodes = list(made.graph.node)
    old = [node for node in nodes if node.name.startswith(scope)]
    first = nodes.index(old[0])
    others = [node for node in nodes if not node.name.startswith(scope)]
    before, after = others[:first], others[first:]
    results = {name for node in old for name in node.output}
    read = {name for node in others for name in node.input}
    constants = {tensor.name for tensor in made.graph.initializer}
    ids = next(name for node in old for name in node.input if name not in results | constants)
    (result,) = results & read
    _keep(made, [tensor for tensor in made.graph.initializer if tensor.name in read | set(keep)])
    del made.graph.node[:]
    made.graph.node.extend(before)
    picked = embed(Graph(made.graph, scope.removesuffix("embedding/")), ids)
    for node in after:
        inputs = [picked if name == result else name for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
    made.graph.node.extend(after)


def _keep(made: onnx.ModelProto, tensors: list[onnx.TensorProto]) -> None:
    del made.graph.initializer[:]
    made.graph.initializer.extend(tensors)


def pickers(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that take rows out of tables in blocks; see fuseline.export.graph.embedding."""
    return [node for node in model.graph.node if node.op_type == "GatherND"]


def form_of(node: onnx.NodeProto) -> str | None:
    """Float, Half, Int8 or Int4 of a fused linear layer; None for another node."""
    if node.domain != DOMAIN or "Linear" not in node.op_type:
        return None
    return node.op_type.partition("Linear")[0]


def _vocab_size(model: onnx.ModelProto) -> int:
    (logits,) = (value for value in model.graph.output if value.name == LOGITS)
    size: int = logits.type.tensor_type.shape.dim[-1].dim_value
    return size


def _matrix(tensor: onnx.TensorProto, scale: onnx.TensorProto | None, outputs: int) -> Array:
    """float32[I, O]. Float blocks have no padding among the inputs."""
    blocks, scales = numpy_helper.to_array(tensor), None if scale is None else numpy_helper.to_array(scale)
    together = 1 if scales is None else 4 if scales.ndim == 1 else 8  # inputs in a block, see fuseline_kernels.h
    weight_IO = restore(blocks, scales, blocks.shape[1] * together, outputs)
    if not np.isfinite(weight_IO).all():
        row, column = np.argwhere(~np.isfinite(weight_IO))[0]
        value = weight_IO[row, column]
        raise ExportError(f"{tensor.name} has {value} at input {row}, output {column}: weights must be finite numbers")
    return weight_IO


def _tensor(array: Array, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(array), name)
