"""One CUDA operator in a graph, with arrays of random odd sizes, and what numpy makes of them in float64.

Dimensions as in kernels/bodies.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from fuseline.kernels.bodies import DOMAIN, VERSION, add_bodies

Array = np.ndarray[Any, Any]
# Where the library's operators run: on the CPU, as they are compiled for it, or on a GPU (.ci/cuda gpu).
PROVIDER = os.environ.get("FUSELINE_TEST_CUDA_PROVIDER", "CPUExecutionProvider")
_TYPES = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16, "int64": onnx.TensorProto.INT64}


@dataclass(frozen=True)
class Case:
    """An operator, its inputs in order, attributes, and the types of its outputs."""

    operator: str
    feed: Mapping[str, Array]
    attributes: Mapping[str, Any]
    outputs: Mapping[str, str]

    def with_(self, **changes: Array) -> Case:
        return replace(self, feed={**self.feed, **changes})


@dataclass
class Maker:
    """Random arrays; `half`: as float16, of an operator's Float16 form."""

    seed: int
    half: bool = False
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def floats(self, *shape: int) -> Array:
        return self.random.normal(size=shape).astype(np.float16 if self.half else np.float32)

    def size(self, least: int, most: int) -> int:
        return int(self.random.integers(least, most + 1))

    @property
    def form(self) -> str:
        return "Float16" if self.half else ""

    @property
    def type(self) -> str:
        return "float16" if self.half else "float32"

    def self_attention(self, *, biased: bool = False, head_size: int | None = None) -> Case:
        rows, tokens, heads, size = self.size(1, 4), self.size(1, 3), self.size(1, 3), head_size or self.size(1, 40)
        capacity = tokens + self.size(0, 40)
        start, width = self.size(0, capacity - tokens), heads * size
        feed = {
            "qkv": self.floats(rows * tokens, 3 * width),
            "past_key": self.floats(capacity, rows, width),
            "past_value": self.floats(capacity, rows, width),
            "position": np.array([start]),
            "beam_table": self.random.integers(0, rows, (rows, capacity)),
        }
        # What is not written yet may be anything, and so may what the table says of it.
        feed["past_key"][start:] = feed["past_value"][start:] = np.nan
        feed["beam_table"][:, start + tokens :] = -7
        if biased:
            feed["distance_bias"] = self.random.normal(size=(heads, self.size(1, capacity + 3))).astype(np.float32)
        outputs = dict.fromkeys(("mixed", "present_key", "present_value"), self.type)
        name = f"{self.form}{'Biased' if biased else ''}CachedSelfAttention"
        return Case(name, feed, {"heads": heads, "scale": float(self.random.uniform(0.1, 1))}, outputs)

    def cross_attention(self, *, padded: bool = False, halves: bool = False, head_size: int | None = None) -> Case:
        """halves: keys and values alone are, the positions of a head together."""
        inputs, queries, heads, size = self.size(1, 3), self.size(1, 9), self.size(1, 3), head_size or self.size(1, 40)
        positions, width = self.size(1, 70), heads * size
        shape = (inputs, heads, positions, size) if halves else (inputs, positions, width)
        source = {name: self.floats(*shape).astype(np.float16 if halves else self.type) for name in ("key", "value")}
        feed = {"query": self.floats(inputs * queries, width), **source}
        if padded:
            feed["lengths"] = self.random.integers(0, positions + 1, (inputs, 1))
            for name in source:
                for each, (length,) in zip(feed[name], feed["lengths"], strict=True):
                    each[(slice(None), slice(length, None)) if halves else slice(length, None)] = np.nan
        name = f"{self.form}{'Half' if halves else ''}{'Padded' if padded else ''}CrossAttention"
        return Case(name, feed, {"heads": heads, "scale": float(self.random.uniform(0.1, 1))}, {"mixed": self.type})

    def norm(self, *, adds: bool, width: int | None = None) -> Case:
        shape = (self.size(1, 3), self.size(1, 3), width or self.size(1, 900))
        feed = {"x": self.floats(*shape) + np.array(3, self.type), "scale": self.floats(shape[-1])}
        outputs = {"y": self.type}
        if adds:
            x, scale = feed["x"], feed["scale"]
            feed = {"x": x, "residual": self.floats(*shape), "scale": scale, "bias": self.floats(shape[-1])}
            outputs["sum"] = self.type
        name = f"{self.form}{'AddLayerNorm' if adds else 'RMSNorm'}"
        return Case(name, feed, {"epsilon": 1e-5}, outputs)

    def top_candidates(self, rows: int, vocabulary: int, k: int) -> Case:
        feed = {"logits": self.floats(rows, vocabulary) * np.array(3, self.type)}
        outputs = {"values": "float32", "indices": "int64", "logsumexp": "float32"}
        return Case(f"{self.form}TopCandidates", feed, {"k": k}, outputs)


def model_of(case: Case, names: Sequence[str] | None = None) -> onnx.ModelProto:
    node = helper.make_node(
        case.operator, list(case.feed), names or list(case.outputs), name="layer.3", domain=DOMAIN, **case.attributes
    )
    graph = onnx.GraphProto(name="one", node=[node])
    for name, array in case.feed.items():
        graph.input.append(helper.make_tensor_value_info(name, _TYPES[array.dtype.name], [None] * array.ndim))
    for name, kind in case.outputs.items():
        graph.output.append(helper.make_tensor_value_info(name, _TYPES[kind], None))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def session(model: onnx.ModelProto, *libraries: Path) -> ort.InferenceSession:
    """With the operators of these libraries, else by the bodies. Each value has memory of its own, for sanitizers."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(str(library))
    providers = [PROVIDER] if libraries else ["CPUExecutionProvider"]
    opened = ort.InferenceSession(add_bodies(model).SerializeToString(), options, providers=providers)
    assert opened.get_providers()[0] == providers[0]
    return opened


def run(case: Case, *libraries: Path) -> dict[str, Array]:
    found = session(model_of(case), *libraries).run(None, dict(case.feed))
    return dict(zip(case.outputs, found, strict=True))


# --- in float64 ---------------------------------------------------------------------------------------------------


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max())
    result: Array = powers / powers.sum()
    return result


def exact(case: Case) -> dict[str, Array]:
    """What the operator is said to give, in float64; caches as they are."""
    feed, name = case.feed, case.operator
    if name.endswith("SelfAttention"):
        return _self_attention(feed, **case.attributes)
    if name.endswith("CrossAttention"):
        return {"mixed": _cross_attention(feed, **case.attributes)}
    if name.endswith("TopCandidates"):
        return _top_candidates(feed["logits"].astype(np.float64), **case.attributes)
    x, scale = feed["x"].astype(np.float64), feed["scale"].astype(np.float64)
    if name.endswith("RMSNorm"):
        return {"y": x / np.sqrt((x**2).mean(-1, keepdims=True) + case.attributes["epsilon"]) * scale}
    sums = x + feed["residual"].astype(np.float64)
    away = sums - sums.mean(-1, keepdims=True)
    y = away / np.sqrt((away**2).mean(-1, keepdims=True) + case.attributes["epsilon"]) * scale + feed["bias"]
    return {"y": y, "sum": sums}


def _self_attention(feed: Mapping[str, Array], heads: int, scale: float) -> dict[str, Array]:
    _, rows, width = feed["past_key"].shape
    tokens, start, size = len(feed["qkv"]) // rows, int(feed["position"][0]), width // heads
    query, key, value = np.split(feed["qkv"].reshape(rows, tokens, 3 * width), 3, axis=2)
    present = {"present_key": feed["past_key"].copy(), "present_value": feed["past_value"].copy()}
    for t in range(tokens):
        present["present_key"][start + t], present["present_value"][start + t] = key[:, t], value[:, t]
    mixed = np.empty((rows, tokens, heads, size))
    for row, token, head in np.ndindex(rows, tokens, heads):
        seen, part = np.arange(start + token + 1), slice(head * size, (head + 1) * size)
        lines = feed["beam_table"][row, seen]
        keys, values = (present[name][seen, lines, part].astype(np.float64) for name in present)
        scores = keys @ query[row, token, part].astype(np.float64) * scale
        if "distance_bias" in feed:
            bias = feed["distance_bias"][head]
            scores = scores + bias[np.minimum(seen[-1] - seen, len(bias) - 1)]
        mixed[row, token, head] = _softmax(scores) @ values
    return {"mixed": mixed.reshape(rows * tokens, width), **present}


def _cross_attention(feed: Mapping[str, Array], heads: int, scale: float) -> Array:
    query = feed["query"].astype(np.float64)
    inputs, size = len(feed["key"]), query.shape[1] // heads
    query = query.reshape(inputs, -1, heads, size)
    mixed = np.zeros_like(query)
    for i, q, head in np.ndindex(query.shape[:3]):
        length = int(feed["lengths"][i, 0]) if "lengths" in feed else feed["key"].shape[-2]
        each = []
        for name in ("key", "value"):
            whole = feed[name][i] if feed[name].ndim == 4 else feed[name][i].reshape(-1, heads, size).swapaxes(0, 1)
            each.append(whole[head, :length].astype(np.float64))
        if length:
            mixed[i, q, head] = _softmax(each[0] @ query[i, q, head] * scale) @ each[1]
    return mixed.reshape(feed["query"].shape)


def _top_candidates(logits: Array, k: int) -> dict[str, Array]:
    clean = np.where(np.isnan(logits), -np.inf, logits)
    indices = np.argsort(-clean, axis=1, kind="stable")[:, :k]
    shift = np.where(np.isfinite(clean.max(1)), clean.max(1), 0)
    with np.errstate(divide="ignore", over="ignore"):
        logsumexp = np.log(np.exp(clean - shift[:, None]).sum(1)) + shift
    return {"values": np.take_along_axis(clean, indices, 1), "indices": indices, "logsumexp": logsumexp}
