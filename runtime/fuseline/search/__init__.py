"""From the logits of a decoder's steps to sequences of tokens: greedy search, beam search and sampling.

A search sees the step contract of fuseline.decoder and no graph. Dimensions: `B` photos, `R` rows = B x num_beams (rows
of one photo together), `T` tokens of this step, `V` vocabulary, `K` candidates of one photo, `N` sequences returned.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..generation import Generation, GenerationConfig, Timings
from .beam import beam_search
from .greedy import greedy_search
from .steps import Found, Steps

if TYPE_CHECKING:
    from ..decoder import Decoder, Encoded

__all__ = ["Found", "Steps", "beam_search", "greedy_search", "search"]


def search(
    decoder: Decoder,
    encoded: Encoded,
    prompt: npt.NDArray[np.int64],
    config: GenerationConfig,
    *,
    max_positions: int | None = None,
    encoder_ms: float = 0.0,
) -> Generation:
    """The best sequences for every photo, as transformers' generate gives them for the same options.

    prompt: int64[B, T], one row a photo, T >= 1 (config.prompt(B) is the usual one). max_positions: how many positions
    the decoder can tell apart, if known. encoder_ms: milliseconds that the encoder took, to be reported.
    Raises InputError for a prompt of another form, and where it leaves no room for a token.
    """
    began = perf_counter()
    if prompt.ndim != 2 or 0 in prompt.shape or prompt.dtype != np.int64:
        raise InputError(
            f"the decoder's prompt must be int64 of shape [photos, tokens], "
            f"not {prompt.dtype} of shape {list(prompt.shape)}"
        )
    max_length = config.total_length(prompt.shape[1], max_positions)
    each = max(config.num_beams, config.num_return_sequences)  # more sequences than beams only where they are sampled
    steps = Steps(decoder, encoded, each, max_length)
    find = greedy_search if config.num_beams == 1 else beam_search
    found = find(steps, prompt, config, max_length)
    total = (perf_counter() - began) * 1000
    timings = Timings(encoder_ms, steps.milliseconds, total - steps.milliseconds, encoder_ms + total, steps.count)
    return Generation(found.sequences, found.scores, timings, config.num_return_sequences)
