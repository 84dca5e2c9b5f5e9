"""The options of generation as files have them: what counts, what is about something else, what a null means.

A file was written by some version of transformers or by a script, and nobody who opens a model can be asked about it.
So what it says counts as transformers 4.57 takes it, where that says something about the text, and what does not is
left alone. What a caller gives is judged by fuseline.generation.options alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError, shown, written
from ..warning import warn
from .checks import whole_or_none
from .options import CHECKS, SAMPLING, UNSUPPORTED

# How a model is run or trained, and what is returned: the text is the same. Of assisted decoding too, which checks each
# token that is guessed; the two about the encoder's tokens count, in transformers, only where it reads tokens.
ABOUT_RUNNING = frozenset({
    "use_cache", "cache_implementation", "cache_config", "return_legacy_cache", "prefill_chunk_size", "compile_config",
    "disable_compile", "low_memory", "alignment_heads", "output_attentions", "output_hidden_states", "output_scores",
    "output_logits", "output_confidences", "output_model_logprobs", "output_sequences_confidences",
    "return_dict", "return_dict_in_generate", "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "assistant_confidence_threshold",
    "prompt_lookup_num_tokens",
    "max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind", "target_lookbehind",
})  # fmt: skip
# What Whisper's say of its tokens, which fuseline.speech reads. Its forced_decoder_ids are of older versions:
# transformers takes the language and the task of a call in their place.
ABOUT_SPEECH = frozenset({
    "is_multilingual", "lang_to_id", "task_to_id", "language", "task", "no_timestamps_token_id", "return_timestamps",
    "max_initial_timestamp_index", "prev_sot_token_id", "forced_decoder_ids", "median_filter_width",
    "timestamps",  # an option of calls, which no file has
})  # fmt: skip
# Left alone too where the encoder reads pixels, which are no tokens.
OF_INPUT_TOKENS = ("encoder_repetition_penalty", "encoder_no_repeat_ngram_size")

_ONE_TOKEN = ("decoder_start_token_id", "bos_token_id", "pad_token_id", "forced_bos_token_id")
_WHOLE = {
    *("max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_beams", "num_beam_groups"),
    *("num_return_sequences", "no_repeat_ngram_size", "top_k", "eos_token_id", "forced_eos_token_id"),
    *("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", *_ONE_TOKEN),
}
_OWN = "generation_config.json"
_MOST_NAMED = 5
# The options that transformers 4.57 looks for in config.json; others there are none of generation.
_OF_MODEL_CONFIG = (
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "temperature", "top_k", "top_p"),
    *("typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "bad_words_ids"),
    *("num_return_sequences", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values"),
    *("exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "num_beam_groups"),
    *("diversity_penalty", "encoder_no_repeat_ngram_size", "output_scores", "return_dict_in_generate"),
)


def options_of_files(
    generation_config: Mapping[str, Any],
    config: Mapping[str, Any],
    where: str,
    vocab_size: int | None,
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    """The options that a folder sets, in the form in which a call gives them.

    generation_config: generation_config.json parsed, empty where there is none. As in transformers, config.json and its
    decoder section count only where it sets nothing, and the start token is looked up there too where it has neither it
    nor a bos token. where: the name of generation_config.json, for warnings. vocab_size: of the decoder, if known.
    defaults: of all options. Raises InputError for a section that is none.
    """
    fallback = _from_model_config(config, defaults)
    counts = source_of(generation_config, config, defaults) == _OWN
    options = _set(_known(generation_config, where)) if counts else fallback
    if options.get("decoder_start_token_id") is None and options.get("bos_token_id") is None:
        options |= {k: fallback[k] for k in ("decoder_start_token_id", "bos_token_id") if k in fallback}
    _leave_unusable_tokens(options, vocab_size, where)
    if options.get("num_beam_groups", 1) == 1:  # of which only groups of beams know
        options.pop("diversity_penalty", None)
    return options


def source_of(generation_config: Mapping[str, Any], config: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """The name of the file whose options count."""
    own = _has_options(generation_config) and not _is_overruled(generation_config, config, defaults)
    return _OWN if own else "config.json"


def without_effect(options: Mapping[str, Any]) -> dict[str, Any]:
    """The impossible values of options of sampling in a folder that does not sample; they count once a call does."""
    if options.get("do_sample", False) is not False:
        return {}
    return {name: options[name] for name in SAMPLING if name in options and not _passes(name, options[name])}


def vocab_size_of(config: Mapping[str, Any]) -> int | None:
    """The decoder's vocabulary by config.json, None where it does not say. Raises InputError."""
    return whole_or_none("vocab_size", _decoder_section(config).get("vocab_size", config.get("vocab_size")))


def _has_options(generation_config: Mapping[str, Any]) -> bool:
    return any(not _is_metadata(name) for name in generation_config)


def _is_overruled(generation_config: Mapping[str, Any], config: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    """Whether config.json counts in its place, as generate has it until transformers 5.

    The file says that it was made of config.json, and config.json was changed since: it has options of its own.
    """
    if generation_config.get("_from_model_config") is not True:
        return False
    own = {name: config.get(name) for name in _OF_MODEL_CONFIG}
    return any(value is not None and value != defaults[name] for name, value in own.items())


def _is_metadata(name: str) -> bool:
    return name.startswith("_") or name == "transformers_version"


def _passes(name: str, value: Any) -> bool:
    try:
        CHECKS[name](name, value)
    except InputError:
        return False
    return True


def _known(generation_config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options that exist and say something about the text; the others are named in one warning."""
    aside = ABOUT_RUNNING | ABOUT_SPEECH
    names = [name for name in generation_config if not _is_metadata(name) and name not in aside]
    unknown = [name for name in names if name not in CHECKS and (name not in UNSUPPORTED or name == "custom_generate")]
    unknown = [name for name in unknown if generation_config[name] is not None]
    if unknown:
        named = ", ".join(_with_nearest(name) for name in unknown[:_MOST_NAMED])
        more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        what = "is no generation option and is" if len(unknown) == 1 else "are no generation options and are"
        warn(f"{where}: {named}{more} {what} left alone")
    return {name: generation_config[name] for name in names if name not in unknown}


def _with_nearest(name: str) -> str:
    near = difflib.get_close_matches(name[:80], CHECKS, 1, cutoff=0.8)
    return shown(name, 80) + (f" (did you mean {near[0]}?)" if near else "")


def _set(options: Mapping[str, Any]) -> dict[str, Any]:
    """Each value as transformers takes it, without nulls: they set nothing (but top_k, whose default is not "none")."""
    found = {}
    for name, value in options.items():
        read = _READINGS[name](value) if name in _READINGS else value
        if name in _WHOLE:
            read = _whole(read)
        if name in _ONE_TOKEN and isinstance(read, list) and len(read) == 1:
            read = read[0]
        if read is not None or name == "top_k":
            found[name] = read
    return found


def _whole(value: Any) -> Any:
    """Floats that are whole numbers as such, in lists too."""
    if isinstance(value, list):
        return [_whole(each) for each in value] if _is_flat(value) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_flat(value: list[Any]) -> bool:
    """Whether it is a list, or a list of lists, as bad_words_ids is; a file's may be nested without end."""
    return not any(isinstance(inner, list) for each in value if isinstance(each, list) for inner in each)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_0_or_1(value: Any) -> bool:
    return _is_number(value) and value in (0, 1)


def _numbers(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What is done with numbers; what is none is left to the option's own check."""
    return lambda value: read(value) if _is_number(value) and value == value else value


# How transformers takes values that a call may not give. It asks `is True` of three flags, so a 1 switches none of them
# on; a share of all or more, and a cutoff outside 0 to 1, exclude nothing; lengths below 0 ask for nothing.
_READINGS: Mapping[str, Callable[[Any], Any]] = {
    "do_sample": lambda value: bool(value) if _is_0_or_1(value) else value,
    "early_stopping": lambda value: False if _is_0_or_1(value) else value,
    "remove_invalid_values": lambda value: False if _is_0_or_1(value) else value,
    "renormalize_logits": lambda value: False if _is_0_or_1(value) else value,
    "top_p": _numbers(lambda value: min(value, 1.0)),
    "typical_p": _numbers(lambda value: min(value, 1.0)),
    "epsilon_cutoff": _numbers(lambda value: value if 0 < value < 1 else 0.0),
    "eta_cutoff": _numbers(lambda value: value if 0 < value < 1 else 0.0),
    "min_length": _numbers(lambda value: max(value, 0)),
    "min_new_tokens": _numbers(lambda value: max(value, 0)),
    "no_repeat_ngram_size": _numbers(lambda value: max(value, 0)),
    "penalty_alpha": _numbers(lambda value: value if value > 0 else None),
    "guidance_scale": _numbers(lambda value: None if value == 1 else value),
    "eos_token_id": lambda value: None if value == [] else value,
}


def _leave_unusable_tokens(options: dict[str, Any], vocab_size: int | None, where: str) -> None:
    """Take out ids of no token where nothing can come of them; where something would, they stay, and are refused.

    A bos token stands for the start token only where there is none. Pads stand after a text's end. An end that never
    comes ends nothing, which is worth a warning; what is never to come needs no help.
    """

    def comes(token: Any) -> bool:
        return not isinstance(token, int) or (token >= 0 and (vocab_size is None or token < vocab_size))

    if options.get("decoder_start_token_id") is not None and not comes(options.get("bos_token_id")):
        del options["bos_token_id"]
    if not comes(options.get("pad_token_id")):
        del options["pad_token_id"]
    for name in ("suppress_tokens", "begin_suppress_tokens"):
        if isinstance(options.get(name), list):
            options[name] = [token for token in options[name] if comes(token)]
    given = options.get("eos_token_id")
    ends = given if isinstance(given, list) else [given]
    kept = [token for token in ends if comes(token)]
    if len(kept) < len(ends):
        options["eos_token_id"] = kept or None
        if not kept:
            right = "" if vocab_size is None else f", whose ids are 0 to {vocab_size - 1}"
            warn(f"{where}: eos_token_id={written(given)} is outside the vocabulary{right}, so no text ends by itself")


def _from_model_config(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The generation options in config.json: its own, or its decoder section's where its own are at the default."""
    section = _decoder_section(config)
    options = {}
    for name, default in defaults.items():
        if name in ABOUT_RUNNING or name in ABOUT_SPEECH:
            continue
        value = config.get(name)
        if value is None or value == default:
            value = section.get(name, value)
        if value is not None:
            options[name] = value
    return _set(options)


def _decoder_section(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of config.json about the decoder, by the names transformers' composite models give it, or all of it."""
    name = next((n for n in ("decoder", "generator", "text_config") if config.get(n) is not None), None)
    section = config if name is None else config[name]
    if not isinstance(section, Mapping):
        raise InputError(f"{name} must be an object, not {written(section)}")
    return section
