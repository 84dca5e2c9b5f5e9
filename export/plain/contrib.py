"""A graph of ours in onnxruntime's own fused operators (com.microsoft): the layout `contrib`, for CUDA.

Attention is MultiHeadAttention, a residual with the norm behind it SkipLayerNormalization, a bias with its activation
BiasGelu, FastGelu or QuickGelu. All of these have kernels on the CPU too, so what this graph says is compared there.
A decoder takes one token a step and has the same shapes in every step: the cache is written by ScatterElements, which
gets nothing from the host (ScatterND does), lines are gathered by the beam table, and what lies beyond is hidden by
lengths. Sizes that a kernel reads are counted on the device, so that nothing is copied between host and device in a
step and CUDA can record it as one graph.

DecoderMaskedMultiHeadAttention is left out. It reads its position on the host, so that a recorded graph would be of one
position; its keys lie in another order on CUDA; and its CPU kernel takes the beams of the wrong rows.

Attention by cutlass, the fastest that takes a mask on CUDA, wants halves, heads of a multiple of 8 numbers, no bias and
lengths with the places where each query and key begins, int32[3 B + 2]; the other kernels want the lengths alone.
(contrib_ops/cuda/bert/multihead_attention.cc)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fuseline.folders.tensors import BEST_LOGITS, BEST_TOKENS, LOG_SUM, LOGITS, POSITION, best_of

from .attention import LOWEST
from .calls import Calls
from .operators import Operators
from .writer import FLOAT32, MICROSOFT

_CUTLASS = 8  # what a head's size is a multiple of
_ACTIVATIONS = {"Gelu": "BiasGelu", "GeluTanh": "FastGelu"}
_STEEP = {"QuickGelu": 1.702, "Silu": 1.0}


class Contrib(Calls):
    """Writes onnxruntime's operators where there are any, and calls of ours. halves: whether the graph will be of
    float16."""

    def __init__(self, model: onnx.ModelProto, codes: bool, halves: bool) -> None:
        super().__init__(model, codes, halves)
        self.made.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        self.sums: dict[str, tuple[str, str, str]] = {}  # not written yet: a product, what is added, and a bias

    def write(self, node: onnx.NodeProto) -> None:
        """See Writer.write. A sum is written where it is read, or with the norm that reads it first."""
        if node.op_type not in ("LayerNorm", "RMSNorm"):
            for name in node.input:
                self.add_up(self.alias.get(name, name))
        super().write(node)

    def done(self) -> onnx.ModelProto:
        """The whole."""
        for name in list(self.sums):
            self.add_up(name)
        for value in self.made.graph.output:
            if value.name == LOGITS:
                self.best(value.type.tensor_type.shape.dim[-1].dim_value)
                break
        return self.with_bodies()

    def best(self, vocab_size: int) -> None:
        """The largest logits, in float32 also where the rest is halves, and the logarithm of their softmax's sum."""
        g, count = self.g, best_of(vocab_size)
        node = helper.make_node("TopCandidates", [LOGITS], [BEST_LOGITS, BEST_TOKENS, LOG_SUM])
        self.call(node, {"k": count}, Contrib.candidates)
        g.proto.node[-1].name = f"best{FLOAT32}"
        shapes: dict[str, tuple[int, list[int | str]]] = {
            BEST_LOGITS: (TensorProto.FLOAT, ["R", count]),
            BEST_TOKENS: (TensorProto.INT64, ["R", count]),
            LOG_SUM: (TensorProto.FLOAT, ["R"]),
        }
        g.proto.output.extend(helper.make_tensor_value_info(name, *each) for name, each in shapes.items())

    def candidates(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """The body of TopCandidates."""
        g, (logits,), (values, indices, logsumexp) = self.g, node.input, node.output
        g.ops("TopK", logits, g.ints(of["k"]), names=[values, indices], axis=-1)
        g.op("ReduceLogSumExp", logits, g.ints(-1), name=logsumexp, keepdims=0)

    # Linear layers and norms

    def ended(self, y: str, bias: str, ending: str, second: Sequence[str], last: str) -> None:
        """See Writer.ended."""
        g = self.g
        if ending == "Add":
            self.sums[last] = (y, second[0], bias)
        elif ending in _ACTIVATIONS and bias:
            g.op(_ACTIVATIONS[ending], y, bias, name=last, domain=MICROSOFT)
        elif ending in _STEEP:
            shifted = g.op("Add", y, bias) if bias else y
            g.op("QuickGelu", shifted, name=last, domain=MICROSOFT, alpha=_STEEP[ending])
        else:
            super().ended(y, bias, ending, second, last)

    def add_up(self, name: str) -> None:
        """Write a sum that was put off."""
        if name in self.sums:
            y, second, bias = self.sums.pop(name)
            super().ended(y, bias, "Add", [second], name)

    def layer_norm(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """Of a sum together with it."""
        if node.input[0] not in self.sums:
            super().layer_norm(node, of)
        else:
            self.skip("SkipLayerNormalization", node, node.input[1:], of)

    def rms_norm(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """The same without mean."""
        if node.input[0] not in self.sums:
            self.widths[node.output[0]] = len(self.array(node.input[1]))
            self.call(node, of)
        else:
            self.skip("SkipSimplifiedLayerNormalization", node, node.input[1:], of)

    def skip(self, operator: str, node: onnx.NodeProto, weights: Sequence[str], of: Mapping[str, Any]) -> None:
        """A sum and its norm: four results, of which the second and third are for training."""
        (x, *_), (result,) = node.input, node.output
        y, second, bias = self.sums.pop(x)
        inputs = [y, second, *weights, *filter(None, [bias])]
        self.g.ops(operator, *inputs, names=[result, "", "", x], domain=MICROSOFT, epsilon=of["epsilon"])
        made = self.g.proto.node[-1]
        made.output[1] = made.output[2] = ""
        self.widths[result] = len(self.array(weights[0]))

    # Attention

    def attention(
        self, qkv: Sequence[str], heads: int, scale: float, mask: str = "", bias: str = "", name: str = ""
    ) -> str:
        """float32[B, G, E], [B, S, E] and [B, S, E] -> [B, G, E]. mask: see `hidden`; bias: [1, H, G, S]."""
        of = {"num_heads": heads, "scale": scale, "mask_filter_value": LOWEST}
        beside = ["", mask, bias]
        while beside and not beside[-1]:
            beside.pop()
        return self.g.op("MultiHeadAttention", *qkv, *beside, name=name, domain=MICROSOFT, **of)

    def hidden(self, lengths_B: str, queries: str, keys: str, inputs: str, size: int, bias: str = "") -> str:
        """What tells MultiHeadAttention how many keys each input has, int32[B] or int32[3 B + 2]. lengths: int32[B];
        queries, keys: int32[1], how many an input has; inputs: int32[B], ones; size: of a head."""
        if not self.halves or bias or not size or size % _CUTLASS:
            return lengths_B
        begins = [self.begins(inputs, each) for each in (queries, keys)]
        return self.g.op("Concat", lengths_B, *begins, axis=0)

    def begins(self, ones_B: str, size_1: str) -> str:
        """int32[B + 1]: 0, size, 2 size ..."""
        g = self.g
        ends = g.op("Mul", self.counted(ones_B), size_1)
        return g.op("Concat", g.constant("none", np.zeros(1, np.int32)), ends, axis=0)

    def counted(self, ones_N: str) -> str:
        """int32[N]: 1, 2, 3 ..."""
        return self.g.op("CumSum", ones_N, self.g.scalar(0, np.int64))

    def ones(self, value: str, axis: int, rank: int) -> str:
        """int32[N]: as many ones as the value has along an axis, made where the value is."""

        def made() -> str:
            g, others = self.g, [each for each in range(rank) if each != axis]
            part = g.op("Slice", value, g.ints(*[0] * len(others)), g.ints(*[1] * len(others)), g.ints(*others))
            return g.op("Reshape", g.op("Cast", g.op("Equal", part, part), to=TensorProto.INT32), g.ints(-1))

        return str(self.once(("ones", value, axis), made))

    def size(self, value: str, axis: int, rank: int) -> str:
        """int32[1]: how large an axis is."""
        ones = self.ones(value, axis, rank)
        return str(self.once(("size", ones), lambda: self.g.op("ReduceSum", ones, self.g.ints(0), keepdims=1)))

    def int32(self, value: str) -> str:
        """The value in that type, as one row."""
        g = self.g
        return str(
            self.once(("int32", value), lambda: g.op("Reshape", g.op("Cast", value, to=TensorProto.INT32), g.ints(-1)))
        )

    def self_attention(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """See Attention.self_attention."""
        g, (qkv, lengths, *bias), heads = self.g, node.input, of["heads"]
        width = self.widths.get(qkv, 0) // 3
        added = mask = ""
        if bias:
            added = self.once(bias[0], lambda: g.op("Unsqueeze", self.distances_HSS(bias[0], qkv), g.ints(0)))
        if not self.are_all(lengths):
            positions = self.size(qkv, 1, 3)
            lengths_B, inputs = self.int32(lengths), self.ones(lengths, 0, 2)
            mask = self.once(
                (lengths, added), lambda: self.hidden(lengths_B, positions, positions, inputs, width // heads, added)
            )
        self.attention(
            g.ops("Split", qkv, names=[""] * 3, axis=2, num_outputs=3),
            heads,
            of["scale"],
            mask,
            added,
            node.output[0],
        )
        self.widths[node.output[0]] = width

    def cross_attention(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """See Attention.cross_attention; where shares are told it stays plain."""
        if len(node.input) > 4:
            super().cross_attention(node, of)
            return
        self.call(node, of, Contrib.source_attention)
        self.widths[node.output[0]] = self.width(node.input[1])

    def source_attention(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """The body of cross-attention."""
        g, (query, key, value, *told), heads = self.g, node.input, of["heads"]
        width = self.width(key)
        shape_BGE = g.op("Concat", g.op("Shape", key, start=0, end=1), g.ints(-1, width), axis=0)
        asked = g.op("Reshape", query, shape_BGE)
        mask = self.padded(told[0], key, asked, width // heads) if told else ""
        mixed = self.attention([asked, key, value], heads, of["scale"], mask)
        g.op("Reshape", mixed, g.ints(-1, width), name=node.output[0])

    def padded(self, lengths: str, key: str, asked: str, size: int) -> str:
        """See `hidden`: of what was encoded, asked by all rows of an input."""
        inputs = self.ones(lengths, 0, 2)
        return self.hidden(self.int32(lengths), self.size(asked, 1, 3), self.size(key, 1, 3), inputs, size)

    # A decoder's own past

    def positions_T(self) -> str:
        """One token a step."""
        return POSITION

    def positions_N(self) -> str:
        """Of all rows the same."""
        return POSITION

    def cached(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """See Attention.cached."""
        self.call(node, of, Contrib.cache_attention)
        self.widths[node.output[0]] = self.width(node.input[1])

    def cache_attention(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """The body of attention to the cache: each row reads its lines of it, up to this step's."""
        g, (qkv, past_key, past_value, _, table, *bias), heads = self.g, node.input, of["heads"]
        width = self.width(past_key)
        query, key, value = g.ops("Split", qkv, names=[""] * 3, axis=1, num_outputs=3)
        here, lines_RC = self.once("cache", lambda: self.places(table, width))
        added = self.once(bias[0], lambda: self.backwards(bias[0], table)) if bias else ""
        mask = self.once(("so far", added), lambda: self.so_far(table, width // heads, added))

        def of_beams(past: str, new: str, present: str) -> str:
            slab = g.op("Reshape", new, g.ints(1, -1, width))
            whole = g.op("ScatterElements", past, here, slab, name=present, axis=0)
            return g.op("Gather", g.op("Reshape", whole, g.ints(-1, width)), lines_RC)

        keys, values = of_beams(past_key, key, node.output[1]), of_beams(past_value, value, node.output[2])
        asked = g.op("Reshape", query, g.ints(-1, 1, width))
        mixed = self.attention([asked, keys, values], heads, of["scale"], mask, added)
        g.op("Reshape", mixed, g.ints(-1, width), name=node.output[0])

    def places(self, table: str, width: int) -> tuple[str, str]:
        """Where this step's keys go, int64[1, R, E], and which lines of the cache a row reads, int32[R, C]."""
        g = self.g
        shape = g.op("Concat", g.ints(1), g.op("Shape", table, start=0, end=1), g.ints(width), axis=0)
        here = g.op("Expand", POSITION, shape)
        firsts_C = g.op("Mul", self.columns(table), self.size(table, 0, 2))
        return here, g.op("Add", firsts_C, g.op("Cast", table, to=TensorProto.INT32))

    def columns(self, table: str) -> str:
        """int32[C]: 0, 1, 2 ..."""
        one = self.g.scalar(1, np.int32)
        counted = self.once("columns", lambda: self.counted(self.ones(table, 1, 2)))
        return str(self.once("from 0", lambda: self.g.op("Sub", counted, one)))

    def so_far(self, table: str, size: int, bias: str) -> str:
        """See `hidden`: of the cache, asked by each row for itself."""
        g, rows = self.g, self.ones(table, 0, 2)
        one = g.constant("once", np.ones(1, np.int32))
        lengths_R = g.op("Mul", rows, g.op("Add", self.int32(POSITION), one))
        return self.hidden(lengths_R, one, self.size(table, 1, 2), rows, size, bias)

    def backwards(self, bias_HM: str, table: str) -> str:
        """[1, H, 1, C]: what is added by how far back a position is, which is of float32 also in a body of halves."""
        g, most = self.g, int(self.constants[bias_HM].dims[1]) - 1
        back_C = g.op("Sub", self.int32(POSITION), self.columns(table))
        near_C = g.op("Clip", back_C, g.scalar(0, np.int32), g.scalar(most, np.int32))
        found_HC = g.op("Gather", bias_HM, near_C, axis=1)
        if self.halves:
            found_HC = g.op("Cast", found_HC, to=TensorProto.FLOAT16)
        return g.op("Unsqueeze", g.op("Unsqueeze", found_HC, g.ints(1)), g.ints(0))


Contrib.writers = {
    **Operators.writers,
    "LayerNorm": Contrib.layer_norm,
    "RMSNorm": Contrib.rms_norm,
    **{name: Contrib.self_attention for name, own in Operators.writers.items() if own is Operators.self_attention},
    **{f"{kind}CachedSelfAttention": Contrib.cached for kind in ("", "Biased")},
    **{
        f"{half}{kind}": Contrib.cross_attention
        for half in ("", "Half")
        for kind in ("CrossAttention", "PaddedCrossAttention", "CrossAttentionFlat")
    },
}


def contrib(model: onnx.ModelProto, *, codes: bool = False, halves: bool = False) -> onnx.ModelProto:
    """The graph in onnxruntime's operators. See operators.plain; halves: whether it will be made float16."""
    writer = Contrib(model, codes, halves)
    for node in model.graph.node:
        writer.write(node)
    return writer.done()
