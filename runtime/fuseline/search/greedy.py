"""Search without beams: at every step the most probable token, or one drawn by its probability.

The answer of transformers' generate with num_beams=1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fuseline.kernels import top_candidates

from ..processors import Lengths, processors, read_only, stopping
from .sample import Sampler
from .steps import Float32, Found, Int64, Steps, end_table, length_divisors

if TYPE_CHECKING:
    from ..generation import GenerationConfig


def greedy_search(steps: Steps, prompt: Int64, config: GenerationConfig, max_length: int) -> Found:
    """One sequence a photo, or num_return_sequences drawn ones.

    prompt: int64[B, T]; max_length: longest sequence in tokens, prompt included, > T.
    The score is the one that beam search gives the same sequence; with processors it is made of the log-probabilities
    after them, those of transformers' compute_transition_scores with normalize_logits.
    """
    sampler = Sampler(config.seed, len(prompt)) if config.do_sample else None
    prompt = np.repeat(prompt, config.num_return_sequences, axis=0)
    rows, start = prompt.shape
    divisors = length_divisors(max_length - start, config.length_penalty)
    pad = -1 if config.pad is None else config.pad  # without end tokens nothing is ever padded
    process, stops = processors(config, Lengths(start, max_length)), stopping(config)
    history = np.full((rows, max_length), pad, np.int64)
    history[:, :start] = prompt
    totals = np.zeros(rows, np.float32)
    lengths = np.zeros(rows, np.int64)
    open_ = np.ones(rows, np.bool_)
    ends = None
    tokens = prompt
    for position in range(start, max_length):
        logits = steps(tokens, None)
        if ends is None:
            ends = end_table(config.ends, logits.shape[1])
        if process is not None:
            logits = process(read_only(history[:, :position]), logits.copy())
        values, indices, logsumexp = top_candidates(logits, 1)
        best, best_logits = indices[:, 0], values[:, 0]
        if sampler is not None:
            best = sampler.one_each(logits)
            best_logits = np.take_along_axis(logits, best[:, None], axis=1)[:, 0]
        # A finished photo keeps its row; what it is fed and what comes of it change nothing any more. Without end
        # tokens transformers pads nothing, and a photo that a criterion has stopped goes on until all have.
        live = open_ if config.ends else np.ones_like(open_)
        chosen = np.where(live, best, pad)
        history[:, position] = chosen
        totals += np.where(live, _log_probabilities(best_logits, logsumexp), np.float32(0))
        lengths += live
        open_ &= ~ends[best]
        if stops is not None:
            open_ &= ~stops(read_only(history[:, : position + 1]))
        if not open_.any():
            break
        tokens = chosen[:, None]
    return Found(history[:, : start + int(lengths.max())].copy(), totals / divisors[lengths])


def _log_probabilities(values: Float32, logsumexp: Float32) -> Float32:
    """float32[R]: of tokens with these logits, float32[R]; -inf where every logit of the row is."""
    return np.where(np.isneginf(values), values, values - np.where(np.isfinite(logsumexp), logsumexp, np.float32(0)))
