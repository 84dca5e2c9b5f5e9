"""Heats: when the systems of a model do not fit the machine's memory together, as many are measured at once as do.

A machine short of memory drops pages of files and reads them again, and then its disk is measured. The anchor, which
the report's ratios are formed against, runs in every heat anew, so both figures of a ratio are of one heat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .client import Worker
from .systems import Spec

# Of the memory that is available when a run begins. The rest is for what comes after the first captions: the larger
# batches, the second process of one system, another that opens and turns out not to fit.
SHARE = 0.65


def memory() -> int:
    """Bytes that the processes of one heat may have in memory together."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(line for line in lines if line.startswith("MemAvailable:"))
    return int(SHARE * int(available.split()[1]) * 1024)


def resident(workers: Iterable[Worker]) -> int:
    """Bytes that the processes have in memory together, pages that they share counted once."""
    return sum(worker.resident() for worker in workers)


def needed(workers: Sequence[Worker]) -> int:
    """Bytes that the processes take together while one of them works, as they do in turns."""
    return resident(workers) + max(worker.rise() for worker in workers)


def in_order(specs: Sequence[Spec], anchor: str) -> list[Spec]:
    """The anchor; those of the scaling passes, whose lines are drawn into one picture; the rest."""
    return sorted(specs, key=lambda spec: (spec.name != anchor, not spec.scaling))
