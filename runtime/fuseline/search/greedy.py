"""Greedy search: at every step the most probable token. The answer of transformers' generate with num_beams=1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fuseline.kernels import top_candidates

from .steps import Found, Int64, Steps, end_table, length_divisors

if TYPE_CHECKING:
    from ..generation import GenerationConfig


def greedy_search(steps: Steps, prompt: Int64, config: GenerationConfig, max_length: int) -> Found:
    """One sequence a photo. prompt: int64[B, T]; max_length: longest sequence in tokens, prompt included, > T.

    The score is the one that beam search gives the same sequence.
    """
    photos, start = prompt.shape
    divisors = length_divisors(max_length - start, config.length_penalty)
    pad = -1 if config.pad is None else config.pad  # without end tokens nothing is ever padded
    history = np.full((photos, max_length), pad, np.int64)
    history[:, :start] = prompt
    totals = np.zeros(photos, np.float32)
    lengths = np.zeros(photos, np.int64)
    open_ = np.ones(photos, np.bool_)
    ends = None
    tokens = prompt
    for position in range(start, max_length):
        logits = steps(tokens, None)
        if ends is None:
            ends = end_table(config.ends, logits.shape[1])
        values, indices, logsumexp = top_candidates(logits, 1)
        best = indices[:, 0]
        # A finished photo keeps its row; what it is fed and what comes of it change nothing any more.
        chosen = np.where(open_, best, pad)
        history[:, position] = chosen
        totals += np.where(open_, values[:, 0] - logsumexp, np.float32(0))
        lengths += open_
        open_ &= ~ends[best]
        if not open_.any():
            break
        tokens = chosen[:, None]
    return Found(history[:, : start + int(lengths.max())].copy(), totals / divisors[lengths])
