"""The command `fuseline devices`: which devices there are here, and what each is worth for a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .terminal import Terminal

if TYPE_CHECKING:
    from ..trials.survey import Finding

_HELP = """\
Show the devices that a model can be put on here with --device: the CPU, and what onnxruntime and its plugins drive.
Each is tried: its tokens must be those of the CPU, and its speed is that of one caption or text beside the CPU's."""
_EPILOG = """\
A device other than the CPU runs a model's graphs in another layout, which `fuseline layouts FOLDER standard` makes.
--json prints one object with a list of devices.

example: fuseline devices
         fuseline devices ~/models/vit-gpt2"""
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
    add("--threads", type=int, metavar="N", help="threads of the CPU (default: one a physical core)")
    add("--json", action="store_true", help="print one object")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show them as a table, and below it why some cannot be used."""
    from ..folders.open import open_folder
    from ..trials.survey import survey

    folder = open_folder(options.model, options.variant)
    found = list(survey(folder, options.threads))
    if options.json:
        listed = [_record(each) for each in found]
        terminal.record({"model": str(folder.path), "variant": folder.variant, "devices": listed}, indent=2)
    else:
        terminal.lines(_lines(found))
    return 0


def _record(each: Finding) -> dict[str, Any]:
    return {
        "name": each.seen.name,
        "provider": each.seen.provider,
        "hardware": each.seen.hardware,
        "package": each.seen.package,
        "driver": each.seen.driver,
        "layout": each.layout,
        "nodes": None if each.nodes is None else {"on it": each.nodes[0], "all": each.nodes[1]},
        "tokens": each.same,
        "milliseconds": each.milliseconds,
        "speed": each.speed,
        "reason": each.reason or None,
    }


def _lines(found: list[Finding]) -> Iterator[str]:
    """Columns as wide as what is in them."""
    rows = [_HEAD, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield from (f"{each.seen.name}: {each.reason}" for each in found if each.reason)


def _row(each: Finding) -> tuple[str, ...]:
    tokens = {True: "the CPU's", False: "others", None: "-"}[each.same]
    speed = "-" if each.speed is None else f"{each.speed:.2f}"
    nodes = "" if each.nodes is None else f"{each.nodes[0]} of {each.nodes[1]}"
    seen = each.seen
    cells = (seen.name, seen.hardware, seen.package, seen.driver, each.layout, nodes, tokens, speed)
    return tuple(cell or "-" for cell in cells)
