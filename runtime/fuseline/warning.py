"""Warnings that point at the caller's own line, however many functions of this package are in between."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from types import FrameType
from typing import TypeAlias

_PACKAGE = __package__  # its parts, fuseline.export and the rest, begin with it and a point

Kept: TypeAlias = tuple[str, type[Warning]]  # the arguments of `warn`
_kept: ContextVar[list[Kept] | None] = ContextVar("fuseline_kept_warnings", default=None)


@contextmanager
def keeping() -> Iterator[list[Kept]]:
    """The warnings of what is done meanwhile, in this thread: to be said where there is a caller to blame."""
    kept: list[Kept] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


def warn(message: str, category: type[Warning] = UserWarning, stacklevel: int = 1) -> None:
    """Warn on behalf of code outside the package.

    stacklevel: 1 blames the nearest line outside, by the callers of this function, 2 whoever called that, and so on.
    """
    kept = _kept.get()
    if kept is not None:
        kept.append((message, category))
        return
    frame = _outside(sys._getframe(1), stacklevel)
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = frame.f_globals.get("__name__") or "<unknown>"
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, str(module), registry)


class Notice:
    """A RuntimeWarning that comes once, whoever is first."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._said = False
        self._lock = Lock()

    def warn(self, stacklevel: int = 1) -> None:
        """Say it, unless it was said. stacklevel: as for `warn`."""
        if self._said:
            return
        with self._lock:
            first, self._said = not self._said, True
        if first:
            warn(self._sentence, RuntimeWarning, stacklevel)


def _outside(frame: FrameType, count: int) -> FrameType:
    """The count-th frame outside the package, from `frame` on; the outermost of all if there are not so many."""
    while frame.f_back is not None and (_is_ours(frame) or count > 1):
        count -= not _is_ours(frame)
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__")
    return isinstance(module, str) and (module == _PACKAGE or module.startswith(f"{_PACKAGE}."))
