"""A device tried with a model: whether it says what the CPU says, and how fast, or why not.

Devices other than the CPU are looked for and tried in processes of their own (fuseline.trials.apart).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from ..errors import Error
from ..folders.open import open_folder
from ..folders.own import Folder
from ..graphs.devices import ON_CPU, Placement, brought, devices, placed
from ..graphs.hardware import Seen, seen
from . import apart
from .device_check import OtherTokens, open_checked
from .timing import CAPTION_STEPS, Timed

_ROUNDS, _SECONDS = 5, 3.0  # runs of a caption, and for how long another is begun

Asked = str | Mapping[str, str]
"""a device's name, or names by part"""


@dataclass(frozen=True)
class Times:
    """Milliseconds of a caption's parts."""

    encoder: float
    steps: float

    @property
    def caption(self) -> float:
        """Of a caption."""
        return round(self.encoder + self.steps, 4)


@dataclass(frozen=True)
class Trial:
    """What was found. layout: which graphs the device runs; same: whether its tokens are the CPU's, None where it could
    not be tried; nodes: how many of its graphs' run on it, and how many they have; times: where it can be used; reason:
    why it cannot, empty where it can."""

    layout: str = ""
    same: bool | None = None
    nodes: tuple[int, int] | None = None
    times: Times | None = None
    reason: str = ""

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def of_record(cls, found: Mapping[str, Any]) -> Trial:
        """What `record` made, back from JSON."""
        nodes, times = found["nodes"], found["times"]
        read = {"nodes": nodes and (nodes[0], nodes[1]), "times": times and Times(**times)}
        return cls(**{**found, **read})


def on_cpu(folder: Folder, threads: int | None) -> tuple[Trial, Times]:
    """A trial of the CPU in this process, with which others are compared. Raises FolderError, DeviceError."""
    trial = _measured(folder, Placement(ON_CPU, ON_CPU), threads)
    assert trial.times is not None  # of one that did not raise
    return trial, trial.times


def _measured(folder: Folder, placement: Placement, threads: int | None) -> Trial:
    """A trial in this process. Raises as open_checked does."""
    timed = Timed(open_checked(folder, placement, threads, as_fused=True), folder)
    try:
        began = perf_counter()
        for done in range(_ROUNDS):
            if done > 1 and perf_counter() - began > _SECONDS:  # the first may make what later ones use
                break
            timed.run()
        times = Times(*(round(1000 * each, 4) for each in (timed.encoder, CAPTION_STEPS * timed.step)))
        return Trial(_layout(placement), True, timed.graphs.nodes, times)
    finally:
        timed.close()


def seen_apart(names: Sequence[str]) -> list[Seen]:
    """The devices of these names but the CPU, looked for in one process, or in one each where that crashes."""
    if not names:
        return []
    try:
        return [Seen(**each) for each in apart.run("listed", {"names": list(names)}, apart.LOOKING)]
    except Error as error:
        if len(names) == 1:
            plugin = brought().get(names[0])
            package = "" if plugin is None else plugin.package
            return [Seen(names[0], devices()[names[0]], "", package, reason=str(error))]
        return [each for name in names for each in seen_apart([name])]


def tried_apart(
    folder: Folder,
    device: Asked,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    seconds: float | None = None,
) -> Trial:
    """A trial in a process of its own, which has so many seconds (None: apart.SECONDS)."""
    given = {"folder": str(folder.path.resolve()), "variant": folder.variant, "device": device, "threads": threads}
    try:
        return Trial.of_record(apart.run("tried", given | {"options": options}, seconds))
    except Error as error:
        return Trial(reason=str(error))


def _listed(names: Sequence[str]) -> list[dict[str, Any]]:
    return [asdict(each) for each in seen(names)]


def _tried(
    folder: str, variant: str, device: Asked, threads: int | None, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    layout = ""
    try:
        placement = placed(device, options)
        layout = _layout(placement)
        found = _measured(open_folder(folder, variant), placement, threads)
    except OtherTokens as error:
        found = Trial(layout, same=False, reason=str(error))
    except Error as error:
        found = Trial(layout, reason=str(error))
    return found.record()


def _layout(placement: Placement) -> str:
    """That of the parts that are not on the CPU."""
    return next((device.layout for device in placement.parts if not device.is_cpu), placement.decoder.layout)


TASKS: Mapping[str, Callable[..., Any]] = {"listed": _listed, "tried": _tried}
"""What is done in a process apart: each takes and returns what JSON holds."""


def answer(task: str, given: Mapping[str, Any], file: str) -> None:
    """Do one of the tasks, and write its answer to the file; called by apart in its process."""
    _no_core_files()
    try:
        found = {"answer": TASKS[task](**given)}
    except Error as error:
        found = {"error": str(error)}
    whole = Path(f"{file}.part")
    whole.write_text(json.dumps(found), encoding="utf-8")
    whole.replace(file)


def _no_core_files() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
