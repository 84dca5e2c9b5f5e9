"""What every operator of the domain `fuseline` computes, in standard ONNX operators.

A body is definition, fall-back and test oracle in one: a model carries the bodies of the operators it uses, and where
the kernel library is not registered (or on another device) onnxruntime runs them. Needs onnx; the runtime never does.

Dimensions: `R` rows, `T` tokens, N = R x T, `C` cache capacity, P = position + T, `B` inputs of a call (photos, texts),
`S` encoder positions, `H` heads, `D` head size, E = H x D, `M` distances or sources, `W` windows of P places, `I`
inputs and `O` outputs of a linear layer, `K` = ceil(O / 16) blocks of outputs, `V` vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import onnx
from onnx import parser

from .attention_bodies import (
    CACHE,
    CACHED_BIASED_SCORES,
    CACHED_MIXED,
    CACHED_SCORES,
    ENCODER_BIAS,
    ENCODER_MIXED,
    ENCODER_SCORES,
    FLOAT_SOURCE,
    FORMS_OF_SOURCES,
    HALF_POSITIONS,
    HALF_SOURCE,
    LENGTHS,
    MIXED,
    PADDED_MIXED,
    QUERIES,
    ROTARY,
    WINDOWS,
    in_bfloat16,
)
from .convolution_bodies import BOTTLENECK, CONV_RELU6, SEPARABLE
from .device_bodies import DEVICES
from .linear_bodies import EMBEDDINGS, ENDINGS, FORMATS, PRODUCTS, SECOND, TABLES
from .source_bodies import FLAT, SEPARATE, SOURCES

__all__ = [
    "DOMAIN",
    "ENDINGS",
    "FORMATS",
    "OPSET",
    "OTHERS",
    "SECOND",
    "TABLES",
    "VERSION",
    "add_bodies",
    "body",
    "operators",
    "text",
]

DOMAIN = "fuseline"
VERSION = 1
OPSET = 20

# onnxruntime can do without a bias, and where it cannot it crashes; an Identity cannot do without what it is of.
_LAYER_NORM = """
    <domain: "fuseline", opset_import: ["" : 20]>
    LayerNorm<epsilon>(x, scale, bias) => (y)
    {
        shift = Identity(bias)
        y = LayerNormalization<axis = -1, epsilon: float = @epsilon>(x, scale, shift)
    }"""

# Zhang and Sennrich, arXiv:1910.07467; T5LayerNorm of transformers.
_RMS_NORM = """
    <domain: "fuseline", opset_import: ["" : 20]>
    RMSNorm<epsilon>(x, scale) => (y)
    {
        last = Constant<value = int64[1] {-1}>()
        least = Constant<value_float: float = @epsilon>()
        mean_square = ReduceMean<keepdims = 1>(Mul(x, x), last)
        y = Mul(Div(x, Sqrt(Add(mean_square, least))), scale)
    }"""


def _function(name: str, attributes: Sequence[str], inputs: Sequence[str], outputs: Sequence[str], *lines: str) -> str:
    given = f"<{', '.join(attributes)}>" if attributes else ""
    return f"""
    <domain: "fuseline", opset_import: ["" : 20]>
    {name}{given}({", ".join(inputs)}) => ({", ".join(outputs)})
    {{{"".join(lines)}
    }}"""


_HEADS = ("heads", "scale")
_SOURCE = ("query", "key", "value")
_SOURCES_READ = (*_SOURCE, "lengths", "starts", "weights")
_CACHED = ("qkv", "past_key", "past_value", "position", "beam_table")
_PRESENT = ("mixed", "present_key", "present_value")
_PADDED = ("qkv", "lengths")
_DEPTHWISE = ("depthwise", "depthwise_bias", "project", "project_scale", "project_bias")
_BOTTLENECK = ("x", "expand", "expand_scale", "expand_bias", *_DEPTHWISE)
_GROUP = ("group", "strides")
_CHANNELS = ("channels", *_GROUP)
_ENCODERS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "SelfAttention": (_PADDED, (ENCODER_SCORES, ENCODER_MIXED.format(scores="weighed"))),
    "BiasedSelfAttention": (
        (*_PADDED, "distance_bias"), (ENCODER_SCORES, ENCODER_BIAS, ENCODER_MIXED.format(scores="biased"))
    ),
    "WindowSelfAttention": (("qkv", "windows", "regions", "place_bias"), (WINDOWS,)),
}  # fmt: skip
# All that have no formats.
OTHERS: Mapping[str, str] = {
    "LayerNorm": _LAYER_NORM,
    "RMSNorm": _RMS_NORM,
    "Rotary": _function("Rotary", ("heads",), ("qkv", "cosines", "sines", "position", "rows"), ("rotated",), ROTARY),
    "CachedSelfAttention": _function(
        "CachedSelfAttention", _HEADS, _CACHED, _PRESENT, CACHE, CACHED_SCORES, CACHED_MIXED
    ),
    "BiasedCachedSelfAttention": _function(
        "BiasedCachedSelfAttention", _HEADS, (*_CACHED, "distance_bias"), _PRESENT,
        CACHE, CACHED_BIASED_SCORES, CACHED_MIXED,
    ),
    "CrossAttention": _function("CrossAttention", _HEADS, _SOURCE, ("mixed",), QUERIES, FLOAT_SOURCE, MIXED),
    "HalfCrossAttention": _function("HalfCrossAttention", _HEADS, _SOURCE, ("mixed",), QUERIES, HALF_SOURCE, MIXED),
    "PaddedCrossAttention": _function(
        "PaddedCrossAttention", _HEADS, (*_SOURCE, "lengths"), ("mixed",),
        QUERIES, FLOAT_SOURCE, LENGTHS, PADDED_MIXED,
    ),
    "HalfPaddedCrossAttention": _function(
        "HalfPaddedCrossAttention", _HEADS, (*_SOURCE, "lengths"), ("mixed",),
        QUERIES, HALF_POSITIONS, HALF_SOURCE, LENGTHS, PADDED_MIXED,
    ),
    **{
        f"{form}CrossAttention{kind}": _function(
            f"{form}CrossAttention{kind}", _HEADS, _SOURCES_READ, (found, "share"), QUERIES, *source, SOURCES, lines
        )
        for kind, found, lines in (("Flat", "mixed", FLAT), ("Separate", "parts", SEPARATE))
        for form, source in FORMS_OF_SOURCES.items()
    },
    **{
        f"{form}{name}": _function(f"{form}{name}", _HEADS, inputs, ("mixed",), *map(rounded, lines))
        for form, rounded in (("", str), ("BFloat16", in_bfloat16))
        for name, (inputs, lines) in _ENCODERS.items()
    },
    "ConvRelu6": _function("ConvRelu6", ("strides",), ("x", "weight", "bias"), ("y",), CONV_RELU6),
    "Int8SeparableConv": _function(
        "Int8SeparableConv", _GROUP, ("x", *_DEPTHWISE), ("y",), SEPARABLE, "\n        y = Identity(found)"
    ),
    "Int8InvertedBottleneck": _function(
        "Int8InvertedBottleneck", _CHANNELS, _BOTTLENECK, ("y",), BOTTLENECK, "\n        y = Identity(found)"
    ),
    "Int8InvertedBottleneckAdd": _function(
        "Int8InvertedBottleneckAdd", _CHANNELS, _BOTTLENECK, ("y",), BOTTLENECK, "\n        y = Add(found, x)"
    ),
}  # fmt: skip


def operators() -> tuple[str, ...]:
    """The names of all operators but those that are for devices alone (device_bodies.py)."""
    linears = tuple(f"{form}Linear{ending}" for form in FORMATS for ending in ENDINGS)
    embeddings = tuple(f"{form}Embedding" for form in TABLES)
    return (*linears, *embeddings, *OTHERS)


# A call among the arguments of another that has no call among its own.
_INNER = re.compile(r"(=.*[(,] ?)([A-Z]\w*(?:<[^<>]*>)?\([^()]*\))")


@cache
def text(operator: str) -> str:
    """The body of an operator in ONNX's textual form, calls within calls written out.

    Raises ValueError for a name that is none.
    """
    if operator not in (known := (*operators(), *DEVICES)):
        raise ValueError(f"there is no operator {operator!r}; there are {', '.join(known)}")
    count = 0
    lines = []
    for line in _source(operator).splitlines():
        while inner := _INNER.search(line):
            value, count = f"value_{count}", count + 1
            lines.append(f"        {value} = {inner[2]}")
            line = line[: inner.start(2)] + value + line[inner.end(2) :]
        lines.append(line)
    return "\n".join(lines)


def _source(operator: str) -> str:
    if operator in OTHERS or operator in DEVICES:
        return OTHERS.get(operator) or DEVICES[operator]
    if operator.endswith("Embedding"):
        form = operator.removesuffix("Embedding")
        inputs = ["ids", "weight", *(["scale"] if form == "Int8" else [])]
        return _function(operator, ("vocabulary", "width"), inputs, ["embedded"], EMBEDDINGS[form])
    form, ending = operator.split("Linear")
    inputs = ["x", "weight", *(["scale"] if form.startswith("Int") else []), "bias"]
    inputs += [SECOND[ending]] if ending in SECOND else []
    lines = f"""{PRODUCTS[form]}
        biased = Add(product, bias)
        {ENDINGS[ending].strip()}"""
    return _function(operator, (), inputs, ["y"], lines)


def body(operator: str) -> onnx.FunctionProto:
    """The body of an operator as a function of the model."""
    function: onnx.FunctionProto = parser.parse_function(text(operator))
    return function


def _called(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {node.op_type for node in nodes if node.domain == DOMAIN}


def add_bodies(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the model, in place, the bodies of the operators it uses; returned for convenience."""
    used = _called(model.graph.node)
    have = {function.name for function in model.functions if function.domain == DOMAIN}
    bodies = [body(operator) for operator in sorted(used - have)]
    within = set[str]().union(*(_called(each.node) for each in bodies)) - used - have
    model.functions.extend([*map(body, sorted(within)), *bodies])
    if used and not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))
    return model
