"""Attention in plain operators: an encoder's, to sources, and to a decoder's own past.

Dimensions beside those of graphs.graph: `L` = C x R, lines of a static cache; `M` sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from fuseline.folders.tensors import INPUT_IDS, LENGTHS, MASK, POSITION, SOURCE_MASK, STARTS, WEIGHTS, width_of

from ..graphs.weights import Array
from .writer import Writer

LOWEST = float(np.finfo(np.float32).min)


class Attention(Writer):
    """Writes attention."""

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
        if self.fixed and tuple(told) == (LENGTHS, STARTS, WEIGHTS):  # not some of the sources, as gated fusion asks
            mask, of_source = SOURCE_MASK, g.constant("sources", self.sources_SM())
        elif len(told) > 1:
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

    def sources_SM(self) -> Array:
        """float32[1, 1, S, M], of which source a position is in a static graph."""
        assert self.fixed is not None
        starts, at_S1 = np.array(self.fixed.starts), np.arange(self.fixed.positions)[:, None]
        of_source: Array = ((at_S1 >= starts[:-1]) & (at_S1 < starts[1:])).astype(np.float32)[None, None]
        return of_source

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
