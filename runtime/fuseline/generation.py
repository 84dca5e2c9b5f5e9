"""What a caption is asked for (GenerationConfig) and what comes back (Generation).

Names, defaults and meanings are those of GenerationConfig in transformers 4.57. An option that is not supported yet is
known by name and refused unless it has its default; no option is ever ignored.
"""

from __future__ import annotations

import difflib
import math
import numbers
import reprlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import FolderError, InputError

# Options of transformers that fuseline accepts at transformers' default only (None, which means "not set", passes too).
UNSUPPORTED: Mapping[str, Any] = {
    # length and stopping
    "min_length": 0,
    "min_new_tokens": None,
    "max_time": None,
    "stop_strings": None,
    # strategy
    "do_sample": False,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
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
    # sampling
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    # logits
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "renormalize_logits": False,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "remove_invalid_values": False,
    "exponential_decay_length_penalty": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "token_healing": False,
    "guidance_scale": None,
    "watermarking_config": None,
    # what is returned
    "output_attentions": False,
    "output_hidden_states": False,
    "output_scores": False,
    "output_logits": None,
    "return_dict_in_generate": False,
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
    "logits_processor": None,
    "stopping_criteria": None,
    "prefix_allowed_tokens_fn": None,
    "synced_gpus": None,
    "assistant_model": None,
    "streamer": None,
    "negative_prompt_ids": None,
    "negative_prompt_attention_mask": None,
    "use_model_defaults": None,
    "custom_generate": None,
}

# Keys of config.json with an option's name that say how a model runs or what it returns, not which text it gives.
_ABOUT_RUNNING = {"use_cache", "output_attentions", "output_hidden_states", "output_scores", "return_dict_in_generate"}


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


@dataclass(frozen=True)
class Generation:
    """What generate returns for B photos."""

    sequences: npt.NDArray[np.int64]
    """int64[B x num_return_sequences, T]: prompt and generated tokens, the sequences of a photo together and best
    first, padded with the pad token; T is the length of the longest"""
    sequences_scores: npt.NDArray[np.float32]
    """float32[B x num_return_sequences]: sum of the log-probabilities of the generated tokens (the end token counts)
    divided by their number to the power of length_penalty. transformers gives no score for greedy search; here it is
    the same one"""
    timings: Timings
    num_return_sequences: int = 1


@dataclass(frozen=True, init=False)
class GenerationConfig:
    """How to search for text: the fields below, with the names, defaults and meanings of transformers 4.57."""

    max_length: int = 20
    """longest sequence in tokens, prompt included; where nobody set it, 20 tokens and the prompt"""
    max_new_tokens: int | None = None
    """most tokens to generate, prompt not included; wins over max_length"""
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    """a score is divided by the number of generated tokens to this power: > 0 favours longer, < 0 shorter text"""
    early_stopping: bool | str = False
    """True: stop at num_beams complete sequences; False: when better ones are unlikely; "never": when impossible"""
    decoder_start_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None
    # transformers reads a max_length of 20 as "not set", unless the call gives it.
    _length_given: bool = field(default=False, repr=False, compare=False)
    _vocab_size: int | None = field(default=None, repr=False, compare=False)

    def __init__(self, **options: Any) -> None:
        """Raises InputError for an option that is unknown, not supported yet, or has an impossible value."""
        self._fill(options, vocab_size=None, length_given="max_length" in options)

    @classmethod
    def from_folder(
        cls, generation_config: Mapping[str, Any], config: Mapping[str, Any], where: str | Path
    ) -> GenerationConfig:
        """The defaults of a model folder.

        generation_config: generation_config.json parsed, empty where there is none; config: config.json parsed.
        As in transformers, config.json and its decoder section count only where generation_config.json sets nothing.
        The start token is looked up there too where generation_config.json has neither it nor a bos token.
        where: the folder, for error messages. Raises FolderError.
        """
        options = {k: v for k, v in generation_config.items() if not k.startswith("_") and k != "transformers_version"}
        source = "generation_config.json" if options else "config.json"
        made = cls.__new__(cls)
        try:
            fallback = _from_model_config(config)
            options = options or fallback
            if options.get("decoder_start_token_id") is None and options.get("bos_token_id") is None:
                options |= {k: fallback[k] for k in ("decoder_start_token_id", "bos_token_id") if k in fallback}
            made._fill(options, vocab_size=_vocab_size(config), length_given=False)
        except InputError as error:
            raise FolderError(f"{Path(where) / source}: {error}") from error
        return made

    def override(self, **options: Any) -> GenerationConfig:
        """This configuration with a call's options. Raises InputError as the constructor does."""
        made = type(self).__new__(type(self))
        kept = {name: getattr(self, name) for name in _CHECKS}
        made._fill(kept | options, self._vocab_size, self._length_given or "max_length" in options)
        return made

    def total_length(self, prompt_length: int, max_positions: int | None = None) -> int:
        """The longest sequence in tokens, prompt included, for a prompt of that many tokens.

        max_positions: how many positions the decoder can tell apart, if known; the last token of a sequence needs none.
        Warns where both max_new_tokens and max_length were given. Raises InputError where there is no room.
        """
        if self.max_new_tokens is not None:
            if self._length_given:
                warnings.warn(
                    f"both max_new_tokens={self.max_new_tokens} and max_length={self.max_length} are set; "
                    "max_new_tokens is used",
                    UserWarning,
                    stacklevel=4,  # the caller of Model.generate
                )
            length = prompt_length + self.max_new_tokens
        elif self._length_given or self.max_length != GenerationConfig.max_length:
            length = self.max_length
        else:
            length = min(self.max_length + prompt_length, max_positions or self.max_length + prompt_length)
        if length <= prompt_length:
            raise InputError(
                f"the decoder's prompt has {prompt_length} tokens, so max_length must be more than that, not {length}"
            )
        if max_positions is not None and length - 1 > max_positions:
            raise InputError(
                f"this model's decoder has {max_positions} positions, so a sequence can have {max_positions + 1} "
                f"tokens, not {length}; lower max_length or max_new_tokens"
            )
        return length

    def prompt(self, batch: int) -> npt.NDArray[np.int64]:
        """The decoder's prompt, int64[batch, 1]: the start token, or else bos. Raises InputError for neither."""
        start = self.bos_token_id if self.decoder_start_token_id is None else self.decoder_start_token_id
        if start is None:
            raise InputError(
                "decoder_start_token_id is not set and there is no bos_token_id in its place; give one of them"
            )
        return np.full((batch, 1), start, np.int64)

    @property
    def ends(self) -> tuple[int, ...]:
        """The end tokens: none, one or several."""
        eos = self.eos_token_id
        return () if eos is None else eos if isinstance(eos, tuple) else (eos,)

    @property
    def pad(self) -> int | None:
        """The token after a sequence's end: pad_token_id, or else the first end token."""
        return self.pad_token_id if self.pad_token_id is not None else next(iter(self.ends), None)

    def _fill(self, options: Mapping[str, Any], vocab_size: int | None, length_given: bool) -> None:
        """Check the options and set every field once; the dataclass is frozen from then on."""
        values = {f.name: f.default for f in fields(self)}
        for name, value in options.items():
            if name in _CHECKS:
                values[name] = _CHECKS[name](name, value)
            else:
                _refuse(name, value)
        _check_together(values, vocab_size)
        for name, value in (values | {"_vocab_size": vocab_size, "_length_given": length_given}).items():
            object.__setattr__(self, name, value)


def _refuse(name: str, value: Any) -> None:
    """Pass an option that is not supported yet at its default; raise InputError for another value or another name."""
    if name not in UNSUPPORTED:
        near = difflib.get_close_matches(name, [*_CHECKS, *UNSUPPORTED], 1)
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
        raise InputError(f"{name}={reprlib.repr(value)} is not supported yet; {hint}")


def _whole(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {reprlib.repr(value)}")
    return int(value)


def _whole_or_none(name: str, value: Any) -> int | None:
    return None if value is None else _whole(name, value)


def _token(name: str, value: Any) -> int | None:
    return None if value is None else _whole(name, value, least=0)


def _tokens(name: str, value: Any) -> int | tuple[int, ...] | None:
    if not isinstance(value, list | tuple):
        return _token(name, value)
    if not value:
        raise InputError(f"{name} must be a token id or a list of at least one, not an empty list")
    return tuple(_whole(name, each, least=0) for each in value)


def _penalty(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise InputError(f"{name} must be a finite number, not {reprlib.repr(value)}")
    return float(value)


def _early_stopping(name: str, value: Any) -> bool | str:
    if not isinstance(value, bool) and not (isinstance(value, str) and value == "never"):
        raise InputError(f"{name} must be True, False or 'never', not {reprlib.repr(value)}")
    return value


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "max_length": _whole,
    "max_new_tokens": _whole_or_none,
    "num_beams": _whole,
    "num_return_sequences": _whole,
    "length_penalty": _penalty,
    "early_stopping": _early_stopping,
    "decoder_start_token_id": _token,
    "bos_token_id": _token,
    "eos_token_id": _tokens,
    "pad_token_id": _token,
}


def _check_together(values: Mapping[str, Any], vocab_size: int | None) -> None:
    """What no option shows alone: sequences to return against beams, tokens against the vocabulary."""
    beams, returned = values["num_beams"], values["num_return_sequences"]
    if returned > beams:
        raise InputError(
            f"num_return_sequences={returned} is more than num_beams={beams}; there is one sequence a beam at most"
        )
    if vocab_size is None:
        return
    for name in ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"):
        value = values[name]
        for token in value if isinstance(value, tuple) else (value,):
            if token is not None and token >= vocab_size:
                raise InputError(f"{name}={token} is outside the vocabulary, whose ids are 0 to {vocab_size - 1}")


def _from_model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The generation options in config.json: its own, or its decoder section's where its own are at the default."""
    defaults: dict[str, Any] = {f.name: f.default for f in fields(GenerationConfig) if f.name in _CHECKS}
    defaults |= UNSUPPORTED
    section = _decoder_section(config)
    options = {}
    for name, default in defaults.items():
        if name in _ABOUT_RUNNING:
            continue
        value = config.get(name)
        if value is None or value == default:
            value = section.get(name, value)
        if value is not None:
            options[name] = value
    return options


def _decoder_section(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of config.json about the decoder, by the names transformers' composite models give it, or all of it."""
    name = next((n for n in ("decoder", "generator", "text_config") if config.get(n) is not None), None)
    section = config if name is None else config[name]
    if not isinstance(section, Mapping):
        raise InputError(f"{name} must be an object, not {reprlib.repr(section)}")
    return section


def _vocab_size(config: Mapping[str, Any]) -> int | None:
    return _whole_or_none("vocab_size", _decoder_section(config).get("vocab_size", config.get("vocab_size")))
