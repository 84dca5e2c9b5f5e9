"""Operators that no CPU has kernels for, in standard ONNX operators and in those of bodies.py.

`kernels/cuda` has them for NVIDIA's GPUs; elsewhere these bodies run. Float16 forms have float16 in the place of
float32 and are defined by the operators that they are named after: what they read is made float32, and what those give
is rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HALF, FLOAT = 10, 1  # TensorProto.DataType

_ADD_LAYER_NORM = """
    <domain: "fuseline", opset_import: ["" : 20]>
    AddLayerNorm<epsilon>(x, residual, scale, bias) => (y, sum)
    {
        shift = Identity(bias)
        sum = Add(x, residual)
        y = LayerNormalization<axis = -1, epsilon: float = @epsilon>(sum, scale, shift)
    }"""

# What is as large as the largest has the lower index first, which is TopK's order too. A row's shift is finite, so that
# an infinite logit is not taken from itself.
_TOP_CANDIDATES = """
    <domain: "fuseline", opset_import: ["" : 20]>
    TopCandidates<k>(logits) => (values, indices, logsumexp)
    {
        first = Constant<value = int64[1] {0}>()
        last = Constant<value = int64[1] {-1}>()
        one = Constant<value = int64[1] {1}>()
        nothing = Constant<value = float {0.0}>()
        lowest = Log(nothing)
        k_0 = Constant<value_int: int = @k>()
        k_1 = Unsqueeze(k_0, first)
        clean = Where(IsNaN(logits), lowest, logits)
        values, indices = TopK<axis = -1>(clean, k_1)
        largest = Slice(values, first, one, one)
        shift = Where(IsInf(largest), nothing, largest)
        sums = ReduceSum<keepdims = 0>(Exp(Sub(clean, shift)), last)
        logsumexp = Add(Log(sums), Squeeze(shift, last))
    }"""

_CACHED = ("qkv", "past_key", "past_value", "position", "beam_table")
_PRESENT = ("mixed", "present_key", "present_value")
_SOURCE = ("query", "key", "value")
_HEADS, _EPSILON, _K = ({"heads": "int", "scale": "float"}, {"epsilon": "float"}, {"k": "int"})
_NOT_HALF = ("position", "beam_table", "lengths", "distance_bias")
_NEVER_HALF = ("values", "indices", "logsumexp")


def _in_halves(operator: str, attributes: Mapping[str, str], inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """The body of an operator's Float16 form, which calls the operator."""
    given = ", ".join(f"{name}: {kind} = @{name}" for name, kind in attributes.items())
    halves = [name for name in outputs if name not in _NEVER_HALF]
    read = [name if name in _NOT_HALF else f"{name}_f32" for name in inputs]
    made = [f"{name}_f32" if name in halves else name for name in outputs]
    lines = [
        *(f"{name}_f32 = Cast<to = {FLOAT}>({name})" for name in inputs if name not in _NOT_HALF),
        f"{', '.join(made)} = fuseline.{operator}<{given}>({', '.join(read)})",
        *(f"{name} = Cast<to = {HALF}>({name}_f32)" for name in halves),
    ]
    body = "\n".join(f"        {line}" for line in lines)
    return f"""
    <domain: "fuseline", opset_import: ["" : 20, "fuseline" : 1]>
    Float16{operator}<{", ".join(attributes)}>({", ".join(inputs)}) => ({", ".join(outputs)})
    {{
{body}
    }}"""


# The forms of operators that have Float16 forms: attributes, inputs and outputs.
FORMS: Mapping[str, tuple[Mapping[str, str], Sequence[str], Sequence[str]]] = {
    "RMSNorm": (_EPSILON, ("x", "scale"), ("y",)),
    "AddLayerNorm": (_EPSILON, ("x", "residual", "scale", "bias"), ("y", "sum")),
    "CachedSelfAttention": (_HEADS, _CACHED, _PRESENT),
    "BiasedCachedSelfAttention": (_HEADS, (*_CACHED, "distance_bias"), _PRESENT),
    "CrossAttention": (_HEADS, _SOURCE, ("mixed",)),
    "PaddedCrossAttention": (_HEADS, (*_SOURCE, "lengths"), ("mixed",)),
    "TopCandidates": (_K, ("logits",), ("values", "indices", "logsumexp")),
}
DEVICES: Mapping[str, str] = {
    "AddLayerNorm": _ADD_LAYER_NORM,
    "TopCandidates": _TOP_CANDIDATES,
    **{f"Float16{operator}": _in_halves(operator, *form) for operator, form in FORMS.items()},
}
# What a Float16 form reads as float32 all the same, by the number of the input.
FLOAT_INPUTS: Mapping[str, Sequence[int]] = {
    f"Float16{operator}": [place for place, name in enumerate(inputs) if name == "distance_bias"]
    for operator, (_, inputs, _) in FORMS.items()
}
# All that kernels/cuda registers: these, and operators of bodies.py whose bodies are many nodes.
ON_CUDA: Sequence[str] = (
    *DEVICES, "RMSNorm", "CachedSelfAttention", "BiasedCachedSelfAttention",
    "CrossAttention", "PaddedCrossAttention", "HalfCrossAttention", "HalfPaddedCrossAttention",
)  # fmt: skip
