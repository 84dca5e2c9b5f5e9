"""The errors fuseline raises: one sentence each, saying what was wrong, where, and what would be right.

What is put into a sentence may come from a file: names with line breaks, escape codes for a terminal, thousands of
entries. So a message is made printable and short here, for every error at once.
"""

from __future__ import annotations

LONGEST = 1200  # characters of a message
_LONGEST_NAME = 160


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
    text = str(value)
    if len(text) > longest:
        text = f"{text[: longest * 2 // 3]} ... {text[-(longest // 3) :]}"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
