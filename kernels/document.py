"""Writes docs/operators.md from the bodies: `python -m fuseline.kernels.document > docs/operators.md`."""

from __future__ import annotations

from textwrap import dedent

from .bodies import DOMAIN, ENDINGS, FORMATS, OTHERS, SECOND, TABLES, VERSION, operators, text
from .device_bodies import DEVICES, ON_CUDA
from .layers import DECODER_LAYER, ENCODER_LAYER, MOST_STEPS, MOST_VALUES, PROJECTIONS

_INTRODUCTION = f"""\
# The operators

Domain `{DOMAIN}`, version {VERSION}. This page is made from `kernels/bodies.py` by `python -m fuseline.kernels.document`.

Each operator is defined by a body in standard ONNX operators. A model carries the bodies of the operators it uses, so it runs
everywhere; where the kernel library is registered (CPU sessions of fuseline) the kernels run in their place and give the same
numbers up to float rounding. A kernel refuses shapes that do not go together, a token that the table does not have, a beam table
that points to no row, a cache that is full, a length that the input does not have, windows that have not every position once, sources that
do not lie end to end, a weight of a source that is none, and an output without a name with a sentence that names the node. Bodies refuse the same tokens, beam tables,
positions, lengths, starts, weights and windows, in onnxruntime's words.

What lies beyond an input's length is never read: it may be NaN. The result of one input depends neither on how many others there
are in the call, nor on how much padding there is.

## Linear layers

`<format>Linear<ending>`: y = ending(x @ weight + bias). Formats: {", ".join(FORMATS)}. Endings: none, \
{", ".join(ending for ending in ENDINGS if ending)}. {" and ".join(SECOND)} take another value, {" and ".join(SECOND.values())}: a gated layer is two, gate = LinearGeluTanh(x) and LinearMul(x, factor = gate).

| input | Float, Half | BFloat16 | Int8 | Int4 |
|---|---|---|---|---|
| x | float32[..., I] | the same | the same | the same |
| weight | float32 or float16[K, I, 16] | bfloat16[K, I / 2, 16, 2] | uint8[K, I / 4, 16, 4], zero point 128 | uint8[K, I / 8, 16, 4], two codes a byte, zero point 8 |
| scale | - | - | float32[O] | float16[K, groups, 16], of 32 inputs or a multiple |
| bias | float32[O] | the same | the same | the same |
| residual (Add), factor (Mul) | float32[..., O] | the same | the same | the same |

K = ceil(O / 16): the weights of 16 outputs lie together, in the order in which AVX2, AVX-512 VNNI, AMX and NEON read them, so that a
block is one stream through memory. Inputs are rounded up to 2, to 4 or to whole groups, with weights of zero. In 8 and 4 bits every
row of x is rounded to 127 steps of its own scale first, so that a row's result does not depend on its neighbours. In bfloat16 x is
rounded to the nearest bfloat16, of two equally near ones the even; products are summed up as float32, in each instruction set's own
order and so within I roundings of float32 of the sum of their sizes, and what is less than 2^-126 may count as 0.
"""

# The operators shown in full; the other linear layers differ in their last line only.
_SHOWN = (
    *(f"{form}Linear" for form in FORMATS),
    *(f"{form}Embedding" for form in TABLES),
    *OTHERS,
)
_TABLE = (
    "ids: int64[...] from 0 to vocabulary - 1; {}, as a linear layer from width to vocabulary has them. "
    "Attributes: vocabulary, width."
)
_ABOUT = {
    "FloatEmbedding": _TABLE.format("weight: float32[K, width, 16]"),
    "HalfEmbedding": _TABLE.format("weight: float16[K, width, 16]"),
    "Int8Embedding": _TABLE.format("weight: uint8[K, width / 4 rounded up, 16, 4]; scale: float32[vocabulary]"),
    "LayerNorm": "x, y: float32[..., I]; scale, bias: float32[I]. Attributes: epsilon. ONNX's LayerNormalization of the last axis; "
    "onnxruntime's own wakes its threads for a few rows, which takes longer than to compute them.",
    "Rotary": "qkv, rotated: float32[R x T, 3 E], or [R, T, 3 E]; cosines, sines: float32[P, F], of the angles of F pairs of numbers at each position; "
    "position: int64[1], of the first token; rows: int64[R, ...], of which only R counts. Attributes: heads. Rotary positions (Su et "
    "al., arXiv:2104.09864) of neighbouring numbers, in query and key.",
    "CachedSelfAttention": "qkv: float32[R x T, 3 E]; past and present: float32[C, R, E], one memory where they are bound so; "
    "position: int64[1]; beam_table: int64[R, C]. Attributes: heads, scale. Causal among the T tokens.",
    "CrossAttention": "query: float32[R x T, E]; key, value: float32[B, S, E], shared by the R / B rows of an input. "
    "Attributes: heads, scale.",
    "RMSNorm": "x, y: float32[..., I]; scale: float32[I]. Attributes: epsilon. A layer norm without mean and bias (Zhang and "
    "Sennrich, arXiv:1910.07467), as T5 has it.",
    "BiasedCachedSelfAttention": "As CachedSelfAttention, and distance_bias: float32[H, M] (T5's decoder). The score of position p "
    "and the query of position q gets distance_bias[h, min(q - p, M - 1)].",
    "PaddedCrossAttention": "As CrossAttention, over the first lengths[b] positions of each input; lengths: int64[B, 1]. Length 0 "
    "gives zeros.",
    "HalfPaddedCrossAttention": "As PaddedCrossAttention, with key, value: float16[B, H, S, D].",
    "CrossAttentionFlat": "Cross-attention to M sources, whose keys and values lie end to end. query, key, value: as CrossAttention; "
    "lengths: int64[B, M], how many positions of each source an input has; starts: int64[M + 1], where each source's positions begin, "
    "rising from 0 to S; weights: float32[B, M], finite and not negative. One softmax over the positions of all sources, whose scores "
    "get log w, w being the weight over the largest one of the input; share: float32[R x T, H, M], what each source has of it. A "
    "source is absent with length 0 or weight 0: it is not read and has no share. Without any, mixed is zeros. Attributes: heads, scale.",
    "HalfCrossAttentionFlat": "As CrossAttentionFlat, with key, value: float16[B, H, S, D].",
    "CrossAttentionSeparate": "The inputs of CrossAttentionFlat. A softmax for each source alone; parts: float32[R x T, M x E], what it "
    "finds times its weight, as it is given, source after source; share: as CrossAttentionFlat's. What is absent has zeros. (Libovicky "
    "and Helcl, arXiv:1811.04716, for both.)",
    "HalfCrossAttentionSeparate": "As CrossAttentionSeparate, with key, value: float16[B, H, S, D].",
    "SelfAttention": "An encoder's. qkv: float32[B, S, 3 E]; lengths: int64[B, 1]; mixed: float32[B, S, E]. Each of the first "
    "lengths[b] positions attends to all of them; what comes after them is zeros. Attributes: heads, scale.",
    "BiasedSelfAttention": "As SelfAttention, and distance_bias: float32[H, 2 M - 1] (T5's encoder). The score of position p and "
    "the query of position q gets distance_bias[h, clip(p - q, -(M - 1), M - 1) + M - 1].",
    "WindowSelfAttention": "An encoder's, in W windows of P places (Liu et al., arXiv:2103.14030), or in one (Bao et al., "
    "arXiv:2106.08254). qkv: float32[B, S, 3 E]; windows: int64[W, P], the positions of each window, every one of the S exactly once; "
    "regions: int64[W, P]; place_bias: float32[H, P, P]; mixed: float32[B, S, E]. A position attends to those of its window that "
    "have its region; the score of place p and the query of place q gets place_bias[h, q, p]. Attributes: heads, scale.",
    **{
        f"BFloat16{name}": f"As {name}, with what is multiplied rounded to the nearest bfloat16: queries, keys and values, and weights "
        "before they are made to sum up to 1. Those are in proportion to the largest one, by the kernels of each query's largest one so "
        "far, 256 positions at a time. Sums are float32."
        for name in ("SelfAttention", "BiasedSelfAttention", "WindowSelfAttention")
    },
    "ConvRelu6": "x: float32[B, C, Y, X], planes; weight: float32[C, K, K, O]; bias: float32[O]; y: float32[B, Y', X', O], rows of "
    "channels, from 0 to 6. Attributes: strides, twice the same number s. With SAME padding: Y' = Y / s rounded up, and of an odd "
    "number of zeros the odd one comes after the image. K and s are at most 15.",
    "Int8InvertedBottleneck": "x: float32[B, Y, X, C]; expand: uint8[M / 16, C / 4, 16, 4], project: uint8[O / 16, M / 4, 16, 4], all "
    "rounded up, as Int8Linear's weights, each with a scale and a bias for every output; depthwise: float32[K, K, M], with a bias; "
    "y: float32[B, Y', X', O]. A linear layer with ReLU6 widens each position, a convolution of each channel alone with ReLU6 follows, "
    "with padding and strides as ConvRelu6, and a linear layer narrows it (Sandler et al., arXiv:1801.04381). The first layer reads "
    "each position in 127 steps of its own, the second in 127 steps from 0 to 6. Attributes: channels (C), group (M), strides. Of an "
    "x that is not finite nothing is said of y.",
    "Int8InvertedBottleneckAdd": "As Int8InvertedBottleneck, and x is added: strides 1, O = C.",
    "Int8SeparableConv": "As Int8InvertedBottleneck without its first layer: a depthwise separable convolution. Attributes: group, strides.",
    "HalfCrossAttention": "As CrossAttention, with key, value: float16[B, H, S, D]: a step reads half as much, and in order.",
}


_LAYER = f"""\
## {DECODER_LAYER}, {ENCODER_LAYER}, {PROJECTIONS}

The operators of a layer as one node: a {DECODER_LAYER} where one of them keeps keys and values, an {ENCODER_LAYER} where one is an
encoder's self-attention. Its body is made with the model: the calls of these operators. Inputs and outputs
are what the layer reads and gives. Whoever builds a graph calls all nodes of layer 3 `layer.3/...`, and the export joins them by
these names. A layer stays as it is, and is named, where an operator of another domain is in it, where its operators differ in
what a layer has once, or where it has not the operators that most layers have. {PROJECTIONS} are linear layers of one value whose
results only the graph's outputs are, as the keys and values of cross-attention: codes are made of that value once for all of them.

Attributes: heads, scale and epsilon, which all operators of the layer share, and steps, a text that says the same as the
body: the operators in order, each with the numbers of the values that it reads and makes, as in
`LayerNorm 0 1 2 > 33;Int8Linear 33 3 4 5 > 34;CachedSelfAttention 34 6 7 8 9 > 35 30 31`. The inputs have the first numbers, the
outputs the next, and what lies between the rest; at most {MOST_VALUES} values and {MOST_STEPS} steps. Where the kernel library is
registered it goes by this text; elsewhere the body runs. `fuseline.kernels.layers` joins layers and splits them.
"""


_DEVICES = f"""\
## Operators of devices

No CPU has kernels for these, and everywhere but on CUDA their bodies run. `kernels/cuda` has kernels for them and for
{", ".join(name for name in ON_CUDA if name not in DEVICES)}, in a library of its own (docs/devices.md). Float16 forms are
the operators that they are named after with float16 in the place of float32, but for distance_bias; sums are of float32 there, and what
is found is rounded once.

A GPU's kernel reads positions, tables and lengths where the GPU has them, and cannot refuse them: a position beyond the cache, a table that
points to no row and a length that is none give NaN, for that row or input alone, and nothing is written. A head has at most 256 elements there.
"""
_ABOUT_DEVICES = {
    "AddLayerNorm": "x, residual, sum, y: float32[..., I]; scale, bias: float32[I]. The layer norm of a sum, and the sum. Attributes: epsilon.",
    "TopCandidates": "logits: float32[R, V]; values: float32[R, k]; indices: int64[R, k]; logsumexp: float32[R]. The k largest logits of "
    "each row, the largest first, of equal ones the lower index first, and the logarithm of the sum of the exponentials of all, so that "
    "values - logsumexp are log-probabilities. NaN counts as -inf. Attributes: k, at most V. What leaves a GPU is k numbers a row.",
}


def page() -> str:
    """docs/operators.md."""
    parts = [_INTRODUCTION, f"All operators: {', '.join(f'`{name}`' for name in operators())}.\n"]
    for name in _SHOWN:
        about = f"{_ABOUT[name]}\n\n" if name in _ABOUT else ""
        parts.append(f"## {name}\n\n{about}```\n{dedent(text(name)).strip()}\n```\n")
    parts += [_LAYER, _DEVICES]
    for name in DEVICES:
        about = f"{_ABOUT_DEVICES[name]}\n\n" if name in _ABOUT_DEVICES else ""
        parts.append(f"## {name}\n\n{about}```\n{dedent(text(name)).strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
