"""When sequences end, and why: end tokens, stop strings, the caller's criteria, the time, the greatest length."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..arrays import Bool, Int64, as_array
from ..errors import InputError

if TYPE_CHECKING:
    from ..generation.config import GenerationConfig

Int8 = npt.NDArray[np.int8]

# Why a sequence ends, by its number; 0 while it goes on. Of several reasons the first counts.
REASONS = ("", "eos_token", "stop_strings", "stopping_criteria", "max_time", "max_length")
_EOS_TOKEN, _STOP_STRINGS, _STOPPING_CRITERIA, _MAX_TIME, _MAX_LENGTH = range(1, 6)


class Endings:
    """Why each of some sequences ends. The clock of max_time starts when this is made.

    A criterion of the caller's is called with sequences int64[N, T] and None, transformers' scores without
    output_scores, and returns a bool for all or bool[N].
    """

    def __init__(self, config: GenerationConfig, longest: int, text_of: Callable[[int], str] | None) -> None:
        """longest: tokens of the longest sequence; text_of: the text of a token inside a text, for stop_strings."""
        ends = config.ends
        self._table = np.zeros(max(ends, default=0) + 2, np.int8)  # of a token; the last entry for all larger ones
        self._table[list(ends)] = _EOS_TOKEN
        self._longest = longest
        self._criteria: list[tuple[int, Callable[[Int64], Bool]]] = []
        if config.stop_strings:
            if text_of is None:
                raise InputError("stop_strings needs the text of tokens, and there is no tokenizer here")
            self._criteria.append((_STOP_STRINGS, StopStrings(config.stop_strings, text_of)))
        for criterion in config.stopping_criteria or ():
            self._criteria.append((_STOPPING_CRITERIA, _Own(criterion)))
        self._deadline = None if config.max_time is None else time.monotonic() + config.max_time

    def __call__(self, tokens: Int64, length: int, sequences: Callable[[], Int64]) -> Int8:
        """Why sequences end, int8 of the shape of `tokens`, their last ones; they have `length` tokens.

        sequences: gives them, int64[N, length], where they are looked at. Raises InputError where a criterion returns
        anything but a bool.
        """
        why: Int8 = np.take(self._table, tokens, mode="clip")
        if self._criteria:
            whole = sequences()
            for reason, criterion in self._criteria:
                why[(why == 0) & criterion(whole).reshape(why.shape)] = reason
        if self._deadline is not None and time.monotonic() > self._deadline:
            why[why == 0] = _MAX_TIME
        if length == self._longest:
            why[why == 0] = _MAX_LENGTH
        return why


class _Own:
    """A caller's stopping criterion, whose answer is checked."""

    def __init__(self, function: Callable[[Int64, None], Any]) -> None:
        self._function = function

    def __call__(self, sequences: Int64) -> Bool:
        returned = self._function(sequences, None)
        result = as_array(returned)
        if result.dtype != np.bool_ or result.shape not in ((), (len(sequences),)):
            raise InputError(
                f"a stopping criterion must return a bool or bool[{len(sequences)}], "
                f"not {result.dtype}{list(result.shape)}"
            )
        return np.broadcast_to(result, len(sequences))


class StopStrings:
    """Whether one of the strings ends in a sequence's last token (StopStringCriteria)."""

    def __init__(self, strings: Sequence[str], text_of: Callable[[int], str]) -> None:
        self._strings = strings
        self._text_of = text_of
        self._most = max(map(len, strings))

    def __call__(self, sequences: Int64) -> Bool:
        return np.array([self._ends(row) for row in sequences.tolist()])

    def _ends(self, tokens: list[int]) -> bool:
        last = self._text_of(tokens[-1])
        pieces, before = [last], 0  # the last of them first
        for token in reversed(tokens[:-1]):
            if before >= self._most:
                break
            pieces.append(self._text_of(token))
            before += len(pieces[-1])
        text = "".join(reversed(pieces))
        return any(text.find(string, max(0, before - len(string) + 1)) >= 0 for string in self._strings)
