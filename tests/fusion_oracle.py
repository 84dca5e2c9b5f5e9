"""The formulas of fusion in numpy and float64, input by input, token by token, head by head: what modes are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Weights = Mapping[str, Array]


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()


def linear(p: Weights, name: str, x: Array) -> Array:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def norm(p: Weights, name: str, x: Array, epsilon: float) -> Array:
    centred = x - x.mean()
    return centred / np.sqrt((centred**2).mean() + epsilon) * p[f"{name}.weight"] + p[f"{name}.bias"]


class Layer:
    """One layer's fusion. own: the decoder's cross-attention as norm, q, k, v, o; fused: what the mode has."""

    def __init__(self, own: Weights, fused: Weights, names: Sequence[str], sizes: Mapping[str, Any]) -> None:
        self.own, self.fused, self.names = own, fused, names
        self.heads, self.scale, self.first = sizes["heads"], sizes["scale"], sizes["norm_first"]
        self.epsilon = sizes["epsilon"]

    def __call__(self, mode: str, x: Array, states: Sequence[Array], weights: Array) -> tuple[Array, Array]:
        """One token of one input: x [X]; states of each source [S_m, C], valid ones only, of an absent one none;
        weights [M]. Returns x and the shares, [H or 1, M]."""
        present = np.array([len(each) > 0 and w > 0 for each, w in zip(states, weights, strict=True)])
        weights = np.where(present, weights, 0.0)
        if mode in ("serial", "gated"):
            return self._serial(mode, x, states, weights / weights.max())
        return self._at_once(mode, x, states, weights)

    def _read(self, p: Weights, of: str, q: Array, states: Array) -> tuple[Array, Array]:
        """c_m [H, D] and L_m [H]."""
        queries = q.reshape(self.heads, -1)
        if not len(states):
            return np.zeros_like(queries), np.full(self.heads, -np.inf)
        key, value = (linear(p, f"{of}{name}", states).reshape(len(states), self.heads, -1) for name in "kv")
        scores = np.einsum("hd,shd->hs", queries, key) * self.scale
        parts = [softmax(each) @ value[:, h] for h, each in enumerate(scores)]
        return np.stack(parts), np.log(np.exp(scores).sum(axis=1))

    def _serial(self, mode: str, x: Array, states: Sequence[Array], w: Array) -> tuple[Array, Array]:
        added = np.zeros(len(self.names))
        for m, name in enumerate(self.names):
            if w[m] == 0:
                continue
            p, of = self.fused, f"sources.{name}."
            q = linear(p, f"{of}q", norm(p, f"{of}norm", x, self.epsilon) if self.first else x)
            part, _ = self._read(p, of, q, states[m])
            gate = np.tanh(p[f"{of}gate"]) if mode == "gated" else 1.0
            y = w[m] * gate * linear(p, f"{of}o", part.ravel())
            added[m] = np.linalg.norm(y)
            x = x + y if self.first or mode == "gated" else norm(p, f"{of}norm", x + y, self.epsilon)
        return x, added[None] / added.sum()

    def _at_once(self, mode: str, x: Array, states: Sequence[Array], w: Array) -> tuple[Array, Array]:
        shared = mode in ("flat", "mix")
        p = self.own if shared else self.fused
        normed = norm(p, "norm", x, self.epsilon) if self.first else x
        q = linear(p, "q", normed)
        read = [
            self._read(p, "" if shared else f"sources.{name}.", q, each)
            for name, each in zip(self.names, states, strict=True)
        ]
        parts, sums = np.stack([c for c, _ in read]), np.stack([each for _, each in read], axis=1)  # [M, H, D], [H, M]
        with np.errstate(divide="ignore"):
            logs = np.log(w / w.max())
        share = np.stack([softmax(each) for each in sums + logs])
        if mode == "mix":
            share = np.tile(w / w.sum(), (self.heads, 1))
        if shared:
            y = linear(p, "o", np.einsum("hm,mhd->hd", share, parts).ravel())
        elif mode == "parallel":
            each = [linear(p, f"sources.{name}.o", c.ravel()) for name, c in zip(self.names, parts, strict=True)]
            y = sum(w[m] / w.max() * each[m] for m in range(len(w)) if w[m] > 0)
        else:
            y, share = self._over(p, normed, parts, logs)
        return (x + y if self.first else norm(p, "norm", x + y, self.epsilon)), share

    def _over(self, p: Weights, normed: Array, parts: Array, logs: Array) -> tuple[Array, Array]:
        query = linear(p, "over.q", normed).reshape(self.heads, -1)
        flat = parts.reshape(len(parts), -1)
        key, value = (linear(p, f"over.{name}", flat).reshape(len(parts), self.heads, -1) for name in "kv")
        scores = np.einsum("hd,mhd->hm", query, key) * self.scale
        share = np.stack([softmax(each) for each in scores + logs])
        return linear(p, "over.o", np.einsum("hm,mhd->hd", share, value).ravel()), share
