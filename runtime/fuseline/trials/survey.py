"""What each device here is worth for a model: whether it says what the CPU says, and how fast, or why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

from ..errors import Error
from ..folders.own import Folder
from ..graphs.devices import device_of
from ..graphs.hardware import Seen, seen
from .device_check import OtherTokens, open_checked
from .timing import Timed

_ROUNDS, _SECONDS = 5, 3.0  # runs of a caption, and for how long another is begun


@dataclass(frozen=True)
class Finding:
    """A device for a model. layout: which graphs it runs; same: whether its tokens are the CPU's, None where it could
    not be tried; nodes: how many of its graphs' run on it, and how many they have; milliseconds: of a caption; speed:
    how many times as fast as the CPU; reason: why it cannot be used, empty where it can."""

    seen: Seen
    layout: str
    same: bool | None = None
    nodes: tuple[int, int] | None = None
    milliseconds: float | None = None
    speed: float | None = None
    reason: str = ""


def survey(folder: Folder, threads: int | None = None) -> Iterator[Finding]:
    """Try every device with the folder's variant in use, the CPU first; each is told when it is known. Raises
    DeviceError, FolderError where the CPU itself cannot be used."""
    base: float | None = None
    for each in seen():
        found = _tried(each, folder, threads) if base is not None else _measured(each, folder, threads)
        base = found.milliseconds if base is None else base
        speed = base / found.milliseconds if base and found.milliseconds else None
        yield replace(found, speed=speed)


def _tried(each: Seen, folder: Folder, threads: int | None) -> Finding:
    if each.reason:
        return Finding(each, "", reason=each.reason)
    try:
        return _measured(each, folder, threads)
    except OtherTokens as error:
        return Finding(each, device_of(each.name).layout, same=False, reason=str(error))
    except Error as error:
        return Finding(each, device_of(each.name).layout, reason=str(error))


def _measured(each: Seen, folder: Folder, threads: int | None) -> Finding:
    device = device_of(each.name)
    timed = Timed(open_checked(folder, each.name, threads, as_fused=True), folder)
    try:
        return Finding(each, device.layout, True, timed.graphs.nodes, least(timed))
    finally:
        timed.close()


def least(timed: Timed) -> float:
    """Milliseconds of a caption, of some runs."""
    began = perf_counter()
    for done in range(_ROUNDS):
        if done > 1 and perf_counter() - began > _SECONDS:  # the first may make what later ones use
            break
        timed.run()
    return timed.milliseconds
