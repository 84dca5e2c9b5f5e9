"""The arithmetic of fusion: what a query reads in one source, and how much of each source goes on. It stands once.

Everything is plain ("eager") attention in float32, or in float64 where the model is. Dimensions: `B` inputs, `M`
sources, `S` positions of one of them, `T` tokens, `H` heads, `D` their size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def split(x: Tensor, heads: int) -> Tensor:
    """[B, T, H x D] -> [B, H, T, D], in float32 at least."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return wide.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def joined(x: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, H, T, D] -> [B, T, H x D] of that dtype."""
    return x.transpose(1, 2).flatten(2).to(dtype)


def attend(
    query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, scale: float, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Attention over one source alone: c_m and L_m.

    query: float[B, H, T, D]; key, value: float[B, H, S, D], finite, S at least 1; lengths: int64[B], the positions
    that count. Returns the mean of the values that attention makes, float[B, H, T, D], and the logarithm of the sum of
    its exponentials, float[B, H, T]; of an input of length 0 they are 0 and minus infinity.
    """
    absent = (lengths == 0)[:, None, None]
    beyond = torch.arange(key.shape[2], device=key.device) >= lengths[:, None]
    # An absent input would have no position left, and gradients that are no numbers; it reads all, and gives nothing.
    scores = (query @ key.transpose(-1, -2) * scale).masked_fill((beyond[:, None] & ~absent)[:, :, None], float("-inf"))
    part = functional.dropout(scores.softmax(dim=-1), dropout) @ value
    return part.masked_fill(absent[..., None], 0.0), scores.logsumexp(dim=-1).masked_fill(absent, float("-inf"))


def shares(scores: Tensor, weights: Tensor) -> Tensor:
    """softmax over the sources of scores + log w~: how much of each goes on, float[B, H, T, M].

    scores: float[B, H, T, M]; weights: float32[B, M], 0 of what is absent, which has the share 0 whatever its score.
    Of an input without any source all shares are 0.
    """
    present = (weights > 0)[:, None, None]
    logs = weights.masked_fill(weights <= 0, 1.0).log().to(scores.dtype)[:, None, None]
    kept = scores.masked_fill(~present, 0.0) + logs
    kept = kept.masked_fill(~present & present.any(dim=-1, keepdim=True), float("-inf"))
    return kept.softmax(dim=-1) * present


def forced(weights: Tensor) -> Tensor:
    """w / sum w, float[B, M]: shares that depend on nothing else."""
    return weights / weights.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
