"""What a run measures: systems, models, and how much of each is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from . import heats
from .models import Model
from .systems import Spec

BATCHES, BEAMS, LENGTHS = (1, 2, 4, 8), (1, 2, 8), (32, 64)  # the scaling passes; one more has one thread


@dataclass(frozen=True)
class Turns:
    """When a system has had enough of them: after so many captions in so many turns, or so much time.

    least: turns, for a fast system has all its captions in one, and a moment is no measure of a machine. each: seconds
    of a turn.
    """

    captions: int
    seconds: float
    each: float = 0.25
    least: int = 5


SCALING = Turns(captions=3, seconds=3.0, each=0.1, least=2)


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    starts, start_seconds: so many, or so much time. shares: captions whose share of search is taken. memory_bytes: what
    the processes of one heat may have in memory.
    """

    specs: Sequence[Spec]
    models: Sequence[Model]
    threads: int
    quick: bool = False
    turns: Turns = Turns(captions=10, seconds=15.0)
    starts: int = 3
    start_seconds: float = 10.0
    shares: int = 3
    memory_bytes: int = field(default_factory=heats.memory)

    @classmethod
    def of(cls, specs: Sequence[Spec], chosen: Sequence[Model], threads: int, quick: bool) -> Plan:
        """The full plan, or the quick one."""
        if not quick:
            return cls(specs, chosen, threads)
        return cls(specs, chosen, threads, True, Turns(captions=5, seconds=5.0), starts=1, shares=1)


def in_full_and_brief(specs: Sequence[Spec], chosen: Sequence[Model], threads: int) -> list[Plan]:
    """The models of --quick in full and the others as --quick would measure them; in full those take hours, too."""
    full, brief = ([model for model in chosen if model.quick is quick] for quick in (True, False))
    fewer = [spec for spec in specs if spec.quick]
    return [Plan.of(specs, full, threads, False), Plan.of(fewer, brief, threads, True)]


def units(plan: Plan) -> int:
    """How often a plan calls tell at most."""
    each = 3 + plan.starts + plan.turns.captions
    passes = len(BATCHES) + len(BEAMS) + len(LENGTHS) + 1
    scaling = 0 if plan.quick else sum(spec.scaling for spec in plan.specs) * passes
    scaled = sum(model.quick for model in plan.models)
    return 1 + len(plan.models) * (len(plan.specs) + 1) * each + scaled * scaling
