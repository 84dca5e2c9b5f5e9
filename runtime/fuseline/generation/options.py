"""The options of generation, a record each: type, default, what it accepts and what it does; and what is refused, why.

Names and defaults are those of GenerationConfig in transformers 4.57, and of the arguments of its generate.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

import fuseline.generation.checks as checks

from ..errors import InputError, written
from .timestamps import Timestamps

# Options of transformers that fuseline accepts at transformers' default only (None, which means "not set", passes too).
UNSUPPORTED: Mapping[str, Any] = {
    # strategy
    "penalty_alpha": None,
    "dola_layers": None,
    "constraints": None,
    "force_words_ids": None,
    "low_memory": None,
    # cache and performance
    "use_cache": True,
    "cache_implementation": None,
    "cache_config": None,
    "return_legacy_cache": None,
    "prefill_chunk_size": None,
    "compile_config": None,
    "disable_compile": False,
    # logits
    "token_healing": False,
    "guidance_scale": None,
    "watermarking_config": None,
    # what is returned
    "output_hidden_states": False,
    # assisted decoding
    "is_assistant": False,
    "num_assistant_tokens": 20,
    "num_assistant_tokens_schedule": "constant",
    "assistant_confidence_threshold": 0.4,
    "prompt_lookup_num_tokens": None,
    "max_matching_ngram_size": None,
    "assistant_early_exit": None,
    "assistant_lookbehind": 10,
    "target_lookbehind": 10,
    # arguments of generate() itself
    "synced_gpus": None,
    "assistant_model": None,
    "streamer": None,
    "negative_prompt_ids": None,
    "negative_prompt_attention_mask": None,
    "use_model_defaults": None,
    "custom_generate": None,
}

# Why an option is refused where that is more than that nobody has written it yet.
_ONE_MODEL = "assisted decoding saves time with large decoders, and there is one small one here"
_REMOVED = "transformers itself has moved it out of generate"
_REASONS: Mapping[str, str] = {
    "penalty_alpha": "contrastive search needs the decoder's hidden states, which its graph does not return",
    "dola_layers": "DoLa needs the logits of the decoder's inner layers, which its graph does not return",
    "constraints": _REMOVED,
    "force_words_ids": _REMOVED,
    "guidance_scale": "it compares with an empty prompt; to compare with a source left out there is guidance, an "
    "argument of Model.generate",
    "assistant_model": _ONE_MODEL,
    "prompt_lookup_num_tokens": _ONE_MODEL,
    "assistant_early_exit": _ONE_MODEL,
    "output_hidden_states": "the decoder's graph does not return its hidden states",
}
# What is no option, and where to find it.
ELSEWHERE: Mapping[str, str] = {
    "guidance": "of a model with several sources it is an argument of Model.generate, stream and score",
    "min_confidence": "Model.unsure_below is the model's border, and a pipeline's results have confidence and unsure",
}


# Options that count only with do_sample.
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


AllowedTokens = Callable[[int, npt.NDArray[np.int64]], Sequence[int]]


def option(default: Any, check: Callable[[str, Any], Any]) -> Any:
    """A field of Options. check: makes of a name and a value the value as it is kept, or raises InputError."""
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True, init=False, repr=False)
class Options:
    """Every option that changes what is said or returned."""

    max_length: int = option(20, checks.length)
    """longest sequence in tokens, prompt included; where nobody set it, 20 tokens and the prompt"""
    max_new_tokens: int | None = option(None, checks.whole_or_none)
    """most tokens to generate, prompt not included; wins over max_length"""
    num_beams: int = option(1, checks.whole)
    num_return_sequences: int = option(1, checks.whole)
    num_beam_groups: int = option(1, checks.whole)
    """groups that a photo's beams are divided into, each kept from saying what others say; as in transformers 4.50"""
    diversity_penalty: float = option(0.0, checks.penalty)
    """with groups: what a token costs for each time that earlier groups of the photo have taken it in the same step"""
    length_penalty: float = option(1.0, checks.penalty)
    """a score is divided by the number of generated tokens to this power: > 0 favours longer, < 0 shorter text"""
    early_stopping: bool | str = option(False, checks.early_stopping)
    """True: stop at num_beams complete sequences; False: when better ones are unlikely; "never": when impossible"""
    decoder_start_token_id: int | None = option(None, checks.token)
    bos_token_id: int | None = option(None, checks.token)
    eos_token_id: int | tuple[int, ...] | None = option(None, checks.tokens)
    pad_token_id: int | None = option(None, checks.token)
    min_length: int = option(0, checks.count)
    """no end token before so many tokens, prompt included"""
    min_new_tokens: int | None = option(None, checks.count_or_none)
    """no end token before so many generated tokens; wins over min_length"""
    max_time: float | None = option(None, checks.seconds)
    """seconds after which no further token is begun, the encoder's not counted; what is there then is the result"""
    stop_strings: Sequence[str] | None = option(None, checks.strings)
    """texts that end a sequence, together with the token in which they end"""
    stopping_criteria: Sequence[Callable[[npt.NDArray[np.int64], None], Any]] | None = option(None, checks.functions)
    """functions of the sequences int64[N, T], and of None, that say which of them stop: a bool or bool[N]"""
    repetition_penalty: float = option(1.0, checks.factor)
    """> 1 makes tokens less likely that are there already, < 1 more likely"""
    no_repeat_ngram_size: int = option(0, checks.count)
    """no sequence of so many tokens comes twice"""
    encoder_repetition_penalty: float = option(1.0, checks.factor)
    """> 1 makes tokens likelier that are in the input, < 1 less likely; of models that read texts"""
    encoder_no_repeat_ngram_size: int = option(0, checks.count)
    """no sequence of so many tokens of the input comes; of models that read texts"""
    bad_words_ids: Sequence[Sequence[int]] | None = option(None, checks.words)
    """sequences of tokens that never come"""
    sequence_bias: Sequence[tuple[Sequence[int], float]] | None = option(None, checks.biases)
    """what is added to the score of a sequence's last token after the others; given as a dict or pairs"""
    suppress_tokens: Sequence[int] | None = option(None, checks.token_list)
    """tokens that never come"""
    begin_suppress_tokens: Sequence[int] | None = option(None, checks.token_list)
    """tokens that never come first"""
    forced_bos_token_id: int | None = option(None, checks.token)
    """the token after the start token"""
    forced_eos_token_id: int | tuple[int, ...] | None = option(None, checks.tokens)
    """the last token of a sequence of the greatest length"""
    exponential_decay_length_penalty: tuple[int, float] | None = option(None, checks.decay)
    """after so many generated tokens the end token becomes likelier by this factor with each"""
    remove_invalid_values: bool = option(False, checks.flag)
    """whether NaN and infinite scores are replaced"""
    renormalize_logits: bool = option(False, checks.flag)
    """whether scores are made log-probabilities again after all that changed them"""
    prefix_allowed_tokens_fn: AllowedTokens | None = option(None, checks.function)
    """a function of the photo's index and the tokens so far, int64[T], that returns the tokens that may follow; where
    num_return_sequences are sampled without beams each counts as a photo of its own, as in transformers"""
    timestamps: Timestamps | None = option(None, checks.timestamps)
    """the rules of Whisper's timestamps, which fuseline.speech asks for"""
    logits_processor: Sequence[Callable[..., Any]] | None = option(None, checks.functions)
    """functions of sequences int64[R, T] and scores float32[R, V] that return scores float32[R, V]; they come after the
    options above, before renormalize_logits; scores are logits, with beams log-probabilities"""
    do_sample: bool = option(False, checks.flag)
    """whether tokens are drawn by their probability, with num_beams beams or without; what follows counts only then"""
    temperature: float = option(1.0, checks.factor)
    """scores are divided by it: < 1 favours the probable tokens"""
    top_k: int = option(50, checks.count)
    """only so many of the most probable tokens; 0 for all"""
    top_p: float = option(1.0, checks.share)
    """only the most probable tokens that together have this probability"""
    min_p: float | None = option(None, checks.share_or_none)
    """only tokens with at least this share of the greatest probability"""
    typical_p: float = option(1.0, checks.share_above_0)
    """only the tokens nearest to the expected information that together have this probability"""
    epsilon_cutoff: float = option(0.0, checks.cutoff)
    """only tokens of at least this probability"""
    eta_cutoff: float = option(0.0, checks.cutoff)
    """the same, less where the next token is uncertain"""
    seed: int | np.random.Generator | None = option(None, checks.seed)
    """of the random numbers, those of each photo; a Generator serves all photos; None for other ones at every call"""
    output_scores: bool = option(False, checks.flag)
    """whether Generation.scores is kept"""
    output_confidences: bool = option(False, checks.flag)
    """whether Generation.confidences is kept"""
    output_model_logprobs: bool = option(False, checks.flag)
    """whether Generation.model_logprobs is kept"""
    output_sequences_confidences: bool = option(False, checks.flag)
    """whether Generation.sequences_confidences and model_logprobs are kept, of a model whose folder says how"""
    output_logits: bool | None = option(None, checks.flag_or_none)
    """whether Generation.logits is kept"""
    output_attentions: bool = option(False, checks.flag)
    """whether Generation.cross_attentions is kept: L H S numbers a row and step"""
    return_dict_in_generate: bool = option(False, checks.flag)
    """of no effect: the result is always a Generation"""


# What each option accepts, by its name.
CHECKS: Mapping[str, Callable[[str, Any], Any]] = {each.name: each.metadata["check"] for each in fields(Options)}


def refuse(name: str, value: Any) -> None:
    """Pass an option that is not supported at its default; raise InputError for another value or another name."""
    if name not in UNSUPPORTED:
        if name in ELSEWHERE:
            raise InputError(f"{name} is not a generation option; {ELSEWHERE[name]}")
        near = difflib.get_close_matches(name[:80], CHECKS, 1)  # a file's names may have megabytes
        raise InputError(f"{name} is not a generation option" + (f"; did you mean {near[0]}?" if near else ""))
    default = UNSUPPORTED[name]
    # True == 1 and False == 0, but use_cache=1 or top_k=True is a mistake; 1 for 1.0 is not.
    same = (
        isinstance(value, bool) == isinstance(default, bool)
        and isinstance(value, int | float | str)
        and value == default
    )
    if value is not None and not same:
        hint = "leave it out" if default is None else f"leave it out or at {default!r}"
        why = f", because {_REASONS[name]}" if name in _REASONS else " yet"
        raise InputError(f"{name}={written(value)} is not supported{why}; {hint}")
