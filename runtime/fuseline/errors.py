"""The errors fuseline raises: one sentence each, saying what was wrong, where, and what would be right.

What is put into a sentence may come from a file: names with line breaks, escape codes for a terminal, thousands of
entries. So a message is made printable and short here, for every error at once.
"""

from __future__ import annotations

import reprlib
from typing import Any

LONGEST = 1200  # characters of a message
_LONGEST_NAME = 160
_LEFT_OUT = " ... "


class Error(Exception):
    """Base of every error that fuseline raises on purpose. Its message is one line of printable characters."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shown(message, LONGEST))


class FolderError(Error):
    """A model folder is missing something, is damaged, or asks for what this version does not know."""


class InputError(Error):
    """A photo, a text or an option given by the caller cannot be used."""


class ExportError(Error):
    """A checkpoint cannot be turned into a fuseline folder."""


class DeviceError(Error):
    """The requested device or execution provider is not available here."""


class Cancelled(Error):
    """A caption was given up because its cancel token was set."""


def shown(value: object, longest: int = _LONGEST_NAME) -> str:
    """A name or a value as a message or a line of output has it: one line, printable, at most `longest` characters.

    What cannot be shown (line breaks, escape codes, lone surrogates) is written as in Python's source; of what is too
    long the middle is left out.
    """
    text = _cut(str(value), longest)
    if not text.isprintable():
        text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return _cut(text, longest)


def counted(number: int, thing: str) -> str:
    """So many of a thing, whose plural ends in s: "1 photo", "1,000 photos"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    left = longest - len(_LEFT_OUT)
    return f"{text[: left - left // 3]}{_LEFT_OUT}{text[len(text) - left // 3 :]}"


class _Short(reprlib.Repr):
    def repr_instance(self, x: Any, level: int) -> str:
        """Without what tells only where in memory something lies: <function f at 0x7f...>."""
        if isinstance(x, type):
            return f"the type {x.__name__}"
        text = super().repr_instance(x, level)
        return f"a {type(x).__name__}" if text.startswith("<") else text


_SHORT = _Short()


def written(value: Any) -> str:
    """A value as a message has it, short, whatever it is: some have no repr, or one of thousands of digits."""
    try:
        return _SHORT.repr(value)
    except Exception:  # a whole number of more than 4,300 digits, or what a class of the caller's raises
        return f"a {type(value).__name__} that cannot be shown"
