"""The command `fuseline evaluate`: its options and how its result is shown. The work is done in fuseline.export."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import counted
from .terminal import DATA_HELP, Terminal

if TYPE_CHECKING:
    from fuseline.export import Evaluation

_HELP = """\
Caption photos, translate or summarize texts, or transcribe speech with the variants of a folder, and print how good
each is, with 95% intervals of the differences to fp32. Of a model with several sources also how good it is without each
of them, and with that of other inputs. The result goes into the folder's fuseline.json and model card.
After an interrupt, the same command goes on where it was. Needs onnx, and pycocoevalcap for captions, sacrebleu and
rouge-score for texts, or jiwer for speech."""
_EPILOG = f"""\
{DATA_HELP}

--json prints one object; if anything fails {{"error": ...}}.

example: fuseline evaluate --data flickr8k/captions.jsonl --variants int8,int4 ~/models/name
         fuseline evaluate --data test.en --references test.de --from en_XX --to de_DE ~/models/mbart
         fuseline evaluate --data LibriSpeech/test-clean ~/models/whisper"""


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure how good the variants of a model are",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.set_defaults(command=_run)
    add = evaluate.add_argument
    add("folder", metavar="FOLDER", help="a model folder")
    add(
        "--data",
        required=True,
        metavar="FILE",
        help="photos with captions, texts, speech, or inputs of several sources, as below",
    )
    add("--references", metavar="FILE", help="what people wrote for the texts of --data, line by line")
    add("--photos", metavar="FOLDER", help="where the photos' names start from (default: the folder of FILE)")
    add("--split", metavar="NAME", help="a split of the data (default: val, if the file knows splits)")
    add("--limit", type=int, metavar="N", help="only the first N photos, texts, clips or inputs")
    add(
        "--name", metavar="TEXT", help="what to call the data in the results (default: its folder's name and the split)"
    )
    add(
        "--variants",
        metavar="NAMES",
        help="some of the folder's variants, by commas (default: all); fp32 is always among them",
    )
    add("--ocr", action="store_true", help="score text that was read: error rates of words and characters")
    add("--java", action="store_true", help="use the tokenizer of COCO's evaluation, and METEOR; both need Java")
    add(
        "--tokenizer",
        metavar="NAME",
        help="how BLEU cuts words of texts: 13a (default), intl, zh, char or none; whose rules count for the words of "
        "speech: english (default of models that know English only, and with --from en) or basic",
    )
    add_languages(add)
    add("--num-beams", type=int, metavar="N", help="texts that are followed at once (default: the model's own number)")
    add("--threads", type=int, metavar="N", help="threads (default: one a physical core)")
    add("--no-write", action="store_true", help="leave the folder as it is")
    add("--json", action="store_true", help="print one object")


def add_languages(add: Callable[..., Any]) -> None:
    """The options of a model that reads texts. add: what adds one to a parser."""
    add("--from", dest="src_lang", metavar="LANG", help="the language of texts or of speech, as the model calls it")
    add("--to", dest="tgt_lang", metavar="LANG", help="the language that is to be said")
    add("--prefix", metavar="TEXT", help="what texts begin with for this model, such as 'summarize: '")
    add("--truncate", action="store_true", help="cut texts that are too long for the model (default: refuse them)")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Evaluate with a progress bar on standard error, then show the scores."""
    from fuseline.export import evaluate

    with terminal.steps() as progress:
        found = evaluate(
            options.folder,
            options.data,
            None if options.variants is None else [name.strip() for name in options.variants.split(",")],
            references=options.references,
            split=options.split,
            photos=options.photos,
            limit=options.limit,
            name=options.name,
            task="ocr" if options.ocr else None,
            tokenizer="ptb" if options.java else options.tokenizer,
            src_lang=options.src_lang,
            tgt_lang=options.tgt_lang,
            prefix=options.prefix,
            truncation=options.truncate,
            num_beams=options.num_beams,
            threads=options.threads,
            write=not options.no_write,
            progress=progress,
        )
    if options.json:
        terminal.record(found.report(), indent=2)
    else:
        terminal.lines(_rows(found))
    return 0


def _rows(found: Evaluation) -> Iterator[str]:
    """A line for every variant and score, and its difference to fp32 with the interval."""
    from fuseline.export.quality.bootstrap import signed
    from fuseline.export.quality.by_source import row_name
    from fuseline.export.quality.record import kind_of

    about = found.conditions
    thing = kind_of(about).removesuffix("s")
    one = "an" if thing == "input" else "a"
    said = [f"{name} {about[name]}" for name in ("from", "to") if name in about]
    counts = [counted(about[f"{each}s"], each) for each in (thing, "word") if f"{each}s" in about]
    yield ", ".join([about["dataset"], *counts, *said, f"beam {about['num_beams']}"])
    yield from (f"{name}: {about[name]}" for name in about if name.endswith(" signature"))
    for name, scored in found.variants.items():
        same = "" if scored.same is None else f", {scored.same:.1%} of the texts as fp32"
        yield ""
        yield f"{name}: {scored.bytes / 1e6:.2f} MB, {scored.milliseconds:.1f} ms {one} {thing}{same}"
        for score, value in scored.scores.items():
            less = scored.less_base.get(score)
            apart = f"   {signed(less.value)} ({signed(less.low)} to {signed(less.high)})" if less else ""
            own = scored.intervals.get(score)
            within = f" ({own.low:.4f} to {own.high:.4f})" if own else ""
            yield f"  {score:<22}{value:.4f}{within}{apart}"
        for source, of in scored.sources.items():
            for how, changed in of.items():
                yield ""
                yield f"{row_name(name, source, how)}: {changed.same:.1%} of the texts as with its own"
                for score, value in changed.scores.items():
                    less = changed.less_whole[score]
                    yield f"  {score:<22}{value:.4f}   {signed(less.value)} ({signed(less.low)} to {signed(less.high)})"
