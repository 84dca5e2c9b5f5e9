"""What a kind of case is: how one is made from random numbers, and what it may cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


class Wrong(Exception):
    """The product gave an answer, and it is not the right one."""


class Refused(Exception):
    """A refusal by something that has no fuseline.Error to raise: onnxruntime asked directly."""


@dataclass(frozen=True)
class Place:
    """Where a case lives. case: an empty folder of its own; templates: folders to copy, never to change; outside: a
    folder with files that nothing may open; cache: where the product may write (its cache of the user)."""

    case: Path
    templates: Path
    outside: Path
    cache: Path


@dataclass(frozen=True)
class Trial:
    """A case that is ready. what: its damage, in words; run: does what a user would do, and returns what came out, in
    words, or raises fuseline.Error (a refusal), Wrong or Refused. cpu_seconds, megabytes: in place of the kind's."""

    what: str
    run: Callable[[], str]
    cpu_seconds: float | None = None
    megabytes: float | None = None


@dataclass(frozen=True)
class Kind:
    """make: a trial from random numbers; whatever it writes goes to place.case. cpu_seconds: of all threads together;
    megabytes: by which the process may grow at its peak; asleep_seconds: how long it may wait for nothing."""

    name: str
    make: Callable[[Random, Place], Trial]
    cpu_seconds: float
    megabytes: float
    templates: bool = True
    asleep_seconds: float = 5.0


def random_of(seed: int, kind: str, case: int) -> Random:
    """The random numbers of a case: the same in every process."""
    return Random(f"{seed} {kind} {case}")
