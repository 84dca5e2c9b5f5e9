"""The command line: `python -m benchmarks run`, `report`, `compare`, `profile`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fuseline.folders.open import open_folder

from . import environments, models, systems
from .client import ROOT
from .errors import BenchmarkError
from .models import MODELS

FAILED, REGRESSED, INTERRUPTED = 2, 1, 130
RESULTS = ROOT / "docs" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit status: 0, 1 for a regression, 2 for what could not be done, 130 on Ctrl-C."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        from fuseline import Error
    except ImportError:
        print("benchmarks: fuseline is not installed here; pip install -e '.[benchmarks]' does that", file=sys.stderr)
        return FAILED
    try:
        return command(options)
    except (BenchmarkError, Error) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure fuseline beside other engines on this machine.",
        epilog="example: python -m benchmarks run --quick && python -m benchmarks report",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str, example: str) -> Any:
        raw = argparse.RawDescriptionHelpFormatter
        made = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example: python -m benchmarks {example}",
            formatter_class=raw,
        )
        made.set_defaults(command=command)
        return made.add_argument

    option = add(
        "run",
        _run,
        "measure, and append the results to a file",
        "run --quick --systems fuseline-* transformers-fp32 --models vit-gpt2",
    )
    option("--systems", nargs="+", default=["*"], metavar="NAME", help="systems, * for any letters (default: all)")
    option("--models", nargs="+", metavar="NAME", help=f"of {', '.join(MODELS)} (default: all; --quick: the first two)")
    option("--quick", action="store_true", help="two models, fewer systems and turns: some 8 minutes")
    option("--threads", type=int, metavar="N", help="threads (default: one a physical core)")
    option("--out", type=Path, metavar="FILE", help="where results go (default: results.jsonl in the cache folder)")
    option("--list", action="store_true", help="name systems and models, and measure nothing")
    option("--device", metavar="NAME", help="measure a captioner there, such as cuda, beside transformers there")
    option(
        "--patience", type=float, default=1.0, metavar="N", help="with --device: times its limits, of a slow machine"
    )
    option("--size", default="large", choices=["large", "small"], help="of that captioner; small tries the measuring")

    option = add(
        "report", _report, "make docs/results/speed.md of each model's last run in a result file", "report --readme"
    )
    option("results", nargs="?", type=Path, metavar="FILE", help="a result file (default: that of run)")
    option("--run", metavar="NAME", help="this run alone")
    option("--out", type=Path, default=RESULTS, metavar="FOLDER", help="where to write (default: docs/results)")
    option("--readme", action="store_true", help="put the main table into README.md, too, between its marks")

    option = add(
        "compare",
        _compare,
        "tell what changed between two result files; exits 1 where it got worse",
        "compare before.jsonl after.jsonl",
    )
    option("before", type=Path, metavar="A", help="a result file, of which each model's last run counts")
    option("after", type=Path, metavar="B", help="another")
    option("--all", action="store_true", help="show what did not change, too")

    option = add(
        "profile",
        _profile,
        "show where the time of one caption goes",
        "profile --model vit-gpt2 --variant int8 --out profile",
    )
    option(
        "--model",
        default=models.SHIPPED,
        metavar="NAME",
        help=f"of {', '.join(MODELS)}, or a fuseline folder (default: {models.SHIPPED})",
    )
    option("--variant", metavar="NAME", help="a variant of the folder (default: its first)")
    option("--threads", type=int, metavar="N", help="threads (default: one a physical core)")
    option(
        "--out",
        type=Path,
        default=Path("profile"),
        metavar="FOLDER",
        help="for the picture, the table and the trace (default: profile)",
    )

    option = add(
        "quality",
        _quality,
        "make docs/results/quality.md: what each variant costs in captions",
        "quality --data flickr8k/captions.jsonl --folder flickr8k-lite0",
    )
    option("--data", type=Path, required=True, metavar="FILE", help="captions.jsonl with the splits train and val")
    option("--limit", type=int, metavar="N", help="only the first N photos of val")
    option("--folder", type=Path, required=True, metavar="FOLDER", help="a fuseline folder that reads photos alone")
    option("--large", type=Path, metavar="FOLDER", help="ViT-GPT2 exported with all variants, for its agreement")
    option("--note", default="", metavar="TEXT", help="what to say of the floats")
    option("--out", type=Path, default=RESULTS, metavar="FOLDER", help="where to write (default: docs/results)")
    return parser


def _quality(options: argparse.Namespace) -> int:
    from fuseline.export import evaluate
    from fuseline.export.quality.data import read_data

    from . import quality
    from .machine import machine

    source = open_folder(options.folder).path
    seen = [Path(photo.given) for photo in read_data(options.data, "train", None, quality.CALIBRATION).items]
    folder = environments.cache() / "quality" / source.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _progress(1) as (tell, _):
        quality.all_variants(source, folder, seen, lambda step, steps, what: tell(what))
    found = evaluate(folder, options.data, split="val", limit=options.limit, name="flickr8k val", write=False)
    large = quality.agreement(options.large, 16) if options.large else {}
    features = ", ".join(machine()["features"])
    where = f"{machine()['cpu']} ({features}), {machine()['cores']} cores"
    page = quality.Page(found, quality.hashes(folder), large, where, source.name, options.note)
    print(page.write(options.out))
    return 0


def _run(options: argparse.Namespace) -> int:
    if options.device is not None:
        return _on_device(options)
    from .plan import Plan, in_full_and_brief, units
    from .records import Recorder
    from .run import run

    chosen = [
        _model(name) for name in options.models or [m.name for m in MODELS.values() if m.quick or not options.quick]
    ]
    named = options.systems != ["*"]
    specs = [spec for spec in _systems(options.systems) if spec.quick or named or not options.quick]
    if options.list:
        print("systems: " + ", ".join(spec.name for spec in specs))
        print("models: " + ", ".join(model.name for model in chosen))
        return 0
    threads = _threads(options.threads)
    if options.quick or options.models or named:
        plans = [Plan.of(specs, chosen, threads, options.quick)]
    else:
        plans = in_full_and_brief(specs, chosen, threads)
    recorder = Recorder(options.out or _default_results(), options.quick)
    with _progress(sum(map(units, plans))) as (tell, say):
        run(plans, recorder, tell, say)
    print(f"{recorder.count} measurements of run {recorder.run} are in {recorder.path}")
    return 0


def _on_device(options: argparse.Namespace) -> int:
    from .on_device import LIMITS, run, summary

    out = options.out or environments.cache() / f"{options.device.replace(':', '-')}.jsonl"
    with _progress(len(LIMITS)) as (tell, say):

        def done(what: str) -> None:
            tell(what)
            say(what)

        found = run(options.device, out.absolute(), options.size, done, options.patience)
    print("\n".join(summary(found)))
    print(f"what was measured is in {out}")
    return FAILED if any("error" in record for record in found) else 0


def _report(options: argparse.Namespace) -> int:
    from . import report
    from .records import read

    records = read(options.results or _default_results(), options.run)
    page = report.write(records, options.out)
    if options.readme:
        report.into_readme(records, ROOT / "README.md", options.out.resolve())
    print(page)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from .compare import compare, lost, regressions
    from .records import read

    before, after = read(options.before), read(options.after)
    changes = compare(before, after)
    if not changes:
        raise BenchmarkError(f"{options.before} and {options.after} have no measurement in common")
    table = Table("system", "model", "metric", "conditions", "A", "B", "B / A", "95 %", "verdict")
    shown = [change for change in changes if options.all or change.verdict != "same"]
    for change in shown:
        low, high = change.interval
        numbers = (f"{change.before:.4g}", f"{change.after:.4g}", f"{change.ratio:.3f}", f"{low:.3f} to {high:.3f}")
        table.add_row(change.system, change.model, change.metric, change.conditions, *numbers, change.verdict)
    console = Console(width=None if sys.stdout.isatty() else 200)
    if shown:
        console.print(table)
    gone = list(lost(before, after))
    for sentence in gone:
        console.print(sentence)
    worse = len(regressions(changes)) + len(gone)
    console.print(f"{len(changes)} measurements in both; {worse} worse beyond noise")
    return REGRESSED if worse else 0


def _profile(options: argparse.Namespace) -> int:
    from .profile import profile

    print(profile(options.model, options.variant, _threads(options.threads), options.out))
    return 0


def _systems(patterns: Sequence[str]) -> list[systems.Spec]:
    """Those whose names fit a pattern, in the order of the list. Raises BenchmarkError for a pattern that fits none."""
    known = systems.specs()
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise BenchmarkError(f"there is no system {pattern}; there are {', '.join(known)}")
    return [spec for name, spec in known.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _model(name: str) -> models.Model:
    if name not in MODELS:
        raise BenchmarkError(f"there is no model {name}; there are {', '.join(MODELS)}")
    return MODELS[name]


def _threads(given: int | None) -> int:
    from fuseline.graphs.cores import physical_cores

    if given is not None and given < 1:
        raise BenchmarkError(f"--threads must be at least 1, not {given}")
    return given or physical_cores()


def _default_results() -> Path:
    return environments.cache() / "results.jsonl"


Tell = Callable[[str], None]


@contextmanager
def _progress(total: int) -> Iterator[tuple[Tell, Tell]]:
    """A bar with what is being done and the time that remains, and above it what is done and after how many seconds.

    Yields what moves the bar on, and what writes above it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console, began = Console(stderr=True), time.monotonic()
    columns = (BarColumn(24), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)

        def tell(what: str) -> None:
            bar.update(task, advance=1, description=what)

        def say(what: str) -> None:
            console.print(f"{time.monotonic() - began:5.0f} s  {what}", highlight=False)

        yield tell, say


if __name__ == "__main__":
    sys.exit(main())
