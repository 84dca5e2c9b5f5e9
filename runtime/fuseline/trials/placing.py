"""Where a model is opened: on the device that is asked for, on the fastest, or on the CPU where that fails."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ..errors import DeviceError, FolderError, InputError, written
from ..folders.own import Folder
from ..graphs.devices import AUTO, ON_CPU, Placement, placed
from ..graphs.open import Graphs, open_graphs

CPU = "cpu"
_NOT_APART = 'device_options are of a device that is named; with device="auto" leave them out'


def place(device: object, options: Mapping[str, Any] | None, fallback: object = None) -> Placement:
    """The placement that is asked for; "auto" is the CPU as long as nothing was tried. With a fallback a device that is
    not to be had is the CPU, too, and a warning says why. Raises DeviceError, InputError."""
    if fallback not in (None, CPU):
        raise InputError(f'fallback must be "cpu" or None, not {written(fallback)}')
    if isinstance(device, str) and device == AUTO:
        if options:
            raise InputError(_NOT_APART)
        return Placement(ON_CPU, ON_CPU)
    try:
        return placed(device, options)
    except DeviceError as error:
        if fallback is None:
            raise
        _warn(error)
        return Placement(ON_CPU, ON_CPU)


def open_placed(
    folder: Folder,
    device: object = CPU,
    options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    fallback: object = None,
) -> tuple[Graphs, Placement]:
    """The graphs of the variant in use and where they are, checked. Raises as open_checked and place do."""
    placement = place(device, options, fallback)
    if isinstance(device, str) and device == AUTO:
        from .fastest import fastest

        placement = fastest(folder, threads)
    if placement.is_cpu:
        return open_graphs(folder, placement, threads), placement
    from .device_check import open_checked  # what the CPU needs none of takes time to be imported

    if fallback is None:
        return open_checked(folder, placement, threads), placement
    from ..graphs.fallback import with_fallback

    def on_cpu() -> Graphs:
        return open_graphs(folder, CPU, threads)

    try:
        return with_fallback(open_checked(folder, placement, threads), on_cpu, _warn), placement
    except (DeviceError, FolderError) as error:  # the latter of a layout that is not there, or whose files are damaged
        graphs = on_cpu()
        _warn(error)
        return graphs, Placement(ON_CPU, ON_CPU)


def _warn(error: DeviceError | FolderError) -> None:
    warnings.warn(f"{error}; the CPU is used instead", RuntimeWarning, stacklevel=2)
