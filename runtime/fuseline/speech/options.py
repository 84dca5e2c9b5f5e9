"""What may be asked of a transcription: the options of speech, and with them those of generation.

Names and meanings are those of transformers 4.57 (`WhisperGenerationMixin.generate`) where it has them; hotwords is
faster-whisper's, drop_loops and drop_silence are fuseline's own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from ..arrays import as_array
from ..errors import InputError, written
from ..generation import checks
from ..generation.options import CHECKS as OF_GENERATION
from ..generation.options import UNSUPPORTED, Options, option, refuse
from ..migrating.whisper_names import hint

FIRST, ALL = "first-segment", "all-segments"
WORD = "word"

# Options of generation that speech sets itself.
_OWN_WAY: Mapping[str, str] = {
    "num_return_sequences": "there is one transcription of a sound",
    "timestamps": "return_timestamps asks for them",
    "output_scores": "Model.generate returns them",
    "output_logits": "Model.generate returns them",
    "output_attentions": 'return_timestamps="word" says when words are said, and Model.generate returns them',
    "output_confidences": "each segment has its avg_logprob",
    "output_model_logprobs": "Model.generate returns them",
    "output_sequences_confidences": "each segment has its avg_logprob",
}


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} must be a text that is not empty, or None, not {written(value)}")
    return value


def _timestamps(name: str, value: Any) -> bool | str | None:
    if value is not None and not isinstance(value, bool) and value != WORD:
        raise InputError(f"{name} must be True, False, None or {WORD!r}, not {written(value)}")
    return value  # type: ignore[no-any-return]


def _tokens(name: str, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    ids = as_array(value)
    if ids.ndim != 1 or not ids.size or not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0:
        raise InputError(f"{name} must be token ids, at least one, not {written(value)}")
    return tuple(ids.tolist())


def _condition(name: str, value: Any) -> str:
    if value not in (None, FIRST, ALL):
        raise InputError(f"{name} must be {FIRST!r} or {ALL!r}, not {written(value)}")
    return ALL if value == ALL else FIRST


def _temperatures(name: str, value: Any) -> tuple[float, ...]:
    """One or several; None is 0, as in transformers."""
    given = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
    found = tuple(0.0 if each is None else checks.penalty(name, each) for each in given)
    if not found or min(found) < 0:
        raise InputError(f"{name} must be a number of at least 0, or a list of these, not {written(value)}")
    return found


def _threshold(name: str, value: Any) -> float | None:
    return None if value is None else checks.penalty(name, value)


def _latest(name: str, value: Any) -> float | None:
    seconds = _threshold(name, value)
    if seconds is not None and not 0 <= seconds <= 30:
        raise InputError(f"{name} must be from 0 to 30 seconds, not {written(value)}")
    return seconds


@dataclass(frozen=True, init=False, repr=False)
class SpeechOptions:
    """How a sound is transcribed."""

    language: str | None = option(None, _text)
    """by name, code or token; "auto" for the one that is heard in the first window, None for what the model's files say
    or else the one that is heard"""
    task: str | None = option(None, _text)
    """"transcribe", or "translate" into English; None for what the model's files say"""
    return_timestamps: bool | str | None = option(None, _timestamps)
    """whether the model says when segments begin and end; "word" for words too; None for sounds of more than 30 s, of
    which it must"""
    prompt: str | None = option(None, _text)
    """a text that the sound goes on from, for its style and its names"""
    prompt_ids: tuple[int, ...] | None = option(None, _tokens)
    """the same as tokens, as WhisperProcessor.get_prompt_ids makes them"""
    prompt_condition_type: str = option(FIRST, _condition)
    """with condition_on_prev_tokens: whether the prompt stands before what was said, "first-segment", or before every
    window anew, "all-segments"; without it every window has the prompt"""
    hotwords: str | None = option(None, _text)
    """words that may be said, put before what was said before every window, as in faster-whisper"""
    temperature: tuple[float, ...] = option((0.0,), _temperatures)
    """0: the likeliest tokens; above: drawn, without beams. Of several the first, and the next where a threshold says
    that a window went wrong; after that the next window begins with the first again, beams and all (transformers goes
    on without beams)"""
    compression_ratio_threshold: float | None = option(None, _threshold)
    """a window's tokens, two or three bytes each, that zlib packs further than this repeat themselves: 1.35 is usual"""
    logprob_threshold: float | None = option(None, _threshold)
    """a window whose tokens have a lower mean log-probability went wrong: -1.0 is usual"""
    no_speech_threshold: float | None = option(None, _threshold)
    """with a lower log-probability than logprob_threshold and a higher probability that nobody speaks than this, a
    window is passed over: 0.6 is usual; with drop_silence by the latter alone"""
    condition_on_prev_tokens: bool = option(False, checks.flag)
    """whether a window's prompt is what was said before, unless that was drawn at a temperature of 0.5 or more"""
    max_initial_timestamp: float | None = option(None, _latest)
    """seconds after which no window's first timestamp may be; None for what the model's files say"""
    drop_loops: bool = option(False, checks.flag)
    """whether a window that repeats itself at the last temperature too is left out of the text: one above
    2.4, and above compression_ratio_threshold"""
    drop_silence: bool = option(False, checks.flag)
    """whether windows in which probably nobody speaks are left out of the text without being decoded, above
    no_speech_threshold, or 0.6 where there is none; and what is said after the end of the sound"""
    seed: int | np.random.Generator | None = option(None, checks.seed)
    """of what is drawn; None for other draws at every call"""
    max_time: float | None = option(None, checks.seconds)
    """seconds after which the transcription ends with what was said until then"""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """all other options by name: num_beams, length_penalty, repetition_penalty ..., see GenerationConfig"""

    def __init__(self, **options: Any) -> None:
        """Raises InputError for an option that is unknown or impossible, and for some that do not go together."""
        values = {each.name: each.default for each in fields(self)}
        others: dict[str, Any] = {}
        for name, value in options.items():
            if name in _CHECKS:
                values[name] = _CHECKS[name](name, value)
            elif name in OF_GENERATION:
                others[name] = _of_generation(name, value)
            else:
                _refuse(name, value)
        draws = others.pop("do_sample", None)
        _check_together(values, None if options.get("do_sample") is None else draws)
        for name, value in (values | {"generation": MappingProxyType(others)}).items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """What differs from the defaults."""
        found = {name: getattr(self, name) for name in _CHECKS}
        differing = {name: value for name, value in found.items() if value != getattr(SpeechOptions, name)}
        return (
            f"SpeechOptions({', '.join(f'{n}={written(v)}' for n, v in (differing | dict(self.generation)).items())})"
        )

    @property
    def words(self) -> bool:
        """Whether words are asked for."""
        return self.return_timestamps == WORD


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    each.name: each.metadata["check"] for each in fields(SpeechOptions) if "check" in each.metadata
}


def _of_generation(name: str, value: Any) -> Any:
    """An option of generation, checked. Raises InputError."""
    checked = OF_GENERATION[name](name, value)
    if name in _OWN_WAY and checked != getattr(Options, name):
        raise InputError(f"{name}={written(value)} is no option of speech: {_OWN_WAY[name]}; leave it out")
    return checked


def _refuse(name: str, value: Any) -> None:
    """Pass an option of transformers that is not supported at its default. Raises InputError for all others."""
    if name not in UNSUPPORTED:
        near = difflib.get_close_matches(name[:80], [*_CHECKS, *OF_GENERATION], 1)
        meant = hint(name) or (f"; did you mean {near[0]}?" if near else "")
        raise InputError(f"{name} is no option of speech{meant}")
    refuse(name, value)


def _check_together(values: Mapping[str, Any], do_sample: bool | None) -> None:
    """Raise InputError for options that do not go together."""
    if values["prompt"] is not None and values["prompt_ids"] is not None:
        raise InputError("prompt and prompt_ids are the same thing, as text and as tokens; give one of them")
    if values["prompt_condition_type"] == ALL and not values["condition_on_prev_tokens"]:
        raise InputError(f"prompt_condition_type={ALL!r} needs condition_on_prev_tokens=True; without it all have it")
    draws = max(values["temperature"]) > 0
    if do_sample is not None and do_sample != draws:
        right = "a temperature above 0" if do_sample else "temperature=0"
        raise InputError(f"do_sample={do_sample} does not go with the temperature, which decides; give {right}")
    alone = values["logprob_threshold"] is None and not values["drop_silence"]
    if values["no_speech_threshold"] is not None and alone:
        raise InputError(
            "no_speech_threshold counts together with logprob_threshold; give both, or drop_silence=True, with which "
            "it counts alone"
        )
