"""How the pipeline of speech cuts sounds and shows what was said: transformers' keywords, checked."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias

from ..errors import InputError, written
from ..speech.chunks import Timestamps

Seconds: TypeAlias = "float | tuple[float, float] | list[float]"
KEYWORDS = ("chunk_length_s", "stride_length_s", "return_timestamps", "return_language", "ignore_warning")
_WORD: Literal["word"] = "word"
_LEAST = 1.0  # seconds of a chunk: of shorter ones a sound has so many that it would never be done
_LEAST_STEP = 0.1  # seconds from one chunk's own part to the next, for the same reason
_STRIDES_OF_A_CHUNK = 6  # how often a stride goes into a chunk where a call does not say


class SpeechReading(NamedTuple):
    """What a call says of sounds and results; None where it does not.

    chunk: seconds of the chunks that long sounds are cut into, 0 for none; strides: seconds that a chunk shares with
    those beside it; timestamps: whether results say when something is said; language: whether they say in which.
    """

    chunk: float | None = None
    strides: tuple[float, float] | None = None
    timestamps: Timestamps | None = None
    language: bool | None = None

    def taking(self, options: dict[str, Any]) -> SpeechReading:
        """The same with what a call's keywords say, which are taken out of options. Raises InputError."""
        given = {name: options.pop(name) for name in KEYWORDS if name in options}
        _flag("ignore_warning", given)  # there is none to ignore
        found: dict[str, Any] = {
            "chunk": _chunk(given.get("chunk_length_s")),
            "strides": _strides(given.get("stride_length_s")),
            "timestamps": _timestamps(given.get("return_timestamps")),
            "language": _flag("return_language", given),
        }
        return self._replace(**{name: value for name, value in found.items() if value is not None})

    def check(self) -> None:
        """Raises InputError for strides of no chunks."""
        if self.chunk is None and self.strides is not None and any(self.strides):
            raise InputError("stride_length_s is what chunks share; give chunk_length_s too, or leave it out")

    def samples(self, sampling_rate: int) -> tuple[int, int, int] | None:
        """How long a chunk and its two strides are, in samples; None where sounds are not cut. Raises InputError for
        chunks that hardly go on."""
        if not self.chunk:
            return None
        strides = self.strides or (self.chunk / _STRIDES_OF_A_CHUNK,) * 2
        step = self.chunk - sum(strides)
        if 0 < step < _LEAST_STEP:
            shorter = f"shorter strides, so that at least {_LEAST_STEP:g} s are left"
            raise InputError(f"stride_length_s leaves {step:.2g} s of each chunk of {self.chunk:g} s; give {shorter}")
        length, left, right = (round(each * sampling_rate) for each in (self.chunk, *strides))
        return length, left, right


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"{name} must be a number of seconds of at least 0, not {written(value)}")
    return float(value)


def _chunk(value: Any) -> float | None:
    seconds = _seconds("chunk_length_s", value)
    if seconds is not None and 0 < seconds < _LEAST:
        raise InputError(f"chunk_length_s must be at least {_LEAST:g} s, or 0 for no chunks, not {written(value)}")
    return seconds


def _strides(value: Any) -> tuple[float, float] | None:
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise InputError(
                f"stride_length_s must be seconds, or those on the left and the right, not {written(value)}"
            )
        left, right = (_seconds("stride_length_s", each) or 0.0 for each in value)
        return left, right
    seconds = _seconds("stride_length_s", value)
    return None if seconds is None else (seconds, seconds)


def _timestamps(value: Any) -> Timestamps | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value == _WORD:
        return _WORD
    raise InputError(f"return_timestamps must be True, False or {_WORD!r}, not {written(value)}")


def _flag(name: str, given: dict[str, Any]) -> bool | None:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, not {written(value)}")
    return value
