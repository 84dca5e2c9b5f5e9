"""Bars on a terminal: photos or lines that are counted, seconds of sound, and steps of long work. terminal.py says when
they are seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .streams import Stream, printable

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")

# Items are looked for before the first is given so that the bar knows how many there are, up to these.
_MOST, _SECONDS = 20_000, 0.3
_WIDEST, _NARROWEST, _FOR_A_NAME = 79, 12, 50  # columns
_START, _ERASE = "\r", "\x1b[J"  # to the start of the line; whatever is from the cursor on


class Counter(Generic[Item]):
    """Gives items on and shows how many have been given. total: of how many, None where there are too many to know."""

    def __init__(
        self,
        stream: Stream,
        items: Iterable[Item],
        doing: str,
        unit: str,
        total: int | None,
        look: bool,
        through: Callable[[Iterator[Any]], Iterator[Any]] = iter,
    ) -> None:
        """See Terminal.counted."""
        from tqdm import tqdm

        self._meter, self._stream, self._doing, self._unit = tqdm.format_meter, stream, doing, unit
        self._began, self._done = monotonic(), 0
        self._items, self.total = iter(items), total
        if look:
            found, self.total = _some(self._items, self._began + _SECONDS)
            self._items = chain(found, self._items)
        self._items = through(self._items)
        self._drawn = False

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            yield item
            self._done += 1
            if self._drawn:
                self.draw()

    def erase(self) -> None:
        self._stream.write(_START + _ERASE)
        self._drawn = False

    def draw(self) -> None:
        """The cursor goes back to where the bar starts, so that a terminal that is made narrower keeps it there."""
        width = min(self._stream.width() - 1, _WIDEST)
        self._drawn = True
        if width >= _NARROWEST:
            elapsed = monotonic() - self._began
            name = self._doing if width >= _FOR_A_NAME else None
            # In ASCII, since some terminals show block characters two columns wide.
            meter = self._meter(self._done, self.total, elapsed, width, prefix=name, unit=self._unit, ascii=" #")
            self._stream.write(f"{_START}{meter}{_ERASE}{_START}")


def _some(coming: Iterator[Item], end: float) -> tuple[list[Item], int | None]:
    """Items, as many as there is time and room for, and their number if these are all."""
    found: list[Item] = []
    for item in coming:
        found.append(item)
        if len(found) >= _MOST or monotonic() > end:
            return found, None
    return found, len(found)


class Seconds:
    """Shows how many seconds of a sound are done. total: of how many, None where the sound does not say."""

    def __init__(self, stream: Stream, doing: str, total: float | None) -> None:
        from tqdm import tqdm

        self._meter, self._time, self._stream, self._doing = tqdm.format_meter, tqdm.format_interval, stream, doing
        self._began, self._done, self._total = monotonic(), 0.0, total

    def tell(self, seconds: float) -> None:
        """So far it is at this second."""
        self._done = seconds if self._total is None else min(seconds, self._total)
        self.draw()

    def erase(self) -> None:
        self._stream.write(_START + _ERASE)

    def draw(self) -> None:
        """See Counter.draw."""
        width = min(self._stream.width() - 1, _WIDEST)
        if width < _NARROWEST:
            return
        elapsed = monotonic() - self._began
        name = self._doing if width >= _FOR_A_NAME else None
        at = self._time(self._done)
        if self._total is None:
            meter = f"{name}: {at}" if name else at
        else:
            shape = f"{{l_bar}}{{bar}}| {at}/{self._time(self._total)} [{{elapsed}}<{{remaining}}]"
            meter = self._meter(self._done, self._total, elapsed, width, prefix=name, bar_format=shape, ascii=" #")
        self._stream.write(f"{_START}{meter}{_ERASE}{_START}")


class Steps:
    """A bar of rich, which moves by itself, since a step may take minutes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("")

    @classmethod
    def on(cls, stream: Stream) -> Steps | None:
        """The bar; None without rich, which is nice to have only."""
        try:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        except ImportError:
            return None
        columns = SpinnerColumn("line"), BarColumn(), TextColumn("{task.description}", markup=False)
        console = Console(file=stream, force_terminal=True)  # type: ignore[arg-type]
        return cls(Progress(*columns, TimeElapsedColumn(), console=console, transient=True))

    def tell(self, step: int, steps: int, what: str) -> None:
        """So far it is at this step of so many, and does that."""
        self._progress.update(self._task, completed=step, total=steps, description=printable(what))

    def erase(self) -> None:
        self._progress.stop()

    def draw(self) -> None:
        self._progress.start()
