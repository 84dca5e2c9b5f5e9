"""device="auto": where a model is fastest on this machine, among the devices that say what the CPU says.

The CPU stays unless another is faster by MARGIN, so that the same machine does the same tomorrow. Beside each device
alone its encoder with the CPU's decoder is tried, and the reverse, where their times alone make that the fastest, or
where the device cannot run the other part. What was measured is kept in the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

from ..errors import Error
from ..folders.own import Folder
from ..graphs.cores import thread_count
from ..graphs.devices import ON_CPU, Placement, placed
from ..graphs.hardware import seen
from ..graphs.open import open_graphs
from .auto import MARGIN
from .device_check import open_checked
from .machine import facts_of, recall, remember
from .survey import least
from .timing import CAPTION_STEPS, Timed

SECONDS = 120.0  # for all devices; those that it does not suffice for are not chosen
_ABOUT, _CHOSEN = "fastest", "device"


def fastest(folder: Folder, threads: int | None = None) -> Placement:
    """Where the variant in use is fastest. Raises DeviceError where there is no onnxruntime, FolderError."""
    on_cpu = Placement(ON_CPU, ON_CPU)
    names = [each.name for each in seen() if each.name != ON_CPU.name and not each.reason]
    if not names:
        return on_cpu
    about = [[each.name, each.package, each.driver] for each in seen()]
    facts = facts_of(folder, on_cpu, thread_count(threads)) | {"variant": folder.variant, "seen": about}
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
    best, base = Placement(ON_CPU, ON_CPU), _Parts(Timed(open_graphs(folder, "cpu", threads), folder))
    least_time = base.milliseconds
    for name in names:
        for placement, time in _times(folder, name, base, threads, end):
            if time < least_time * (1 - MARGIN if best.is_cpu else 1):
                best, least_time = placement, time
    return best


def _times(
    folder: Folder, name: str, base: _Parts, threads: int | None, end: float
) -> Iterator[tuple[Placement, float]]:
    """A device alone, and apart where that may be faster: where, and the milliseconds of a caption."""
    whole = _run(folder, name, threads, end)
    if whole is not None:
        yield placed(name), whole.milliseconds
    for part, other in (("encoder", "decoder"), ("decoder", "encoder")):
        apart = {part: name, other: ON_CPU.name}
        if whole is not None and _sum(whole, base, part) > min(whole.milliseconds, base.milliseconds) * (1 - MARGIN):
            continue
        found = _run(folder, apart, threads, end)
        if found is not None:
            yield placed(apart), found.milliseconds


def _sum(whole: _Parts, base: _Parts, part: str) -> float:
    """What a caption would take with one part on the device and the other on the CPU, if nothing were moved."""
    mine, others = (whole, base) if part == "encoder" else (base, whole)
    return mine.encoder + others.steps


class _Parts:
    """Milliseconds of a caption and of its parts."""

    def __init__(self, timed: Timed) -> None:
        try:
            self.milliseconds = least(timed)
        finally:
            timed.close()
        self.encoder, self.steps = timed.encoder * 1000, CAPTION_STEPS * timed.step * 1000


def _run(folder: Folder, device: str | Mapping[str, str], threads: int | None, end: float) -> _Parts | None:
    """None for what cannot be used, or does not come to it."""
    if perf_counter() > end:
        return None
    try:
        return _Parts(Timed(open_checked(folder, device, threads, as_fused=True), folder))
    except Error:  # of the device, or of a folder without the layout
        return None
