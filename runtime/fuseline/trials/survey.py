"""What each device here is worth for a model, beside the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..folders.own import Folder
from ..graphs.devices import ON_CPU, devices, kind_of
from ..graphs.hardware import Seen, seen
from .trial import Trial, on_cpu, seen_apart, tried_apart


@dataclass(frozen=True)
class Finding:
    """A device for a model. speed: how many times as fast as the CPU."""

    seen: Seen
    trial: Trial
    speed: float | None = None


def survey(
    folder: Folder,
    threads: int | None = None,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Finding]:
    """Try every device with the folder's variant in use, the CPU first; each is told when it is known.

    device: the only one that is tried beside the CPU; options: what its provider is told. Raises DeviceError where
    there is no such device, and DeviceError, FolderError where the CPU itself cannot be used.
    """
    names = [name for name in devices() if name != ON_CPU.name] if device is None else [kind_of(device)]
    trial, base = on_cpu(folder, threads)
    yield Finding(next(seen([ON_CPU.name])), trial, 1.0)
    found = seen_apart([name for name in names if name != ON_CPU.name])
    if device is not None and names != [ON_CPU.name]:
        # What nothing lists may be there all the same, such as another library of QNN's.
        unlisted = Seen(device, devices()[names[0]], "", found[0].package, found[0].driver, found[0].reason)
        found = [each for each in found if each.name.lower() == device.lower()] or [unlisted]
    for each in found:
        trial = Trial(reason=each.reason) if each.reason else tried_apart(folder, each.name, threads, options)
        yield Finding(each, trial, None if trial.times is None else base.caption / trial.times.caption)
