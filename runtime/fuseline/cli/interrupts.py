"""What ends a command from outside: Ctrl-C, SIGTERM, a terminal that is closed.

Each comes as KeyboardInterrupt, so that what is under way is tidied up; a second one ends the process at once.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_come = 0  # the signal that came


def take() -> None:
    """From now on. What was ignored when the process began, as under nohup, still is."""
    sys.unraisablehook = _unraisable
    for each in _SIGNALS:
        if signal.getsignal(each) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(each, _take_one)


def _take_one(number: int, frame: FrameType | None) -> None:
    global _come
    _come = number
    leave()
    raise KeyboardInterrupt


def leave() -> None:
    """From now on a signal ends the process as it would without Python, which would complain while it ends."""
    for each in _SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)


def check() -> None:
    """Raise KeyboardInterrupt again if one came: libraries in C make another exception of it, or lose it."""
    if _come:
        raise KeyboardInterrupt


def by_key() -> bool:
    """Whether it was Ctrl-C, or would have been."""
    return _come in (0, signal.SIGINT)


def status() -> int:
    """The exit status, as a shell counts it."""
    return 128 + (_come or signal.SIGINT)


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
