"""What is said once in a process, as a warning that blames the line of whoever called fuseline."""

from __future__ import annotations

import sys
import warnings
from threading import Lock
from types import FrameType

_PACKAGE = __package__.partition(".")[0]


class Notice:
    """A sentence that is said once, by whoever is first."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._said = False
        self._lock = Lock()

    def take(self) -> bool:
        """Whether it is to be said now: True once, whoever asks."""
        if self._said:
            return False
        with self._lock:
            first, self._said = not self._said, True
        return first

    def warn(self, stacklevel: int = 1) -> None:
        """Say it as a RuntimeWarning, unless it was said.

        stacklevel: 1 blames the nearest line outside fuseline, 2 whoever called that, and so on.
        """
        if not self.take():
            return
        frame = _outside(sys._getframe(1), stacklevel)
        warnings.warn_explicit(
            self._sentence,
            RuntimeWarning,
            frame.f_code.co_filename,
            frame.f_lineno,
            module=frame.f_globals.get("__name__") or "<unknown>",
            registry=frame.f_globals.setdefault("__warningregistry__", {}),
        )


def _outside(frame: FrameType, count: int) -> FrameType:
    """The count-th frame outside this package, from `frame` on; the outermost of all if there are not so many."""
    while frame.f_back is not None and (_is_ours(frame) or count > 1):
        count -= not _is_ours(frame)
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__") or ""
    return isinstance(name, str) and (name == _PACKAGE or name.startswith(f"{_PACKAGE}."))
