"""How many cores a process may use, and the number of threads that follows."""

from __future__ import annotations

import math
import os
from pathlib import Path

from ..errors import InputError, written

_MOST_THREADS = 1024


def physical_cores(system: Path = Path("/")) -> int:
    """The cores that this process may use, two hardware threads of one core counted once; at least 1.

    system: where the files of the Linux kernel are, /sys below it.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    return max(1, min(_cores_of(allowed, system), math.floor(_quota(system / "sys/fs/cgroup") + 0.5)))


def _cores_of(allowed: set[int], system: Path) -> int:
    """As many as there are hardware threads where the system does not tell which belong together."""
    cores = set()
    for cpu in allowed:
        try:
            cores.add((system / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            return len(allowed)
    return len(cores)


def _quota(cgroup: Path) -> float:
    """The CPUs that the container may use at once, by either version of cgroups; the most there can be without."""
    for read in (_quota_v2, _quota_v1):
        try:
            limit, period = read(cgroup)
        except (OSError, ValueError):
            continue
        if limit > 0 and period > 0:
            return limit / period
    return _MOST_THREADS


def _quota_v2(cgroup: Path) -> tuple[int, int]:
    limit, period = (cgroup / "cpu.max").read_text().split()  # "max" for none, which is no number
    return int(limit), int(period)


def _quota_v1(cgroup: Path) -> tuple[int, int]:
    names = "cpu.cfs_quota_us", "cpu.cfs_period_us"  # a quota of -1 is none
    limit, period = (int((cgroup / "cpu" / name).read_text()) for name in names)
    return limit, period


def thread_count(threads: int | None) -> int:
    """threads, or one for each physical core. Raises InputError for a number that cannot be used."""
    if threads is None:
        return physical_cores()
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        right = f"a whole number from 1 to {_MOST_THREADS}, or None"
        raise InputError(f"threads must be {right}, not {written(threads)}")
    return threads
