"""The options of generation: what each accepts, and what is refused with which reason.

Names and defaults are those of GenerationConfig in transformers 4.57, and of the arguments of its generate.
"""

from __future__ import annotations

import difflib
import math
import numbers
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError, written

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
    "assistant_model": _ONE_MODEL,
    "prompt_lookup_num_tokens": _ONE_MODEL,
    "assistant_early_exit": _ONE_MODEL,
    "output_hidden_states": "the decoder's graph does not return its hidden states",
}


# Options that count only with do_sample.
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")

MOST_TOKENS = 1 << 24  # ids below this fit every vocabulary; the largest in use have some 250,000 entries
_LARGEST_SEED = 1 << 1024
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def refuse(name: str, value: Any) -> None:
    """Pass an option that is not supported at its default; raise InputError for another value or another name."""
    if name not in UNSUPPORTED:
        near = difflib.get_close_matches(name[:80], [*CHECKS, *UNSUPPORTED], 1)  # a file's names may have megabytes
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


def _whole(name: str, value: Any, least: int = 1, most: int = sys.maxsize) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        limit = "" if not isinstance(value, numbers.Integral) or int(value) <= most else f" and at most {most}"
        raise InputError(f"{name} must be a whole number of at least {least}{limit}, not {written(value)}")
    return int(value)


def whole_or_none(name: str, value: Any) -> int | None:
    """A whole number of at least 1, or None. Raises InputError."""
    return None if value is None else _whole(name, value)


def _id(name: str, value: Any) -> int:
    return _whole(name, value, least=0, most=MOST_TOKENS - 1)


def _token(name: str, value: Any) -> int | None:
    return None if value is None else _id(name, value)


def _tokens(name: str, value: Any) -> int | tuple[int, ...] | None:
    if not isinstance(value, list | tuple):
        return _token(name, value)
    if not value:
        raise InputError(f"{name} must be a token id or a list of at least one, not an empty list")
    return tuple(_id(name, each) for each in value)


def _penalty(name: str, value: Any) -> float:
    """A finite number; scores are float32, so one that is infinite there counts as such."""
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        try:
            number = float(value)
        except (OverflowError, ValueError):  # a whole number or a fraction that no float is near to
            number = math.inf
    if not abs(number) <= _LARGEST_FLOAT32:
        raise InputError(f"{name} must be a finite number, not {written(value)}")
    return number


def _length(name: str, value: Any) -> int:
    """A whole number of at least 1; None means that none is set, as 20 does unless a call gives it."""
    return 20 if value is None else _whole(name, value)


def _early_stopping(name: str, value: Any) -> bool | str:
    """True, False or "never". transformers takes 1 and 0 too, and neither of them for True."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value in (0, 1):
        return False
    if not isinstance(value, bool) and not (isinstance(value, str) and value == "never"):
        raise InputError(f"{name} must be True, False or 'never', not {written(value)}")
    return value


def _count(name: str, value: Any) -> int:
    """A whole number of which 0 and None mean "none"."""
    return 0 if value is None else _whole(name, value, least=0)


def _flag(name: str, value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, not {written(value)}")
    return bool(value)


def _factor(name: str, value: Any) -> float:
    """A number above 0; None means 1, which changes nothing."""
    number = 1.0 if value is None else _penalty(name, value)
    if np.float32(number) <= 0:
        raise InputError(f"{name} must be more than 0, not {written(value)}")
    return number


def _seconds(name: str, value: Any) -> float | None:
    return None if value is None else _factor(name, value)


def _share(name: str, value: Any) -> float:
    """A number from 0 to 1; None means 1, which excludes nothing."""
    number = 1.0 if value is None else _penalty(name, value)
    if not 0 <= number <= 1:
        raise InputError(f"{name} must be from 0 to 1, not {written(value)}")
    return number


def _share_above_0(name: str, value: Any) -> float:
    return min(_factor(name, value), _share(name, value))


def _cutoff(name: str, value: Any) -> float:
    """A number from 0 to below 1; None means 0, which excludes nothing."""
    number = _share(name, 0.0 if value is None else value)
    if number == 1:
        raise InputError(f"{name} must be less than 1, not {written(value)}")
    return number


def _strings(name: str, value: Any) -> tuple[str, ...] | None:
    """A string or a list of strings, none of them empty."""
    if value is None:
        return None
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list | tuple) or not all(isinstance(each, str) and each for each in strings):
        raise InputError(f"{name} must be a string or a list of strings, none of them empty, not {written(value)}")
    return tuple(strings) or None


def _seed(name: str, value: Any) -> int | np.random.Generator | None:
    if value is None or isinstance(value, np.random.Generator):
        return value
    return _whole(name, value, least=0, most=_LARGEST_SEED)


def _token_list(name: str, value: Any) -> tuple[int, ...] | None:
    """Token ids, of which there may be none."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise InputError(f"{name} must be a list of token ids, not {written(value)}")
    return tuple(_id(name, each) for each in value)


def _words(name: str, value: Any) -> tuple[tuple[int, ...], ...] | None:
    """At least one sequence of at least one token."""
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value or not all(isinstance(w, list | tuple) and w for w in value):
        raise InputError(f"{name} must be a list of lists of token ids, none of them empty, not {written(value)}")
    return tuple(tuple(_id(name, token) for token in word) for word in value)


def _biases(name: str, value: Any) -> tuple[tuple[tuple[int, ...], float], ...] | None:
    """A dict from tuples of tokens to numbers, or pairs of both in a list, as JSON has it; of equal ones the last."""
    if value is None:
        return None
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        raise InputError(f"{name} must be a dict {{tokens: bias}} or a list of such pairs, not {written(value)}")
    words = _words(name, [tokens for tokens, _ in pairs]) or ()
    biases = [_bias(name, bias) for _, bias in pairs]
    return tuple(dict(zip(words, biases, strict=True)).items())


def _bias(name: str, value: Any) -> float:
    """A finite number, or an infinite one: what always comes, or never."""
    infinite = isinstance(value, float | np.floating) and math.isinf(value)
    return float(value) if infinite else _penalty(name, value)


def _decay(name: str, value: Any) -> tuple[int, float] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InputError(f"{name} must be a pair (start, factor), not {written(value)}")
    return _whole(name, value[0], least=0), _factor(name, value[1])


def _function(name: str, value: Any) -> Callable[..., Any] | None:
    if value is not None and not callable(value):
        raise InputError(f"{name} must be a function, not {written(value)}")
    return value  # type: ignore[no-any-return]


def _functions(name: str, value: Any) -> tuple[Callable[..., Any], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(callable(each) for each in value):
        raise InputError(f"{name} must be a list of functions, not {written(value)}")
    return tuple(value) or None


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "max_length": _length,
    "max_new_tokens": whole_or_none,
    "num_beams": _whole,
    "num_return_sequences": _whole,
    "num_beam_groups": _whole,
    "diversity_penalty": _penalty,
    "length_penalty": _penalty,
    "early_stopping": _early_stopping,
    "decoder_start_token_id": _token,
    "bos_token_id": _token,
    "eos_token_id": _tokens,
    "pad_token_id": _token,
    "min_length": _count,
    "min_new_tokens": lambda name, value: None if value is None else _count(name, value),
    "max_time": _seconds,
    "stop_strings": _strings,
    "stopping_criteria": _functions,
    "repetition_penalty": _factor,
    "no_repeat_ngram_size": _count,
    "encoder_repetition_penalty": _factor,
    "encoder_no_repeat_ngram_size": _count,
    "bad_words_ids": _words,
    "sequence_bias": _biases,
    "suppress_tokens": _token_list,
    "begin_suppress_tokens": _token_list,
    "forced_bos_token_id": _token,
    "forced_eos_token_id": _tokens,
    "exponential_decay_length_penalty": _decay,
    "remove_invalid_values": _flag,
    "renormalize_logits": _flag,
    "prefix_allowed_tokens_fn": _function,
    "logits_processor": _functions,
    "do_sample": _flag,
    "temperature": _factor,
    "top_k": _count,
    "top_p": _share,
    "min_p": lambda name, value: None if value is None else _share(name, value),
    "typical_p": _share_above_0,
    "epsilon_cutoff": _cutoff,
    "eta_cutoff": _cutoff,
    "seed": _seed,
    "output_scores": _flag,
    "output_attentions": _flag,
    "output_logits": lambda name, value: None if value is None else _flag(name, value),
    "return_dict_in_generate": _flag,
}
