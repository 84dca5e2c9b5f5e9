"""Lines of text files and of standard input, a text each: what is no text is named, and nothing is read ahead."""

from __future__ import annotations

import os
import select
import stat
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from time import monotonic
from typing import NamedTuple

from ..errors import InputError, shown
from .generating import check_once

LONGEST = 1 << 20  # bytes of a line
_CHUNK = 1 << 16  # bytes that are read at once
_LOOKED_AT = 1 << 12  # bytes that tell a text from what is none
_COUNTING = 0.3  # seconds
_MARK = b"\xef\xbb\xbf"  # with which some programs begin a file in UTF-8


class Line(NamedTuple):
    """A line without its end, or why it is none that can be used. file: as it was named; number: from 1."""

    file: str
    number: int
    text: str
    error: InputError | None = None

    @property
    def where(self) -> str:
        """Its place, for messages."""
        return f"{'standard input' if self.file == '-' else shown(self.file)}, line {self.number}"


def check_files(names: Sequence[str]) -> None:
    """Raise InputError for a name of which no lines can be read. `-` is standard input."""
    right = "give a file that has a text a line, or - for standard input"
    check_once(names)
    for name in names:
        if name == "-":
            if sys.stdin is None:
                raise InputError("standard input is closed, and texts are read from it; give a file, or < texts.txt")
        elif not name or not os.path.lexists(name):
            raise InputError(f"there is no file {shown(name)!r}; {right}")
        elif os.path.isdir(name):
            raise InputError(f"{shown(name)} is a folder; {right}")
        elif not os.access(name, os.R_OK):
            raise InputError(f"{shown(name)} cannot be read; {right}")
        elif _is_device(name):
            raise InputError(f"{shown(name)} is a device, not a file; {right}")
        else:
            _check_begin(name, right)


def _is_device(name: str) -> bool:
    """Whether it is one that nobody types at: such as /dev/zero, which has no end."""
    kind = os.stat(name).st_mode
    if not stat.S_ISCHR(kind):
        return stat.S_ISBLK(kind)
    with open(name, "rb", buffering=0) as file:
        return not file.isatty()


def _check_begin(name: str, right: str) -> None:
    """Raise InputError for a file whose every line would be wrong; a pipe is not looked into."""
    if not os.path.isfile(name):
        return
    with open(name, "rb", buffering=0) as file:
        begin = file.read(_LOOKED_AT)
    if begin.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise InputError(f"{shown(name)} is a text in UTF-16; save it as UTF-8")
    if b"\0" in begin and _is_no_text(begin.partition(b"\n")[0]):
        raise InputError(f"{shown(name)} is no text; {right}")


def _is_no_text(line: bytes) -> bool:
    """Whether a line, whose last character may be cut, is no text: of a photo, a sound, a program."""
    try:
        return "\0" in getincrementaldecoder("utf-8")().decode(line)
    except UnicodeDecodeError:
        return True


def count(names: Sequence[str]) -> int | None:
    """How many lines the files have; None where that takes long, or cannot be known as of standard input."""
    end, lines = monotonic() + _COUNTING, 0
    for name in names:
        if name == "-" or not os.path.isfile(name):
            return None
        last = b"\n"
        with open(name, "rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                lines, last = lines + chunk.count(b"\n"), chunk[-1:]
                if monotonic() > end:
                    return None
        lines += last != b"\n"
    return lines


def read(names: Sequence[str]) -> Iterator[Line | None]:
    """The lines of all files. None comes where the next line is not there yet, as in a pipe that stays open."""
    for name in names:
        with closing(_File(name)) as file:
            number = 0
            for content in file.lines():
                if content is None:
                    yield None
                    continue
                number += 1
                yield _line(name, number, content)


def _line(name: str, number: int, content: bytes | int) -> Line:
    line = Line(name, number, "")
    if isinstance(content, int):
        wrong = f"has {content:,} bytes, and a line may have {LONGEST:,}; cut it into shorter ones"
    else:
        content = content.removeprefix(_MARK) if number == 1 else content
        try:
            text = content.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            wrong = f"is no UTF-8 at byte {error.start + 1}; save it as UTF-8"
        else:
            if "\0" not in text:
                return line._replace(text=text)
            wrong = f"has a NUL at character {text.index(chr(0)) + 1}, which is no text; leave it out"
    return line._replace(error=InputError(f"{line.where} {wrong}"))


class _File:
    """An open file, or standard input."""

    def __init__(self, name: str) -> None:
        self._own = name != "-"
        self._number: int | None = None
        if self._own:
            self._number = os.open(name, os.O_RDONLY)
        else:
            with suppress(OSError, ValueError, AttributeError):  # it is what a program put there
                self._number = sys.stdin.fileno()
        self._waits = self._number is not None and not stat.S_ISREG(os.fstat(self._number).st_mode)

    def close(self) -> None:
        if self._own and self._number is not None:
            os.close(self._number)

    def lines(self) -> Iterator[bytes | int | None]:
        """Each line without its end; of one that is too long its number of bytes; None where a line must be awaited."""
        read: Callable[[int], bytes] = sys.stdin.buffer.read if self._number is None else self._read
        rest, dropped = b"", 0
        while True:
            if self._waits and not self._ready():
                yield None
            chunk = read(_CHUNK)
            if not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield _bounded(line, dropped)
                dropped = 0
            if dropped or len(rest) > LONGEST:
                rest, dropped = b"", dropped + len(rest)
        if rest or dropped:
            yield _bounded(rest, dropped)

    def _read(self, size: int) -> bytes:
        assert self._number is not None
        return os.read(self._number, size)

    def _ready(self) -> bool:
        """Whether reading would not wait."""
        assert self._number is not None
        return bool(select.select([self._number], [], [], 0)[0])


def _bounded(line: bytes, dropped: int) -> bytes | int:
    size = dropped + len(line)
    return line if size <= LONGEST and not dropped else size
