"""device="auto": where a model is fastest on this machine, among the devices that say what the CPU says.

The CPU stays unless another is faster by MARGIN, so that the same machine does the same tomorrow. Beside each device
alone its encoder with the CPU's decoder is tried, and the reverse, where their times alone make that the fastest, or
where the device cannot run the other part. What was measured is kept in the user's cache folder.

Devices are looked for and tried in processes of their own, once: a provider that crashes or hangs costs that trial, and
a program that asks for "auto" goes on. It loads no provider but that of the device which is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any

from ..errors import Error
from ..folders.own import Folder
from ..graphs.cores import thread_count
from ..graphs.devices import ON_CPU, Placement, brought, devices, placed
from ..graphs.hardware import adapters, driver_of
from . import apart
from .auto import MARGIN
from .machine import facts_of, recall, remember
from .trial import Asked, Times, on_cpu, seen_apart, tried_apart

SECONDS = 120.0  # for all devices; those that it does not suffice for are not chosen
_ABOUT, _CHOSEN = "fastest", "device"


def fastest(folder: Folder, threads: int | None = None) -> Placement:
    """Where the variant in use is fastest. Raises DeviceError where there is no onnxruntime, FolderError."""
    cpu = Placement(ON_CPU, ON_CPU)
    names = [name for name in devices() if name != ON_CPU.name]
    if not names or not apart.possible():
        return cpu
    there = {name: [driver_of(provider)] for name, provider in devices().items()}
    for name, plugin in brought().items():
        there[name].append(plugin.package)
    seen = {"devices": there, "hardware": adapters()}
    facts = facts_of(folder, cpu, thread_count(threads)) | {"variant": folder.variant, "seen": seen}
    found = recall(_ABOUT, facts)
    if found is None or (placement := _placement(found.get(_CHOSEN))) is None:
        placement = _measured(folder, names, threads)
        remember(_ABOUT, facts, {_CHOSEN: placement.asked})
    return placement


def _placement(remembered: Any) -> Placement | None:
    try:
        return placed(remembered)
    except Error:  # of a file that somebody has written to, or a device that is gone
        return None


def _measured(folder: Folder, names: list[str], threads: int | None) -> Placement:
    end = perf_counter() + SECONDS
    _, base = on_cpu(folder, threads)
    best, least = Placement(ON_CPU, ON_CPU), base.caption
    for each in seen_apart(names):
        for asked, times in _times(folder, each.name, base, threads, end) if not each.reason else ():
            placement = _placement(asked)
            if placement is not None and times.caption < least * (1 - MARGIN if best.is_cpu else 1):
                best, least = placement, times.caption
    return best


def _times(folder: Folder, name: str, base: Times, threads: int | None, end: float) -> Iterator[tuple[Asked, Times]]:
    """A device alone, and apart where that may be faster: where, and the times of a caption."""
    whole = _run(folder, name, threads, end)
    if whole is not None:
        yield name, whole
    for part, other in (("encoder", "decoder"), ("decoder", "encoder")):
        if whole is not None and _sum(whole, base, part) > min(whole.caption, base.caption) * (1 - MARGIN):
            continue
        asked = {part: name, other: ON_CPU.name}
        found = _run(folder, asked, threads, end)
        if found is not None:
            yield asked, found


def _sum(whole: Times, base: Times, part: str) -> float:
    """What a caption would take with one part on the device and the other on the CPU, if nothing were moved."""
    mine, others = (whole, base) if part == "encoder" else (base, whole)
    return mine.encoder + others.steps


def _run(folder: Folder, device: Asked, threads: int | None, end: float) -> Times | None:
    """None for what cannot be used, or does not come to it."""
    seconds = end - perf_counter()
    return tried_apart(folder, device, threads, seconds=seconds).times if seconds > 0 else None
