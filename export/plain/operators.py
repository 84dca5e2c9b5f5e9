"""A graph of ours in plain operators of ONNX, for devices that know none of ours: the layouts `standard` and `static`.

A linear layer becomes MatMul and Add, an attention MatMul, Softmax and MatMul over the whole capacity of the cache, so
that shapes are the same in every step; what layers have in common (masks, places in the cache, sizes) is computed once.
What is in 8 or 4 bits becomes floats. `static` has every size fixed, tells the beam table by a mask and writes the
cache by Where, so that no node gathers or scatters in it.
Dimensions beside those of graphs.graph: `L` = C x R, lines of a static cache; `M` sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fuseline.folders.tensors import INPUT_IDS, MASK, POSITION, SOURCE_MASK, is_cross_attention, width_of
from fuseline.kernels.bodies import DOMAIN, body

from ..graphs.graph import OPSET, Graph
from ..graphs.recode import embeds, form_of, matrices
from ..graphs.weights import Array, content_of, quantize_columns, restore

LOWEST = float(np.finfo(np.float32).min)
FLOAT32 = "/float32/"  # in the name of a node: it stays in float32 in graphs of halves
_ENDINGS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "Relu": ("Relu", {}),
    "Gelu": ("Gelu", {}),
    "GeluTanh": ("Gelu", {"approximate": "tanh"}),
    "Add": ("Add", {}),
    "Mul": ("Mul", {}),
}


@dataclass(frozen=True)
class Fixed:
    """The sizes of a static graph: R rows of one input, C positions of the cache, S encoder positions."""

    rows: int
    capacity: int
    positions: int


def plain(model: onnx.ModelProto, fixed: Fixed | None = None, *, codes: bool = False) -> onnx.ModelProto:
    """The graph in plain operators. model: as load_graph gives it, of any scheme; fixed: of a static decoder; codes:
    whether matrices are stored in 8 bits, which DequantizeLinear makes floats of; many devices multiply by such codes.

    Raises ExportError for weights that are not finite.
    """
    writer = _Writer(model, fixed, codes)
    for node in model.graph.node:
        writer.write(node)
    return writer.made


class _Writer:
    def __init__(self, model: onnx.ModelProto, fixed: Fixed | None, codes: bool) -> None:
        self.made = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
        self.made.opset_import.append(helper.make_opsetid("", OPSET))
        graph = self.made.graph
        graph.name = model.graph.name
        self.matrices = {matrix.name: matrix.weight_IO for matrix in matrices(model)}
        self.filled = {n.input[1] for n in model.graph.node if form_of(n) not in (None, "Float", "Half")}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in self.matrices}
        graph.initializer.extend(self.constants.values())
        self.inputs = {value.name: value for value in model.graph.input}
        graph.input.extend(_plain_input(value) for value in model.graph.input)
        graph.output.extend(model.graph.output)
        self.g, self.fixed, self.codes = Graph(graph, "plain/"), fixed, codes
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.shared: dict[Any, Any] = {}
        self.alias: dict[str, str] = {}
        self.planes: dict[str, str] = {}
        self.widths: dict[str, int] = {}

    def write(self, node: onnx.NodeProto) -> None:
        """The plain nodes of one."""
        node.input[:] = [self.alias.get(name, name) for name in node.input]
        if node.domain != DOMAIN:
            if node.name == "step/Range":
                self.alias[node.output[0]] = self.positions_T()
            else:
                self.g.proto.node.append(node)
                self.widths[node.output[0] if node.output else ""] = next(map(self.widths.get, node.input), None) or 0
            return
        of = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        with self.g.scope(node.name):
            if embeds(node):
                self.embedding(node, of["width"])
            elif form_of(node) is not None:
                self.linear(node)
            else:
                _WRITERS.get(node.op_type, _Writer.by_body)(self, node, of)

    def once(self, key: object, make: Callable[[], Any]) -> Any:
        """What make makes, at the first call with that key."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    def stored(self, name: str, array: Callable[[], Array]) -> str:
        """A weight under that name, stored once."""
        return str(self.once(name, lambda: self.g.weight(name, np.ascontiguousarray(array()))))

    # Layers that multiply

    def matrix(self, name: str, x: str) -> Array:
        """float32[I, O], without the zeros that fill up the inputs of quantized ones."""
        weight_IO, inputs = self.matrices[name], self.widths.get(x)
        if not inputs and name in self.filled:
            inputs = int(np.flatnonzero(weight_IO.any(axis=1)).max(initial=0)) + 1
        return weight_IO[: inputs or None]

    def floats(self, name: str, weight: Callable[[], Array], axis: int) -> str:
        """A matrix under that name, or its codes as floats. axis: that of the outputs, of which each has a scale."""
        if not self.codes:
            return self.stored(name, weight)
        if name not in self.shared:
            codes, scale_O = quantize_columns(weight() if axis else weight().T)
            signed = (codes.astype(np.int16) - 128).astype(np.int8)
            self.g.weight(f"{name}.codes", signed if axis else np.ascontiguousarray(signed.T))
            self.g.weight(f"{name}.scale", scale_O)
        return str(self.once(name, lambda: self.g.op("DequantizeLinear", f"{name}.codes", f"{name}.scale", axis=axis)))

    def embedding(self, node: onnx.NodeProto, width: int) -> None:
        g, (ids, name) = self.g, node.input[:2]
        rows = self.floats(f"{name}.rows", lambda: self.matrices[name][:width].T, 0)
        self.widths[node.output[0]] = width
        if not self.codes:
            g.op("Gather", rows, ids, name=node.output[0])
            return
        codes = g.op("Cast", g.op("Gather", f"{name}.rows.codes", ids), to=TensorProto.FLOAT)
        scale = g.op("Unsqueeze", g.op("Gather", f"{name}.rows.scale", ids), g.ints(-1))
        g.op("Mul", codes, scale, name=node.output[0])

    def linear(self, node: onnx.NodeProto) -> None:
        g, form, ending = self.g, *node.op_type.split("Linear")
        x, name = node.input[:2]
        bias, *second = node.input[3 if form.startswith("Int") else 2 :]
        bias_O = self.array(bias)
        self.widths[node.output[0]] = len(bias_O)
        last = node.output[0]
        parts = [*(["bias"] if bias_O.any() else []), *([ending] if ending else [])]
        tied = f"{name}.rows"
        if tied in self.shared:  # the table that embeds tokens; its rows are multiplied as they lie
            zeros = [bias] if parts[:1] == ["bias"] else []
            g.op("Gemm", x, self.shared[tied], *zeros, transB=1, name=last)
            return
        weight = self.floats(f"{name}.matrix", lambda: self.matrix(name, x), 1)
        y = g.op("MatMul", x, weight, name="" if parts else last)
        if "bias" in parts:
            y = g.op("Add", y, bias, name="" if ending else last)
        if ending in ("QuickGelu", "Silu"):
            steep = y if ending == "Silu" else g.op("Mul", y, g.scalar(1.702, np.float32))
            g.op("Mul", y, g.op("Sigmoid", steep), name=last)
        elif ending == "Relu6":
            self.clip(y, last)
        elif ending:
            kind, attributes = _ENDINGS[ending]
            g.op(kind, y, *second, name=last, **attributes)

    def clip(self, x: str, name: str = "") -> str:
        """From 0 to 6."""
        return self.g.op("Clip", x, self.g.scalar(0.0, np.float32), self.g.scalar(6.0, np.float32), name=name)

    # Norms

    def layer_norm(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        self.g.op("LayerNormalization", *node.input, name=node.output[0], axis=-1, epsilon=of["epsilon"])
        self.widths[node.output[0]] = len(self.array(node.input[1]))

    def by_body(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """What has no shorter form here, as its body says, in float32."""
        function, mark = body(node.op_type.removeprefix("Half")), f"{node.name}{FLOAT32}"
        names = dict(zip([*function.input, *function.output], [*node.input, *node.output], strict=True))
        for inner in function.node:
            made = onnx.NodeProto()
            made.CopyFrom(inner)
            made.input[:] = [names.get(name, mark + name) if name else "" for name in inner.input]
            made.output[:] = [names.get(name, mark + name) for name in inner.output]
            made.name = mark + inner.output[0]
            del made.attribute[:]
            for each in inner.attribute:
                own = of[each.ref_attr_name] if each.ref_attr_name else helper.get_attribute_value(each)
                made.attribute.append(helper.make_attribute(each.name, own))
            self.g.proto.node.append(made)
        if node.op_type == "RMSNorm":
            self.widths[node.output[0]] = self.widths.get(node.input[0], 0)

    # Attention

    def attend(self, query: str, key: str, value: str, mask: str, scale: float) -> tuple[str, str]:
        """[..., T, D], [..., D, P] and [..., P, D] -> mixed [..., T, D] and the weights [..., T, P]."""
        g = self.g
        scaled = query if scale == 1.0 else g.op("Mul", query, g.scalar(scale, np.float32))
        scores = g.op("MatMul", scaled, key)
        weights = g.op("Softmax", g.op("Add", scores, mask) if mask else scores, axis=-1)
        return g.op("MatMul", weights, value), weights

    def by_heads(self, x: str, shape: str, order: Sequence[int]) -> str:
        return self.g.op("Transpose", self.g.op("Reshape", x, shape), perm=order)

    def self_attention(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """An encoder's."""
        g, (qkv, lengths, *bias), shape = self.g, node.input, self.g.ints(0, 0, of["heads"], -1)
        query, key, value = g.ops("Split", qkv, names=[""] * 3, axis=2, num_outputs=3)
        mask = "" if self.are_all(lengths) else self.once(lengths, lambda: self.seen_B11S(lengths, qkv))
        if bias:
            biased = self.once(bias[0], lambda: self.distances_HSS(bias[0], qkv))
            mask = self.once((*bias, mask), lambda: g.op("Add", biased, mask)) if mask else biased
        order = (0, 2, 1, 3)
        key_BHDS = self.by_heads(key, shape, (0, 2, 3, 1))
        mixed, _ = self.attend(
            self.by_heads(query, shape, order), key_BHDS, self.by_heads(value, shape, order), mask, of["scale"]
        )
        g.op("Reshape", g.op("Transpose", mixed, perm=order), g.ints(0, 0, -1), name=node.output[0])
        self.widths[node.output[0]] = self.widths.get(qkv, 0) // 3

    def are_all(self, lengths: str) -> bool:
        """Whether they are the number of positions of every input, as written.all_lengths has them."""
        made = self.makers.get(lengths)
        whole = self.makers.get(made.input[0]) if made is not None and made.op_type == "Expand" else None
        return whole is not None and whole.op_type == "Shape"

    def range_of(self, value: str, axis: int) -> str:
        """int64: 0 .. the size of that axis - 1."""
        g = self.g
        size = g.op("Squeeze", g.op("Shape", value, start=axis, end=axis + 1))
        return g.op("Range", g.scalar(0, np.int64), size, g.scalar(1, np.int64))

    def seen_B11S(self, lengths_B1: str, values: str) -> str:
        """0 for the positions that an input has, and the lowest number beyond. values: [B, S, ...]."""
        seen_BS = self.g.op("Less", self.range_of(values, 1), lengths_B1)
        return self.g.op("Unsqueeze", self.masked(seen_BS), self.g.ints(1, 2))

    def masked(self, seen: str) -> str:
        return self.g.op("Where", seen, self.g.scalar(0.0, np.float32), self.g.scalar(LOWEST, np.float32))

    def distances_HSS(self, bias: str, values: str) -> str:
        g, farthest = self.g, self.constants[bias].dims[1] // 2
        all_S = self.range_of(values, 1)
        apart_SS = g.op("Sub", g.op("Unsqueeze", all_S, g.ints(0)), g.op("Unsqueeze", all_S, g.ints(1)))
        near_SS = g.op("Clip", apart_SS, g.scalar(-farthest, np.int64), g.scalar(farthest, np.int64))
        return g.op("Gather", bias, g.op("Add", near_SS, g.scalar(farthest, np.int64)), axis=1)

    def cross_attention(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """To one source, or to several as flat fusion has it; what is asked may differ in length."""
        g, (query, key, value, *told), heads = self.g, node.input, of["heads"]
        size, order = self.width(key) // heads, (0, 2, 1, 3)

        def shape_BGHD() -> str:
            inputs = g.op("Shape", key, start=0, end=1)
            return g.op("Concat", inputs, g.ints(-1, heads, size), axis=0)

        shape = self.once("of queries", shape_BGHD)
        mask, of_source = "", ""
        if len(told) > 1:
            mask, of_source = self.once(tuple(told), lambda: self.sources(told[0], told[1], told[2], key))
        elif told:
            mask = SOURCE_MASK if self.fixed else self.once(told[0], lambda: self.seen_B11S(told[0], key))
        source = g.ints(0, 0, heads, size)
        mixed, weights = self.attend(
            self.by_heads(query, shape, order),
            self.by_heads(key, source, (0, 2, 3, 1)),
            self.by_heads(value, source, order),
            mask,
            of["scale"],
        )
        g.op("Reshape", g.op("Transpose", mixed, perm=order), g.ints(-1, heads * size), name=node.output[0])
        self.widths[node.output[0]] = heads * size
        if of_source:
            share = g.op("Transpose", g.op("MatMul", weights, of_source), perm=order)
            count = self.count(told[1])
            g.op("Reshape", share, g.ints(-1, heads, count), name=node.output[1])

    def count(self, starts: str) -> int:
        """M."""
        return int(self.inputs[starts].type.tensor_type.shape.dim[0].dim_value) - 1

    def sources(self, lengths_BM: str, starts: str, weights_BM: str, key: str) -> tuple[str, str]:
        """[B, 1, 1, S], what is added to scores, and float32[B, 1, S, M], of which source a position is."""
        g, count = self.g, self.count(starts)
        begins_M = g.op("Slice", starts, g.ints(0), g.ints(count))
        ends_BM = g.op("Add", begins_M, lengths_BM)
        begins_M1, ends_BM1 = (g.op("Unsqueeze", each, g.ints(-1)) for each in (begins_M, ends_BM))
        all_S = self.range_of(key, 1)
        within = g.op("And", g.op("GreaterOrEqual", all_S, begins_M1), g.op("Less", all_S, ends_BM1))
        weights_BM1 = g.op("Unsqueeze", weights_BM, g.ints(-1))
        seen_BMS = g.op("And", within, g.op("Greater", weights_BM1, g.scalar(0.0, np.float32)))
        most_B11 = g.op("ReduceMax", weights_BM1, g.ints(1), keepdims=1)
        log_BM1 = g.op("Log", g.op("Div", weights_BM1, most_B11))
        log_BMS = g.op("Where", seen_BMS, log_BM1, g.scalar(LOWEST, np.float32))
        mask_B11S = g.op("Unsqueeze", g.op("ReduceMax", log_BMS, g.ints(1), keepdims=1), g.ints(1))
        of_source = g.op("Transpose", g.op("Cast", seen_BMS, to=TensorProto.FLOAT), perm=(0, 2, 1))
        return mask_B11S, g.op("Unsqueeze", of_source, g.ints(1))

    def rotary(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """x cos + x' sin, where x' is x with the numbers of each pair exchanged."""
        g, (qkv, cosines, sines, position, _) = self.g, node.input
        columns = self.widths[qkv]
        pairs, size = self.array(cosines).shape[1], columns // of["heads"] // 3
        place = np.arange(columns) % size
        turned = (place < 2 * pairs) & (np.arange(columns) < columns // 3 * 2)
        pair_C, odd = np.where(turned, place // 2, pairs), place % 2

        def angles(name: str, still: float, sign_C: Array | None) -> str:
            last = np.full((len(self.array(name)), 1), still, np.float32)
            table = self.stored(f"{name}.still", lambda: np.concatenate([self.array(name), last], axis=1))
            found = g.op("Gather", g.op("Gather", table, at), g.constant("pairs", pair_C), axis=1)
            return found if sign_C is None else g.op("Mul", found, g.constant("signs", sign_C))

        def both() -> tuple[str, str]:
            return angles(cosines, 1.0, None), angles(sines, 0.0, (2 * odd - 1).astype(np.float32))

        at = self.once(
            (position, "each"), lambda: self.positions_N() if position == POSITION else self.range_of(qkv, 1)
        )
        cosine, sine = self.once((cosines, sines), both)
        exchanged = g.constant("exchanged", np.where(turned, np.arange(columns) + 1 - 2 * odd, np.arange(columns)))
        other = g.op("Mul", g.op("Gather", qkv, exchanged, axis=-1), sine)
        g.op("Add", g.op("Mul", qkv, cosine), other, name=node.output[0])
        self.widths[node.output[0]] = columns

    # A decoder's own past

    def positions_N(self) -> str:
        """int64[N]: of each row's tokens."""
        at_T, g = self.positions_T(), self.g
        return at_T if self.fixed else g.op("Reshape", g.op("Expand", at_T, g.op("Shape", INPUT_IDS)), g.ints(-1))

    def width(self, name: str) -> int:
        """Of a key or value, or of a cache, E."""
        return width_of(dim.dim_param or dim.dim_value for dim in self.inputs[name].type.tensor_type.shape.dim)

    def positions_T(self) -> str:
        """int64[T]: where the tokens of this step stand."""
        if self.fixed:
            return POSITION
        return str(self.once("positions", lambda: self.g.op("Add", POSITION, self.range_of(INPUT_IDS, 1))))

    def cached(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        g, (qkv, past_key, _, _, table, *bias), heads = self.g, node.input, of["heads"]
        size = self.width(past_key) // heads
        query, key, value = g.ops("Split", qkv, names=[""] * 3, axis=1, num_outputs=3)
        attend = self.static if self.fixed else self.gathered
        mixed = attend(node, (query, key, value), (heads, size), table, bias, of["scale"])
        g.op("Reshape", mixed, g.ints(-1, heads * size), name=node.output[0])
        self.widths[node.output[0]] = heads * size

    def gathered(
        self,
        node: onnx.NodeProto,
        qkv: Sequence[str],
        sizes: tuple[int, int],
        table: str,
        bias: Sequence[str],
        scale: float,
    ) -> str:
        """[R, T, H, D] of what each row reads of the lines that the table says."""
        g, order = self.g, (0, 2, 1, 3)
        places_N2, lines_RC, mask, shape = self.once((table, sizes), lambda: self.step(table, sizes))
        if bias:
            mask = self.once((bias[0], mask), lambda: g.op("Add", self.distances(bias[0], table), mask))

        def of_beams(past: str, new: str, present: str, axes: Sequence[int]) -> str:
            whole = g.op("ScatterND", past, places_N2, new, name=present)
            lines = g.op("Gather", g.op("Reshape", whole, g.ints(-1, *sizes)), lines_RC)
            return g.op("Transpose", lines, perm=axes)

        key_RHDC = of_beams(node.input[1], qkv[1], node.output[1], (0, 2, 3, 1))
        value_RHCD = of_beams(node.input[2], qkv[2], node.output[2], order)
        mixed, _ = self.attend(self.by_heads(qkv[0], shape, order), key_RHDC, value_RHCD, mask, scale)
        return g.op("Transpose", mixed, perm=order)

    def step(self, table: str, sizes: tuple[int, int]) -> tuple[str, str, str, str]:
        """What all layers share: places int64[N, 2], lines int64[R, C], mask [T, C] and the shape R, T, H, D."""
        g, at_T = self.g, self.positions_T()
        rows_1, all_C = g.op("Shape", table, start=0, end=1), self.range_of(table, 1)
        lines_RC = g.op("Add", g.op("Mul", all_C, rows_1), table)
        mask_TC = self.masked(g.op("LessOrEqual", all_C, g.op("Unsqueeze", at_T, g.ints(1))))
        shape_RT = g.op("Shape", INPUT_IDS)
        row_R1 = g.op("Unsqueeze", self.range_of(table, 0), g.ints(1))
        both = (g.op("Unsqueeze", g.op("Expand", each, shape_RT), g.ints(2)) for each in (at_T, row_R1))
        places_N2 = g.op("Reshape", g.op("Concat", *both, axis=2), g.ints(-1, 2))
        return places_N2, lines_RC, mask_TC, g.op("Concat", shape_RT, g.ints(*sizes), axis=0)

    def distances(self, bias_HM: str, table: str) -> str:
        """[H, T, C], of static graphs [H, 1, L]: what is added by how far back a position is."""
        g, most = self.g, int(self.constants[bias_HM].dims[1]) - 1
        if self.fixed:
            column_L = np.repeat(np.arange(self.fixed.capacity), self.fixed.rows)
            back = g.op("Sub", POSITION, g.constant("columns", column_L))
        else:
            back = g.op("Sub", g.op("Unsqueeze", self.positions_T(), g.ints(1)), self.range_of(table, 1))
        near = g.op("Clip", back, g.scalar(0, np.int64), g.scalar(most, np.int64))
        found = g.op("Gather", bias_HM, near, axis=1)
        return g.op("Unsqueeze", found, g.ints(1)) if self.fixed else found

    def static(
        self,
        node: onnx.NodeProto,
        qkv: Sequence[str],
        sizes: tuple[int, int],
        table: str,
        bias: Sequence[str],
        scale: float,
    ) -> str:
        """[R, H, D]: every row reads all lines of the cache but those that the mask hides."""
        assert self.fixed is not None
        g, fixed, line = self.g, self.fixed, self.g.ints(-1, *sizes)
        all_C11 = g.constant("positions", np.arange(fixed.capacity)[:, None, None])
        here_C11 = self.once("here", lambda: g.op("Equal", all_C11, POSITION))
        mask = MASK
        if bias:
            mask = self.once(bias[0], lambda: g.op("Add", self.distances(bias[0], table), MASK))

        def kept(past: str, new: str, present: str) -> str:
            slab = g.op("Reshape", new, g.ints(1, fixed.rows, sizes[0] * sizes[1]))
            return g.op("Where", here_C11, slab, past, name=present)

        key_CRE, value_CRE = (kept(node.input[part], qkv[part], node.output[part]) for part in (1, 2))
        key_HDL, value_HLD = self.by_heads(key_CRE, line, (1, 2, 0)), self.by_heads(value_CRE, line, (1, 0, 2))
        mixed, _ = self.attend(self.by_heads(qkv[0], line, (1, 0, 2)), key_HDL, value_HLD, mask, scale)
        return g.op("Transpose", mixed, perm=(1, 0, 2))

    # Convolutions, between which planes stay planes

    def plane(self, x: str) -> str:
        return self.planes.get(x) or self.g.op("Transpose", x, perm=(0, 3, 1, 2))

    def rows_of(self, planes: str, name: str) -> None:
        self.planes[name] = planes
        self.g.op("Transpose", planes, perm=(0, 2, 3, 1), name=name)

    def first_convolution(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        x, weight, bias = node.input
        own = self.stored(f"{weight}.planes", lambda: self.array(weight).transpose(3, 0, 1, 2))
        self.rows_of(self.clip(self.convolution(x, own, bias, of["strides"])), node.output[0])

    def bottleneck(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        *first, taps, taps_bias, project, project_scale, project_bias = node.input
        before = wide = self.plane(first[0])
        if len(first) > 1:
            wide = self.clip(self.pointwise(wide, first[1], first[2], first[3], of["channels"]))
        own = self.stored(f"{taps}.planes", lambda: self.array(taps).transpose(2, 0, 1)[:, None])
        wide = self.clip(self.convolution(wide, own, taps_bias, of["strides"], of["group"]))
        middle = len(self.array(taps_bias))
        narrow = self.pointwise(wide, project, project_scale, project_bias, middle)
        if node.op_type.endswith("Add"):
            narrow = self.g.op("Add", narrow, before)
        self.rows_of(narrow, node.output[0])

    def array(self, name: str) -> Array:
        """A constant, also one that is stored in less and cast."""
        made = self.makers.get(name)
        if made is not None and made.op_type == "Cast":
            return self.array(made.input[0]).astype(np.float32)
        return content_of(self.constants[name])

    def convolution(self, x: str, weight: str, bias: str, strides: Sequence[int], group: int = 1) -> str:
        return self.g.op("Conv", x, weight, bias, auto_pad="SAME_UPPER", strides=strides, group=group)

    def pointwise(self, x: str, codes: str, scale: str, bias: str, inputs: int) -> str:
        def weight() -> Array:
            return restore(self.array(codes), self.array(scale), inputs, len(self.array(bias))).T[:, :, None, None]

        return self.g.op("Conv", x, self.stored(f"{codes}.planes", weight), bias)


def _plain_input(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Keys and values are float32[B, S, E] in every plain graph of floats."""
    if not is_cross_attention(value.name):
        return value
    width = width_of(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["B", "S", width])


_WRITERS: Mapping[str, Callable[[_Writer, onnx.NodeProto, Mapping[str, Any]], None]] = {
    "LayerNorm": _Writer.layer_norm,
    "Rotary": _Writer.rotary,
    "SelfAttention": _Writer.self_attention,
    "BiasedSelfAttention": _Writer.self_attention,
    "CachedSelfAttention": _Writer.cached,
    "BiasedCachedSelfAttention": _Writer.cached,
    **{
        f"{half}{kind}": _Writer.cross_attention
        for half in ("", "Half")
        for kind in ("CrossAttention", "PaddedCrossAttention", "CrossAttentionFlat")
    },
    "ConvRelu6": _Writer.first_convolution,
    "Int8SeparableConv": _Writer.bottleneck,
    "Int8InvertedBottleneck": _Writer.bottleneck,
    "Int8InvertedBottleneckAdd": _Writer.bottleneck,
}
