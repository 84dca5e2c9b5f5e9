"""A caption in a terminal while it is made: what is certain, and dimmed what may still change."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from .streaming import Event

_DIM, _PLAIN, _ERASE = "\x1b[2m", "\x1b[0m", "\x1b[K"


def show(events: Iterable[Event], out: TextIO, before: str = "") -> None:
    """Write one photo's caption to `out` as its events come, on one line after `before`.

    Written in pieces it is what `print(before + text)` writes, white space made single spaces. Only a terminal is shown
    what is tentative, as far as it fits on the line.
    """
    live = out.isatty()
    certain = written = ""
    out.write(before)
    for event in events:
        certain += event.text
        line = " ".join(certain.split())
        out.write(line[len(written) :])
        written = line
        if live:
            out.write(_dimmed(" ".join((certain + event.tentative).split())[len(line) :], len(before) + len(line)))
        out.flush()
    out.write("\n")
    out.flush()


def _dimmed(text: str, column: int) -> str:
    """The text dimmed, the cursor left before it, and what was there erased."""
    width = shutil.get_terminal_size().columns
    # Beyond ASCII a character's width is the terminal's affair, and after a full line the cursor's place is.
    text = text[: max(0, width - 1 - column % width)] if text.isascii() else ""
    return f"{_ERASE}{_DIM}{text}{_PLAIN}\x1b[{len(text)}D" if text else _ERASE
