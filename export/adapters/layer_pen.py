"""The pen that an architecture's layers are written with: it knows the layer's caches and what the step gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuseline.folders.tensors import QUERY

from ..graphs.architecture import Pen
from ..graphs.graph import StepValues, cached_self_attention, cross_attention


@dataclass(frozen=True)
class Inputs:
    """The step's inputs, as docs/design.md has them, and what begin_step makes of them."""

    ids_RT: str
    position_1: str
    step: StepValues


@dataclass(frozen=True, kw_only=True)
class LayerPen(Pen):
    """A pen for one layer, which knows the layer's caches."""

    step: StepValues
    index: int

    def self_attention(self, qkv_N3E: str, scale: float, distance_bias: str = "") -> str:
        """float32[N, E] of query, key and value side by side; the cache is written."""
        past_CRE, present_CRE = (kv_names(time, self.index, "decoder") for time in ("past_key_values", "present"))
        return cached_self_attention(self.g, self.step, qkv_N3E, past_CRE, present_CRE, scale, distance_bias)

    def cross_attention_layers(self, hidden_NE: str, layer: Callable[[LayerPen, str], str]) -> str:
        """float32[N, E] -> the same: a layer's cross-attention with norm and residual, which `layer` writes."""
        return layer(self, hidden_NE)

    def cross_query(self, x_NE: str, name: str) -> str:
        """float32[N, E]: what the layer asks, by the linear layer of that name."""
        return self.linear(x_NE, name)

    def cross_output(self, mixed: str, name: str, residual: str) -> str:
        """float32[N, E]: the residual and what was read, by the linear layer of that name."""
        return self.linear(mixed, name, residual=residual)

    def cross_norm_after(self, x_NE: str, name: str) -> str:
        """float32[N, E] -> the same: the norm of an architecture that has it after the residual."""
        return self.norm(x_NE, name)

    def cross_attention(self, query_NE: str, scale: float) -> str:
        """float32[N, E] of the query and the input's key and value. The query is an output of the graph too."""
        names, step = kv_names("past_key_values", self.index, "encoder"), self.step
        query_NE = self.g.rename(query_NE, QUERY.format(self.index))
        return cross_attention(
            self.g, query_NE, *names, step.heads, step.head_size, scale, self.scheme, step.lengths_B1
        )


def kv_names(time: str, layer: int, owner: str) -> tuple[str, str]:
    """The names of a layer's key and value. time: past_key_values or present; owner: encoder or decoder."""
    return f"{time}.{layer}.{owner}.key", f"{time}.{layer}.{owner}.value"
