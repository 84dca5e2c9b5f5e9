"""How long a transcription may go on: its deadline, and the token by which its caller ends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from ..errors import Cancelled, InputError, written
from ..graphs.running import CancelToken, Limit, RunEnded

_LEAST = 1e-3  # seconds: a deadline that has passed ends a run at its first node


class Budget:
    """What is left of the time, over many runs of graphs."""

    def __init__(self, seconds: float | None, cancel: CancelToken | None) -> None:
        """seconds: from now, None for no deadline. Raises InputError for a token that is none."""
        if cancel is not None and not callable(getattr(cancel, "is_set", None)):
            raise InputError(f"cancel must have is_set(), as a threading.Event has, not {written(cancel)}")
        self._deadline = None if seconds is None else monotonic() + seconds
        self.cancel = cancel

    @property
    def left(self) -> float | None:
        """Seconds, more than 0; None without a deadline."""
        return None if self._deadline is None else max(self._deadline - monotonic(), _LEAST)

    @property
    def spent(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and monotonic() >= self._deadline

    def check(self) -> None:
        """Raise Cancelled where the caller has said so, RunEnded where the deadline has passed."""
        if self.cancel is not None and self.cancel.is_set():
            raise _cancelled()
        if self.spent:
            raise RunEnded("max_time")

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Graphs that are run inside end at the deadline or when cancelled. Raises Cancelled, RunEnded."""
        self.check()
        if self.cancel is None and self._deadline is None:
            yield
            return
        try:
            with Limit(self.left, self.cancel):
                yield
        except RunEnded as ended:
            if ended.reason == "cancelled":
                raise _cancelled() from None
            raise


def _cancelled() -> Cancelled:
    return Cancelled("the transcription was cancelled; the segments until then stand")
