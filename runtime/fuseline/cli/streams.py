"""The standard streams as something that takes any text and loses none of it in silence."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from contextlib import suppress
from typing import TextIO

from ..errors import Error

# Inside words of some scripts and inside emoji; marks of direction, and where a word may be hyphenated.
_JOINERS = "\u200c\u200d\u200e\u200f\u061c\xad"
_BREAKS = re.compile(r"[\n-\r\x1c-\x1e\x85\u2028\u2029]+")  # as str.splitlines has them


class Unwritable(Error):
    """Standard output cannot be written. broken_pipe: since its reader has gone, which is no failure."""

    def __init__(self, error: OSError | ValueError) -> None:
        reason = getattr(error, "strerror", None) or error
        super().__init__(f"standard output cannot be written ({reason}); give it a place where there is room")
        self.broken_pipe = isinstance(error, BrokenPipeError)


class Stream:
    """A standard stream: it takes any text, in whatever encoding it has, and writes it at once."""

    def __init__(self, file: TextIO | None, optional: bool = False) -> None:
        """file: None for one that is closed. optional: whether a failure to write loses the text in silence."""
        self._file, self._optional = file, optional
        self.in_line = False  # whether a line may have been begun and not ended

    @property
    def encoding(self) -> str:
        return getattr(self._file, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        with suppress(ValueError):  # closed
            return self._file is not None and self._file.isatty()
        return False

    def moves(self) -> bool:
        """Whether it is a terminal on which what was written can be written over."""
        return self.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")

    def width(self) -> int:
        """Columns of the terminal, now."""
        with suppress(OSError, ValueError, AttributeError):
            columns = os.get_terminal_size(self._file.fileno()).columns  # type: ignore[union-attr]
            if columns:
                return columns
        return shutil.get_terminal_size().columns

    def write(self, text: str) -> None:
        """Write the text, what the encoding has not as escapes. Raises Unwritable."""
        if self._file is None:
            return
        # An interrupt may come when the text is out and nothing after it has run: better a line too many than none.
        self.in_line |= bool(text) and not text.endswith("\n")
        try:
            self._file.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            self._file.flush()
            self.in_line &= not text.endswith("\n")
        except (OSError, ValueError) as error:
            self._give_up()
            if not self._optional:
                raise Unwritable(error) from error

    def flush(self) -> None:
        """Nothing is left to do: `write` does it all."""

    def _give_up(self) -> None:
        """Python would try once more when it exits, and complain."""
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())  # type: ignore[union-attr]
            os.close(nowhere)
        self._file = None


def on_one_line(text: str) -> str:
    """The text with a space in the place of line breaks; other white space stays, but for that at its ends."""
    return _BREAKS.sub(" ", text).strip()


def printable(text: str) -> str:
    """The text on one line: what would move the cursor or do something to a terminal as in Python's source."""
    if text.isprintable():
        return text
    return "".join(each if _harmless(each) else each.encode("unicode_escape").decode() for each in text)


def _harmless(each: str) -> bool:
    return each.isprintable() or each in _JOINERS or unicodedata.category(each) == "Zs"
