"""How much memory there is on this machine, against which what a call would need is held before it begins."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from .errors import InputError

_CGROUPS = Path("/sys/fs/cgroup")


@cache
def machine_bytes() -> int | None:
    """The memory of the machine, or what a container may have of it, in bytes; None where neither is known."""
    limits = [_physical(), *_of_container()]
    known = [limit for limit in limits if limit is not None]
    return min(known, default=None)


def check_memory(needs: int, asked: str, right: str) -> None:
    """Raise InputError where this machine has less memory than what is asked needs, in bytes. right: what to do."""
    has = machine_bytes()
    if has is not None and needs > has:
        raise InputError(f"{asked} need {in_units(needs)} of memory, and this machine has {in_units(has)}; {right}")


def in_units(count: int) -> str:
    """A number of bytes as a message has it: 24.0 GB."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            tenths = count * 10 // size  # a float has no room for some
            return f"{tenths // 10}.{tenths % 10} {unit}" if tenths < 10**7 else f"more than 1000000 {unit}"
    return f"{count} bytes"


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def _of_container() -> list[int | None]:
    """The limits of this process's control groups, of version 2 and of version 1, and of those that they lie in."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return []
    found: list[int | None] = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            home, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            home, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = home / path.lstrip("/")
        found += [_number(each / name) for each in (group, *group.parents) if each.is_relative_to(home)]
    return found


def _number(file: Path) -> int | None:
    """The whole number in a file; None for "max", and where there is none."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
