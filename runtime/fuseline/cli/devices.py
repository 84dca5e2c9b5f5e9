"""The command `fuseline devices`: which devices there are here, and what each is worth for a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import InputError, written
from .generating import add_device_option, option_fields
from .terminal import FAILED, Terminal

if TYPE_CHECKING:
    from ..trials.survey import Finding

_HELP = """\
Show the devices that a model can be put on here with --device: the CPU, and what onnxruntime and its plugins drive.
Each is tried in a process of its own: its tokens must be those of the CPU, and its speed is that of one caption or text
beside the CPU's."""
_EPILOG = """\
A device other than the CPU runs a model's graphs in another layout, which `fuseline layouts FOLDER standard` makes.
--json prints one object with a list of devices. With --device the exit status is 2 where that device
cannot be used or says something else than the CPU, and why is said on standard error.

example: fuseline devices
         fuseline devices ~/models/vit-gpt2
         fuseline devices --device qnn --device-option htp_arch=73 --device-option soc_model=43 ~/models/vit-gpt2"""
_HEAD = ("device", "hardware", "package", "driver", "graphs", "nodes", "tokens", "speed")


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    devices = commands.add_parser(
        "devices",
        help="show the devices that models can run on here",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    devices.set_defaults(command=_run)
    add = devices.add_argument
    add("model", nargs="?", metavar="MODEL", help="what is tried on them (default: the captioner that ships)")
    add("--variant", metavar="NAME", help="which of its variants (default: the folder's default)")
    add("--device", metavar="NAME", help="the only one that is tried beside the CPU")
    add_device_option(add)
    add("--threads", type=int, metavar="N", help="threads of the CPU (default: one a physical core)")
    add("--json", action="store_true", help="print one object")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show them as a table, and below it why some cannot be used."""
    from ..folders.open import open_folder
    from ..trials.survey import survey

    told = option_fields(options.device_option)
    _check(options.device, told)
    folder = open_folder(options.model, options.variant)
    found = list(survey(folder, options.threads, options.device, told))
    if options.json:
        listed = [_record(each) for each in found]
        terminal.record({"model": str(folder.path), "variant": folder.variant, "devices": listed}, indent=2)
    else:
        terminal.lines(_lines(found, reasons=options.device is None))
    if options.device is None:
        return 0
    failed = [each for each in found if each.trial.reason]
    for each in failed:  # of one that somebody counts on
        terminal.say(_reason(each))
    return FAILED if failed else 0


def _check(device: str | None, told: dict[str, str]) -> None:
    """Raises InputError for what is no device's name, and for options that no device would be told; DeviceError for
    the name of a device that is not there."""
    from ..graphs.devices import AUTO, ON_CPU, kind_of, placed

    if device is None:
        if told:
            raise InputError("--device-option is told to one device; name it with --device")
    elif "=" in device or device.lower() == AUTO:
        raise InputError(
            f"--device of `fuseline devices` is one device's name, not {written(device)}; auto and "
            "encoder=NAME,decoder=NAME are for commands that run a model, such as `fuseline caption`"
        )
    elif kind_of(device) == ON_CPU.name:
        placed(device, told)  # refuses options, as when a model is opened


def _record(each: Finding) -> dict[str, Any]:
    trial = each.trial
    return {
        "name": each.seen.name,
        "provider": each.seen.provider,
        "hardware": each.seen.hardware,
        "package": each.seen.package,
        "driver": each.seen.driver,
        "layout": trial.layout,
        "nodes": None if trial.nodes is None else {"on it": trial.nodes[0], "all": trial.nodes[1]},
        "tokens": trial.same,
        "milliseconds": None if trial.times is None else trial.times.caption,
        "speed": each.speed,
        "reason": trial.reason or None,
    }


def _reason(each: Finding) -> str:
    return f"{each.seen.name}: {each.trial.reason}"


def _lines(found: list[Finding], *, reasons: bool) -> Iterator[str]:
    """Columns as wide as what is in them, then why some devices cannot be used, where that is asked for."""
    from ..graphs.installed import several

    rows = [_HEAD, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield from (_reason(each) for each in found if reasons and each.trial.reason)
    if mixed := several():
        yield mixed.removeprefix("; ")


def _row(each: Finding) -> tuple[str, ...]:
    seen, trial = each.seen, each.trial
    tokens = {True: "the CPU's", False: "others", None: "-"}[trial.same]
    speed = "-" if each.speed is None else f"{each.speed:.2f}"
    nodes = "" if trial.nodes is None else f"{trial.nodes[0]} of {trial.nodes[1]}"
    cells = (seen.name, seen.hardware, seen.package, seen.driver, trial.layout, nodes, tokens, speed)
    return tuple(cell or "-" for cell in cells)
