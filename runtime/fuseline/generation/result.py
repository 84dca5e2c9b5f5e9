"""What comes back of a call: sequences, and what was asked to be told of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Timings:
    """Where the time of one generate call went: milliseconds, and how many steps the decoder made."""

    encoder: float
    decoder: float
    """all steps together"""
    search: float
    """the rest: Python and numpy between the steps"""
    total: float
    steps: int


@dataclass(frozen=True, repr=False, eq=False)
class Generation:
    """What generate returns for B photos. Two of them are equal where they are the same object."""

    sequences: npt.NDArray[np.int64]
    """int64[B x num_return_sequences, T]: prompt and generated tokens, the sequences of a photo together and best
    first, padded with the pad token; T is the length of the longest"""
    sequences_scores: npt.NDArray[np.float32]
    """float32[B x num_return_sequences]: sum of the log-probabilities of the generated tokens (the end token counts)
    divided by their number to the power of length_penalty. transformers gives no score for greedy search; here it is
    the same one"""
    token_logprobs: npt.NDArray[np.float32]
    """float32[B x num_return_sequences, T - prompt]: the log-probability of every generated token, after all that
    changed it, as transformers' compute_transition_scores gives it; 0 after the end"""
    finish_reasons: tuple[str, ...]
    """why each sequence ended: "eos_token", "max_length", "max_time", "stop_strings", "stopping_criteria"; in a partial
    result "cancelled" or "interrupted"; "no sequence" where the options left none and the prompt stands alone"""
    timings: Timings
    num_return_sequences: int = 1
    beam_indices: npt.NDArray[np.int64] | None = None
    """int64[B x num_return_sequences, T - prompt]: the row, of B x num_beams, that each generated token continued, -1
    after the end; None without beams"""
    confidences: npt.NDArray[np.float32] | None = None
    """with output_confidences, float32[B x num_return_sequences, T - prompt]: the log-probability of every generated
    token by the softmax of what it was chosen from, at temperature 1: with beams too, where token_logprobs are not
    normalized again after something was excluded; 0 after the end"""
    model_logprobs: tuple[npt.NDArray[np.float64], ...] | None = None
    """with output_model_logprobs, of each of the B x num_return_sequences sequences, float64[generated tokens]: the
    log-probability of every generated token by the softmax of the decoder's own logits, before anything changed them
    (within 1e-5), the end token among them"""
    sequences_confidences: npt.NDArray[np.float32] | None = None
    """with output_sequences_confidences, of a model whose folder says how: float32[B x num_return_sequences], from 0 to
    1, how sure the model is of each text, by model_logprobs (see fuseline.folders.confidence)"""
    scores: tuple[npt.NDArray[np.float32], ...] | None = None
    """with output_scores, of every step: what the tokens were chosen by, float32[R, V]: logits, with beams
    log-probabilities, after all that changed them"""
    logits: tuple[npt.NDArray[np.float32], ...] | None = None
    """with output_logits, of every step: the decoder's logits, float32[R, V]"""
    cross_attentions: npt.NDArray[np.float32] | None = None
    """with output_attentions: where each generated token looked, float32[B x num_return_sequences, T - prompt, L, H,
    S], the weights of the decoder's L layers and H heads over the S encoder positions, in the row that it continued; 0
    after the end; None where there was no step"""
    source_attention: npt.NDArray[np.float32] | None = None
    """of a model with several sources, float32[B x num_return_sequences, T - prompt, M]: how much of what was read for
    each generated token each of the M sources gave, by `sources`; the mean over layers and heads; 0 after the end"""
    sources: tuple[str, ...] = ()
    """the names of the M sources"""
    source_starts: tuple[int, ...] = ()
    """of M sources M + 1 numbers: the S positions of cross_attentions from one to the next are those of one source"""
    variant: str = ""
    """the variant of the model that said it"""

    def __repr__(self) -> str:
        """Short: the arrays may hold gigabytes."""
        rows, longest = self.sequences.shape
        kept = [
            name for name in ("beam_indices", "scores", "logits", "cross_attentions") if getattr(self, name) is not None
        ]
        also = f", with {', '.join(kept)}" if kept else ""
        return f"Generation({rows} sequences of at most {longest} tokens{also})"
