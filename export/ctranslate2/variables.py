"""The variables of a model.bin as weights in float32, and which of them were asked for.

A variable that nobody asks for is refused, since the answer would be another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import ExportError

Array = npt.NDArray[Any]

# What is refused by its name, for whoever does not know the variable's.
_UNKNOWN: Mapping[str, str] = {
    "rotary": "rotary positions",
    "relative_position_": "relative position representations (arXiv:1803.02155)",
    "relative_asymmetric": "asymmetric relative positions",
    "alibi": "ALiBi",
    "weight_zero": "AWQ weights",
    "sliding_window": "a sliding window",
    "_norm/": "norms of other places",
    "memory_kv": "merged attention",
    "merged_encoder_attention": "merged attention",
    "project_": "projections around the layers",
    "final_logit_softcapping": "capped logits",
    "layer_norm_use_residual": "Gemma's norms",
    "layer_scalar": "scaled layers",
    "embeddings_1": "several inputs for each token",
}
# What changes nothing here: pictures of attention, how one input's embedding is merged with no other, ALiBi's details.
_IGNORED = re.compile(
    r"(?:encoder/|decoder/|)(?:alignment_layer|alignment_heads|embeddings_merge|multi_query_attention"
    r"|alibi_use_positive_positions|scale_alibi)"
)
_INT16_SCALE = 1000.0  # where old files do not say it


@dataclass
class Variables:
    """The variables of a file, and which of them were asked for."""

    stored: Mapping[str, Array]
    weights: dict[str, Array] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def has(self, name: str) -> bool:
        return name in self.stored

    def number(self, name: str, default: float | None = None) -> float:
        """A scalar. default: None where there must be one."""
        self.asked.add(name)
        if name not in self.stored:
            if default is None:
                raise missing([name])
            return default
        value = self.stored[name]
        if value.size != 1:
            raise ExportError(f"{name} of the CTranslate2 model has shape {list(value.shape)} and must be one number")
        found = float(value.reshape(()))
        if not np.isfinite(found):
            raise ExportError(f"{name} of the CTranslate2 model is {found}")
        return found

    def text(self, name: str, default: str) -> str:
        self.asked.add(name)
        return self.stored[name].tobytes().decode(errors="replace") if name in self.stored else default

    def read(self, name: str) -> Array:
        """A weight in float32; the same array for all names of it. Raises ExportError where there is none."""
        self.asked |= {name, f"{name}_scale"}
        if name not in self.stored:
            raise missing([name])
        stored = self.stored[name]
        same = next((array for before, array in self._read if before is stored), None)
        found = _unfolded(name, stored, self.stored.get(f"{name}_scale")) if same is None else same
        if same is None:
            self._read.append((stored, found))
        return found

    def take(self, name: str, to: str = "") -> Array:
        """As read; the adapter finds it as `to` (default: the same name)."""
        found = self.read(name)
        self.weights[(to or name).replace("/", ".")] = found
        return found

    def make(self, name: str, weight: Array) -> Array:
        """A weight that CTranslate2 computes."""
        self.weights[name.replace("/", ".")] = weight
        return weight

    def norm(self, name: str) -> None:
        self.take(f"{name}/gamma", f"{name}/weight")
        if self.has(f"{name}/beta"):
            self.take(f"{name}/beta", f"{name}/bias")

    def linear(self, name: str) -> Array:
        if self.has(f"{name}/bias"):
            self.take(f"{name}/bias")
        return self.take(f"{name}/weight")

    def check_all_known(self) -> None:
        left = [name for name in self.stored if name not in self.asked and not _IGNORED.fullmatch(name)]
        if left:
            words = sorted({what for sign, what in _UNKNOWN.items() if any(sign in name for name in left)})
            means = f" ({', '.join(words)})" if words else ""
            some = ", ".join(left[:4]) + (", ..." if len(left) > 4 else "")
            raise ExportError(f"the CTranslate2 model has what is not known here{means}: {some}")

    def __post_init__(self) -> None:
        self._read: list[tuple[Array, Array]] = []


def _unfolded(name: str, stored: Array, scale: Array | None) -> Array:
    """float32 of what is stored: halves, codes of 8 bits with a scale a row, of 16 bits with one scale."""
    if stored.dtype.kind == "f":
        return np.ascontiguousarray(stored, np.float32)
    if stored.dtype == np.int16 and (scale is None or scale.size == 1):
        by: Array = np.array([_INT16_SCALE] if scale is None else scale.reshape(1), np.float32)
    elif stored.dtype == np.int8 and scale is not None and stored.ndim in (2, 3) and scale.size == len(stored):
        by = scale.astype(np.float32).reshape(-1, *[1] * (stored.ndim - 1))
    else:
        given = "no scale" if scale is None else f"a scale of shape {list(scale.shape)}"
        raise ExportError(
            f"{name} of the CTranslate2 model is {stored.dtype.name}{list(stored.shape)} with {given}; codes are int8 "
            "with a scale a row, or int16 with one scale"
        )
    if not (np.isfinite(by).all() and (by != 0).all()):
        raise ExportError(f"{name}_scale of the CTranslate2 model must be finite and not 0")
    found: Array = stored.astype(np.float32) / by
    return found


def missing(names: Sequence[str]) -> ExportError:
    return ExportError(f"the CTranslate2 model has no {', '.join(names)}")
