"""A program in a pseudo terminal, and what a terminal then shows: pyte interprets what arrives."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyte

ROWS = 400  # so that nothing scrolls away
SECONDS = 120


class Screen:
    """A program whose standard streams are a new terminal, but for those that are given.

    Used with `with`; at its end the program has ended. raw: all that arrived; shots: what was to be seen after each
    piece of it.
    """

    def __init__(
        self,
        command: Sequence[object],
        columns: int = 100,
        stdout: IO[Any] | None = None,
        stderr: IO[Any] | None = None,
        cwd: Path | None = None,
        inherited: Sequence[int] = (),
        **environment: str,
    ) -> None:
        """inherited: open files that the program has too, by their numbers."""
        self._screen = pyte.Screen(columns, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._seen = [""] * ROWS
        self.raw, self.shots = b"", list[list[str]]()
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (ROWS, columns))
        # Else Ctrl-C throws away what is on its way to the screen, be it half an escape code.
        modes = termios.tcgetattr(theirs)
        modes[3] |= termios.NOFLSH
        termios.tcsetattr(theirs, termios.TCSANOW, modes)
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs if stderr is None else stderr,
            cwd=cwd,
            pass_fds=inherited,
            env=os.environ | {"TERM": "xterm", "NO_COLOR": ""} | environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    @property
    def rows(self) -> list[str]:
        """What is to be seen, without the empty rows below it."""
        for at in self._screen.dirty:  # only these have changed; pyte's own display goes over all of every row
            line = self._screen.buffer[at]
            self._seen[at] = "".join(line[column].data for column in range(self._screen.columns)).rstrip()
        self._screen.dirty.clear()
        rows = list(self._seen)
        while rows and not rows[-1]:
            rows.pop()
        return rows

    @property
    def cursor(self) -> tuple[int, int]:
        """Its row and column."""
        return self._screen.cursor.y, self._screen.cursor.x

    def wait(self) -> int:
        """Until the program has ended: its exit status."""
        for _ in self._pieces():
            pass
        return self._process.wait(SECONDS)

    def until(self, text: str, times: int = 1) -> None:
        """Until the text is to be seen so often."""
        for _ in self._pieces():
            if "\n".join(self.rows).count(text) >= times:
                return
        raise AssertionError(f"{text!r} never came; there is {self.rows}")

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def resize(self, columns: int) -> None:
        termios.tcsetwinsize(self._ours, (ROWS, columns))
        self._screen.resize(ROWS, columns)

    def _pieces(self) -> Iterator[bytes]:
        end = time.monotonic() + SECONDS
        while select.select([self._ours], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                piece = os.read(self._ours, 4096)
            except OSError:  # nobody has the terminal's other side any more
                return
            self.raw += piece
            self._stream.feed(piece)
            self.shots.append(self.rows)
            yield piece
        raise AssertionError(f"no end after {SECONDS} s; there is {self.rows}")
