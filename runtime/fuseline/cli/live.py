"""A text in a terminal while it is made: what is certain, and dimmed what may still change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Protocol

from .streams import Stream, printable

_DIM, _PLAIN, _ERASE = "\x1b[2m", "\x1b[0m", "\x1b[J"


class Piece(Protocol):
    """What is new of a text, as fuseline.outputs.streaming.Event has it: certain, and what follows and may change."""

    @property
    def text(self) -> str: ...
    @property
    def tentative(self) -> str: ...


def single_spaces(text: str) -> str:
    """The text with single spaces in the place of all white space."""
    return " ".join(text.split())


def show(
    events: Iterable[Piece], out: Stream, before: str = "", on_one_line: Callable[[str], str] = single_spaces
) -> None:
    """Write one input's text to `out` as its events come, on one line after `before`.

    Written in pieces it is `before + on_one_line(text)`, and what a terminal would obey is escaped. Only
    a terminal is shown what is tentative, as far as it fits on the line; not with NO_COLOR, since only its look tells
    it from what is certain. The line is ended whatever happens but an interrupt, after which it must not look like a
    whole one. Raises Unwritable, and what the events raise.
    """
    live = out.moves() and not os.environ.get("NO_COLOR")
    certain = written = dimmed = ""
    out.write(before)
    try:
        for event in events:
            certain += event.text
            line = printable(on_one_line(certain))
            new = (_ERASE if dimmed else "") + line[len(written) :]
            written = line
            if live:
                tentative = printable(on_one_line(certain + event.tentative))[len(line) :]
                dimmed = _fitting(tentative, before + line, out.width())
                new += f"{_DIM}{dimmed}{_PLAIN}\x1b[{len(dimmed)}D" if dimmed else ""
            if new:
                out.write(new)
    except BaseException as error:
        end = "" if isinstance(error, KeyboardInterrupt) else "\n"
        out.write(_ERASE * bool(dimmed) + end)
        raise
    out.write("\n")


def _fitting(text: str, before: str, width: int) -> str:
    """As much of the text as surely leaves the cursor on the line where it is after `before`; "" if that is not sure.

    Beyond ASCII a character's width is the terminal's affair, and after a full line the cursor's place is.
    """
    column = len(before) % width
    if not (before.isascii() and text.isascii()) or (before and not column):
        return ""
    return text[: width - 1 - column]
