"""The command `fuseline layouts`: its options and how its result is shown. The work is done in fuseline.export."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .terminal import Terminal, readable

if TYPE_CHECKING:
    from fuseline.export import LayoutsReport

_HELP = """\
Write the graphs of a model folder once more, as other devices than the CPU run them: standard in plain operators,
static with every size fixed, for NPUs, contrib in onnxruntime's own fused operators, for CUDA. They are compared with
the folder's own graphs before they are written.
Needs onnx and no torch."""
_EPILOG = """\
--json prints one object: path, files, agreement, nodes; if anything fails {"error": ...}.

example: fuseline layouts ~/models/name standard
         fuseline layouts ~/models/name standard,static --format fp16 -o ~/models/name-devices"""
_STATIC = "static"  # as fuseline.folders.description has it, whose import is for commands that run


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    layouts = commands.add_parser(
        "layouts",
        help="write a model's graphs as GPUs, NPUs and other devices run them",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    layouts.set_defaults(command=_run)
    add = layouts.add_argument
    add("folder", metavar="FOLDER", help="a model folder, or the name of one")
    add("names", metavar="NAMES", help="some of standard,static,contrib, in any case")
    add("-o", "--out", metavar="OUT", help="the folder to write, a copy of it (default: FOLDER itself)")
    add("--variants", metavar="NAMES", help="whose graphs (default: the folder's default variant)")
    add("--format", default="fp32", metavar="NAME", help="fp32 (the default), fp16, or int8: matrices in 8 bits")
    add("--rows", type=int, metavar="N", help="of static: the most beams (default: 4)")
    add(
        "--capacity",
        type=int,
        metavar="N",
        help="of static: the most tokens of a text (default: its max_length)",
    )
    add(
        "--positions",
        type=int,
        metavar="N",
        help="of static: the most tokens of a text that is read (default: 64), or positions of a clip (default: 10 s)",
    )
    add("--json", action="store_true", help="print one object")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Write them with a progress bar on standard error, then show what was written."""
    from fuseline.export import layouts

    names = [name.strip().lower() for name in options.names.split(",")]
    if _STATIC not in names:
        sizes = {"--rows": options.rows, "--capacity": options.capacity, "--positions": options.positions}
        for option, value in sizes.items():
            if value is not None:
                raise InputError(
                    f"{option} is of the layout {_STATIC}, and NAMES has none; leave it out, or add {_STATIC}"
                )
    with terminal.steps() as progress:
        report = layouts(
            options.folder,
            names,
            variants=None if options.variants is None else [name.strip() for name in options.variants.split(",")],
            format=options.format,
            rows=options.rows,
            capacity=options.capacity,
            positions=options.positions,
            out=options.out,
            progress=progress,
        )
    if options.json:
        terminal.record(report.record(), indent=2)
    else:
        terminal.lines(_rows(report))
    return 0


def _rows(report: LayoutsReport) -> Iterator[str]:
    """Files, and how near each layout is to the fused one."""
    yield str(report.path)
    for name, size in report.files.items():
        yield f"  {readable(size):>10}  {name}, {report.nodes[name]} nodes"
    for variant, found in report.agreement.items():
        for layout, share in found.items():
            yield f"{variant} {layout}: {share:.1%} of the texts of made-up inputs as the fused layout says them"
