"""Inputs that are read while the model works on those before them: one thread, a few inputs ahead, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from ..warning import Kept, keeping, warn

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # inputs: one that is ready, and the next under way

_PATIENCE = 1.0  # seconds that an end waits for what is under way: a photo, unless it comes from the network


@dataclass(frozen=True)
class Made(Generic[Item, Result]):
    """What was made of an item, or why nothing was."""

    item: Item
    result: Result | None
    error: Exception | None = None
    warnings: list[Kept] = field(default_factory=list)

    def get(self) -> Result:
        """The result, with the warnings of making it. Raises what making it raised."""
        for each in self.warnings:
            warn(*each)
        if self.error is not None:
            raise self.error
        return cast(Result, self.result)


def made(item: Item, make: Callable[[Item], Result]) -> Made[Item, Result]:
    """What is made of one item; an error is kept for `get`."""
    with keeping() as warnings:
        try:
            return Made(item, make(item), warnings=warnings)
        except Exception as error:  # whatever it is, it belongs to this item
            return Made(item, None, error, warnings)


@dataclass(frozen=True)
class _End:
    """There are no more items; error: why, unless they just ended."""

    error: BaseException | None = None


class ReadAhead(Generic[Item, Result]):
    """Makes something of each item, in a thread of its own while the caller is busy with what came before.

    most: so many are ready, or under way, beside the one that was given last; with 0 there is no thread. The items
    themselves are asked for by that thread, too, so one that is awaited holds up none that is ready. Used with `with`:
    at its end nothing more is asked for, and the thread ends with what it is at.
    """

    def __init__(self, make: Callable[[Item], Result], most: int) -> None:
        self._make, self._most = make, most
        self._room = Semaphore(most)
        self._ready: SimpleQueue[Made[Item, Result] | _End] = SimpleQueue()
        self._over = False
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._room.release()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def over(self, items: Iterable[Item]) -> Iterator[Made[Item, Result]]:
        """What is made of each, once. Raises what the items themselves raise, in its place."""
        if self._most == 0:
            yield from (made(item, self._make) for item in items)
            return
        context = copy_context()
        # A daemon, since it may wait for items that never come, or for the network, and must keep nobody from leaving.
        self._thread = Thread(target=context.run, args=(self._run, items), name="fuseline reads ahead", daemon=True)
        self._thread.start()
        while not isinstance(found := self._ready.get(), _End):
            self._room.release()
            yield found
        if found.error is not None:
            raise found.error

    def _run(self, items: Iterable[Item]) -> None:
        """In the thread. What it holds is let go of before it waits."""
        end = _End()
        try:
            coming: Iterator[Any] = iter(items)
            while self._has_room():
                item = next(coming)
                if self._over:
                    return
                self._ready.put(made(item, self._make))
                del item
        except StopIteration:
            pass
        except BaseException as error:  # such as GeneratorExit of a caller's generator: it must reach the caller
            end = _End(error)
        finally:
            self._ready.put(end)

    def _has_room(self) -> bool:
        self._room.acquire()
        return not self._over
