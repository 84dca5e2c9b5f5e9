"""Progress bars for people, lines of JSON for the record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
console = Console(stderr=True)


def track(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Yield the items under a progress bar with the time that remains."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(items, description=what, total=total)


@contextmanager
def track_steps() -> Iterator[Callable[[int, int, str], None]]:
    """A function that moves a progress bar when it is told the step, the number of steps and what is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda step, steps, what: progress.update(task, completed=step, total=steps, description=what)


def record(work: Path, **fields: object) -> None:
    """Append one line to log.jsonl and show it."""
    line = json.dumps({"time": time.strftime("%Y-%m-%d %H:%M:%S"), **fields})
    with open(work / "log.jsonl", "a", encoding="utf-8") as log:
        log.write(line + "\n")
    console.print(line, highlight=False, soft_wrap=True)
