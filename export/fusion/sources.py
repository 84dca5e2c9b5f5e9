"""What the encoders gave, end to end, as every layer of the decoder reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

from fuseline.errors import InputError


@dataclass
class EncodedSources(ModelOutput):
    """States of all sources in one tensor; transformers' generate repeats its tensors for beams.

    last_hidden_state: float[B, S1 + ... + SM, C], zeros beyond a length; lengths: int64[B, M], 0 of what is absent;
    weights: float32[B, M], w / max of the present w, and 0 of what is absent; starts: where each source begins, and S.
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]  # transformers wants defaults
    lengths: Tensor = None  # type: ignore[assignment]
    weights: Tensor = None  # type: ignore[assignment]
    starts: tuple[int, ...] = None  # type: ignore[assignment]

    @property
    def count(self) -> int:
        """M."""
        return len(self.starts) - 1

    def read(self, m: int) -> bool:
        """Whether any input of the batch has source m."""
        return self.starts[m] < self.starts[m + 1]

    def of(self, m: int) -> tuple[Tensor, Tensor]:
        """Source m alone: float[B, S_m, C] and int64[B]."""
        first, end = self.starts[m : m + 2]
        return self.last_hidden_state[:, first:end].contiguous(), self.lengths[:, m]

    def weight(self, m: int) -> Tensor:
        """w~_m, float32[B, 1, 1]."""
        return self.weights[:, m, None, None]


def end_to_end(states: Sequence[Tensor], lengths: Tensor, weights: Tensor) -> EncodedSources:
    """The sources of a call as one.

    states: of each source float[B, S_m, C]; what lies beyond a length may be anything, even NaN. lengths: int64[B, M].
    weights: float32[B, M], not negative. A source is absent of an input where its length or its weight is 0. Raises
    InputError for an input without any.
    """
    present = (lengths > 0) & (weights > 0)
    if not present.any(dim=1).all():
        row = 1 + int(present.any(dim=1).int().argmin())
        raise InputError(f"all sources of input {row} are absent; at least one must be there, with a weight above 0")
    lengths, weights = lengths * present, torch.where(present, weights, 0.0)
    kept = []
    for m, each in enumerate(states):
        each = each[:, : int(lengths[:, m].max())]
        beyond = torch.arange(each.shape[1], device=each.device) >= lengths[:, m, None]
        kept.append(each.masked_fill(beyond[..., None], 0.0))
    starts = [0]
    for each in kept:
        starts.append(starts[-1] + each.shape[1])
    return EncodedSources(torch.cat(kept, dim=1), lengths, weights / weights.amax(dim=1, keepdim=True), tuple(starts))
