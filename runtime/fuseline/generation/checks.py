"""What single options of generation accept: functions of an option's name and a value, which return the value as it is
kept or raise InputError.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError, written
from .timestamps import Timestamps

MOST_TOKENS = 1 << 24  # ids below this fit every vocabulary; the largest in use have some 250,000 entries
_LARGEST_SEED = 1 << 1024
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def whole(name: str, value: Any, least: int = 1, most: int = sys.maxsize) -> int:
    """A whole number from least to most."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        limit = "" if not isinstance(value, numbers.Integral) or int(value) <= most else f" and at most {most}"
        raise InputError(f"{name} must be a whole number of at least {least}{limit}, not {written(value)}")
    return int(value)


def whole_or_none(name: str, value: Any) -> int | None:
    """A whole number of at least 1, or None. Raises InputError."""
    return None if value is None else whole(name, value)


def token_id(name: str, value: Any) -> int:
    return whole(name, value, least=0, most=MOST_TOKENS - 1)


def token(name: str, value: Any) -> int | None:
    return None if value is None else token_id(name, value)


def tokens(name: str, value: Any) -> int | tuple[int, ...] | None:
    if not isinstance(value, list | tuple):
        return token(name, value)
    if not value:
        raise InputError(f"{name} must be a token id or a list of at least one, not an empty list")
    return tuple(token_id(name, each) for each in value)


def penalty(name: str, value: Any) -> float:
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


def length(name: str, value: Any) -> int:
    """A whole number of at least 1; None means that none is set, as 20 does unless a call gives it."""
    return 20 if value is None else whole(name, value)


def early_stopping(name: str, value: Any) -> bool | str:
    """True, False or "never". transformers takes 1 and 0 too, and neither of them for True."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value in (0, 1):
        return False
    if not isinstance(value, bool) and not (isinstance(value, str) and value == "never"):
        raise InputError(f"{name} must be True, False or 'never', not {written(value)}")
    return value


def count(name: str, value: Any) -> int:
    """A whole number of which 0 and None mean "none"."""
    return 0 if value is None else whole(name, value, least=0)


def count_or_none(name: str, value: Any) -> int | None:
    """A whole number, or None."""
    return None if value is None else count(name, value)


def flag(name: str, value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, not {written(value)}")
    return bool(value)


def flag_or_none(name: str, value: Any) -> bool | None:
    """True, False or None."""
    return None if value is None else flag(name, value)


def factor(name: str, value: Any) -> float:
    """A number above 0; None means 1, which changes nothing."""
    number = 1.0 if value is None else penalty(name, value)
    if np.float32(number) <= 0:
        raise InputError(f"{name} must be more than 0, not {written(value)}")
    return number


def seconds(name: str, value: Any) -> float | None:
    return None if value is None else factor(name, value)


def share(name: str, value: Any) -> float:
    """A number from 0 to 1; None means 1, which excludes nothing."""
    number = 1.0 if value is None else penalty(name, value)
    if not 0 <= number <= 1:
        raise InputError(f"{name} must be from 0 to 1, not {written(value)}")
    return number


def share_or_none(name: str, value: Any) -> float | None:
    """A number from 0 to 1, or None."""
    return None if value is None else share(name, value)


def share_above_0(name: str, value: Any) -> float:
    return min(factor(name, value), share(name, value))


def cutoff(name: str, value: Any) -> float:
    """A number from 0 to below 1; None means 0, which excludes nothing."""
    number = share(name, 0.0 if value is None else value)
    if number == 1:
        raise InputError(f"{name} must be less than 1, not {written(value)}")
    return number


def strings(name: str, value: Any) -> tuple[str, ...] | None:
    """A string or a list of strings, none of them empty."""
    if value is None:
        return None
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list | tuple) or not all(isinstance(each, str) and each for each in strings):
        raise InputError(f"{name} must be a string or a list of strings, none of them empty, not {written(value)}")
    return tuple(strings) or None


def seed(name: str, value: Any) -> int | np.random.Generator | None:
    if value is None or isinstance(value, np.random.Generator):
        return value
    return whole(name, value, least=0, most=_LARGEST_SEED)


def token_list(name: str, value: Any) -> tuple[int, ...] | None:
    """Token ids, of which there may be none."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise InputError(f"{name} must be a list of token ids, not {written(value)}")
    return tuple(token_id(name, each) for each in value)


def words(name: str, value: Any) -> tuple[tuple[int, ...], ...] | None:
    """At least one sequence of at least one token."""
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value or not all(isinstance(w, list | tuple) and w for w in value):
        raise InputError(f"{name} must be a list of lists of token ids, none of them empty, not {written(value)}")
    return tuple(tuple(token_id(name, token) for token in word) for word in value)


def biases(name: str, value: Any) -> tuple[tuple[tuple[int, ...], float], ...] | None:
    """A dict from tuples of tokens to numbers, or pairs of both in a list, as JSON has it; of equal ones the last."""
    if value is None:
        return None
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        raise InputError(f"{name} must be a dict {{tokens: bias}} or a list of such pairs, not {written(value)}")
    sequences = words(name, [tokens for tokens, _ in pairs]) or ()
    values = [bias(name, value) for _, value in pairs]
    return tuple(dict(zip(sequences, values, strict=True)).items())


def bias(name: str, value: Any) -> float:
    """A finite number, or an infinite one: what always comes, or never."""
    infinite = isinstance(value, float | np.floating) and math.isinf(value)
    return float(value) if infinite else penalty(name, value)


def decay(name: str, value: Any) -> tuple[int, float] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InputError(f"{name} must be a pair (start, factor), not {written(value)}")
    return whole(name, value[0], least=0), factor(name, value[1])


def timestamps(name: str, value: Any) -> Timestamps | None:
    if value is None:
        return None
    if not isinstance(value, Timestamps):
        raise InputError(f"{name} must be a Timestamps of fuseline.generation.timestamps, not {written(value)}")
    latest = None if value.latest is None else whole(f"{name}.latest", value.latest, least=0)
    return Timestamps(whole(f"{name}.first", value.first, most=MOST_TOKENS - 1), latest)


def function(name: str, value: Any) -> Callable[..., Any] | None:
    if value is not None and not callable(value):
        raise InputError(f"{name} must be a function, not {written(value)}")
    return value  # type: ignore[no-any-return]


def functions(name: str, value: Any) -> tuple[Callable[..., Any], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(callable(each) for each in value):
        raise InputError(f"{name} must be a list of functions, not {written(value)}")
    return tuple(value) or None
