"""The command `fuseline quantize`: its options and how its result is shown. The work is done in fuseline.export."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .evaluate import add_languages
from .terminal import DATA_HELP, Terminal

if TYPE_CHECKING:
    from fuseline.export import QuantizeReport

_HELP = """\
Add smaller variants to a folder that holds one of floats, measure what each of them costs in quality, and write that
into the folder. With --max-loss, a variant that costs more is not written.
Needs onnx and, with --data, pycocoevalcap for captions, sacrebleu and rouge-score for texts, or jiwer for speech."""
_EPILOG = f"""\
{DATA_HELP}

--json prints one object; if anything fails {{"error": ...}}.

example: fuseline quantize ~/models/name --variants int8,int4 --calibrate photos/
         fuseline quantize ~/models/name --variants int4 --data flickr8k/captions.jsonl --max-loss 2%
         fuseline quantize ~/models/opus-mt --variants int4 --calibrate sentences.txt"""
_SHOWN = 5


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    quantize = commands.add_parser(
        "quantize",
        help="add smaller variants to a model, each with its price",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    quantize.set_defaults(command=_run)
    add = quantize.add_argument
    add("folder", metavar="FOLDER", help="a model folder with a variant fp32 or fp16")
    add("--variants", default="int8", metavar="NAMES", help="some of fp16,bf16,int8,int4 (default: int8)")
    add(
        "--calibrate",
        metavar="PLACE",
        help="a folder of 8 photos or clips or more, or a file of 8 lines of text, like those the model is meant for",
    )
    add("--data", metavar="FILE", help="photos, texts or speech, as below: judge by CIDEr, chrF or words")
    add("--references", metavar="FILE", help="what people wrote for the texts of --data, line by line")
    add("--split", metavar="NAME", help="a split of the data (default: val, if the file knows splits)")
    add("--limit", type=int, metavar="N", help="only the first N photos, texts or clips of the data")
    add_languages(add)
    add("--max-loss", type=_share, metavar="SHARE", help="what a variant may lose, such as 0.5%% (default: anything)")
    add("--half", type=int, default=0, metavar="N", help="leave the N worst matrices in 16 bits (default: 0)")
    add("--static", action="store_true", help="convolutions multiply in 8 bits too (with --calibrate; rarely faster)")
    add("--default", metavar="NAME", help="a new default variant")
    add("--threads", type=int, metavar="N", help="threads (default: one a physical core)")
    add("--json", action="store_true", help="print one object")


def lost(share: float) -> str:
    """A loss in words: below nothing it is a gain, and it is never -0.00%."""
    percent = round(share * 100, 2)
    return f"gains {-percent:.2f}%" if percent < 0 else f"loses {percent + 0.0:.2f}%"


def _share(text: str) -> float:
    """A share written as 0.5% or as 0.005."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write 0.5% or 0.005") from error


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Quantize with a progress bar on standard error, then show what was written."""
    from fuseline.export import quantize

    with terminal.steps() as progress:
        report = quantize(
            options.folder,
            [name.strip() for name in options.variants.split(",")],
            calibrate=options.calibrate,
            data=options.data,
            references=options.references,
            split=options.split,
            limit=options.limit,
            src_lang=options.src_lang,
            tgt_lang=options.tgt_lang,
            prefix=options.prefix,
            truncation=options.truncate,
            max_loss=options.max_loss,
            half=options.half,
            static=options.static,
            default=options.default,
            threads=options.threads,
            progress=progress,
        )
    if options.json:
        terminal.record(report.report(), indent=2)
    else:
        terminal.lines(_rows(report))
    return 0


def _rows(report: QuantizeReport) -> Iterator[str]:
    """What each variant costs, and which of its matrices are the worst."""
    yield f"{report.path}, made of {report.source}"
    for name, made in report.variants.items():
        agreed = made.agreement
        yield ""
        yield f"{name}: {made.bytes / 1e6:.2f} MB, {lost(made.loss)} of {made.measured}"
        yield (
            f"  {agreed.tokens:.2%} of the next tokens and {agreed.beam:.1%} of the texts as {report.source}, "
            f"divergence {agreed.divergence:.2e} nats"
        )
        for matrix, wrong in list(made.errors.items())[:_SHOWN]:
            yield f"  error {wrong:.2%} in {matrix}{' (in half)' if matrix in made.half else ''}"
