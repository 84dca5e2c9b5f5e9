"""The command `fuseline export`: its options and how its result is shown. The work is done in fuseline.export."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .terminal import Terminal, readable

if TYPE_CHECKING:
    from fuseline.export import ExportReport

_HELP = """\
Turn a Hugging Face model that makes texts of photos or of texts, or a CTranslate2 folder, into a fuseline folder, and
compare the two on generated photos or texts. With --embed turn a fuseline folder, or a model by its name, into ONNX
files that hold the search, too, for programs without Python.
OUT is complete at the end, or as it was if anything fails. Needs onnx, onnxscript, torch and transformers; with --embed
onnx alone."""
_EPILOG = """\
--json prints one object: path, files, agreement; if anything fails {"error": ...}.

examples: fuseline export --variants int8,fp32 org/name ~/models/name
          fuseline export --embed ~/models/name ~/models/name-embedded
          fuseline export --embed flickr8k-lite1 captioner         the captioner that ships
          fuseline export --embed whisper-tiny.en speech           one that fuseline get fetched"""


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    export = commands.add_parser(
        "export",
        help="turn a Hugging Face model into a fuseline folder",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.set_defaults(command=_run)
    add = export.add_argument
    add("model", metavar="MODEL", help="a local folder, of CTranslate2 too, or a name on the hub such as org/name")
    add("out", metavar="OUT", help="the folder to write")
    add(
        "--variants",
        metavar="NAMES",
        help="some of fp32 (the default), fp16, bf16, int8, int4; the first is the default",
    )
    add(
        "--layouts",
        metavar="NAMES",
        help="fused (the default), and standard, static or contrib, for other devices than the CPU",
    )
    add("--max-length", type=int, metavar="N", help="most tokens of a text (default: what the model's positions allow)")
    add(
        "--interpolate-pos-encoding",
        action="store_true",
        help="for photos of another size than the encoder's positions, where transformers is called with that too",
    )
    add(
        "--embed",
        action="store_true",
        help="MODEL is a fuseline folder, or the name of one that ships or was fetched; write what onnxruntime runs",
    )
    add(
        "--inline",
        action="store_true",
        help="with --embed: standard operators alone, which the kernels cannot speed up",
    )
    add("--force", action="store_true", help="replace an older folder of the same kind at OUT")
    add("--via", choices=["optimum"], help="let optimum-onnx export; it adds decoders of MegatronBERT and RemBERT")
    add("--json", action="store_true", help="print one object")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Export with a progress bar on standard error, then show files, sizes and agreement."""
    if options.embed:
        return _embed(options, terminal)
    if options.inline:
        raise InputError("--inline is of --embed; give that too")
    try:
        report = _exported(options, terminal)
    finally:
        gc.freeze()  # so that Python, when it ends, does not look through all that torch has made, which takes a second
    if options.json:
        agreement = {variant: found.record() for variant, found in report.agreement.items()}
        remark = {"remark": report.remark} if report.remark else {}
        record = {"path": str(report.path), "files": dict(report.files), "agreement": agreement, **remark}
        terminal.record(record, indent=2)
    else:
        terminal.lines(_rows(report))
    return 0


def _exported(options: argparse.Namespace, terminal: Terminal) -> ExportReport:
    from fuseline.export import export

    with terminal.steps() as progress:
        return export(
            options.model,
            options.out,
            [name.strip() for name in ("fp32" if options.variants is None else options.variants).split(",")],
            options.max_length,
            force=options.force,
            interpolate_pos_encoding=options.interpolate_pos_encoding,
            via=options.via,
            layouts=[name.strip() for name in (options.layouts or "fused").split(",")],
            progress=progress,
        )


def _embed(options: argparse.Namespace, terminal: Terminal) -> int:
    """Embed a folder, then show files and sizes."""
    from fuseline.export import embed

    given = {"--max-length": options.max_length, "--via": options.via, "--layouts": options.layouts}
    given["--interpolate-pos-encoding"] = options.interpolate_pos_encoding
    if wrong := [name for name, value in given.items() if value is not None and value is not False]:
        raise InputError(f"{wrong[0]} is of exporting a checkpoint; with --embed leave it out")
    if options.variants and "," in options.variants:
        raise InputError("with --embed give one variant; each is embedded in a folder of its own")
    report = embed(options.model, options.out, variant=options.variants, inline=options.inline, force=options.force)
    if options.json:
        terminal.record({"path": str(report.path), "files": dict(report.files)}, indent=2)
    else:
        terminal.lines(_file_rows(report.path, report.files))
    return 0


def _file_rows(path: Path, files: Mapping[str, int]) -> Iterator[str]:
    """The files that were written, and their sizes."""
    yield str(path)
    for name, size in files.items():
        yield f"  {readable(size):>10}  {name}"
    yield f"  {readable(sum(files.values())):>10}  in all"


def _rows(report: ExportReport) -> Iterator[str]:
    """Files and sizes, then for every variant how near it is to what transformers says."""
    yield from _file_rows(report.path, report.files)
    if report.remark:
        yield report.remark
    for variant, found in report.agreement.items():
        first = f"; the first difference: {found.first_difference}" if found.first_difference else ""
        tie = " (a tie)" if found.first_difference and found.tie else ""
        yield ""
        yield f"{variant}, of {found.inputs} generated {found.kind} as {found.reference} says:"
        yield (
            f"  {found.greedy:.1%} greedy, {found.beam:.1%} with 4 beams, logits within {found.logits:.1e}"
            + first
            + tie
        )
