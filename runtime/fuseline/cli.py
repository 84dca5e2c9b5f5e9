"""The command line: `fuseline caption`, `fuseline export`, `fuseline quantize`, `fuseline evaluate`,
`fuseline info`, `fuseline --version`.

Results go to standard output, everything else to standard error. What only one command needs is imported there, since
the time until the first caption is part of the product.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from . import __version__, cli_quality, cli_quantize
from .errors import Error, ExportError, InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fuseline.export import ExportReport

    from .folder import Folder
    from .model import Model

# What ends the name of a photo in a folder; a photo that is named on the command line may be called anything.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".ppm")
FAILED, INTERRUPTED, PIPE_CLOSED = 2, 130, 141

_CAPTION_HELP = """\
Print what is on photos, one line a photo: only the text if one photo is named, else "path: text".
A folder stands for all photos in it and below it, in order of their names; - reads a photo from standard input."""
_CAPTION_EXAMPLE = """\
example: fuseline caption --num-beams 4 holiday/ cat.jpg
         curl -s https://example.org/dog.jpg | fuseline caption --json -"""
_EXPORT_HELP = """\
Turn a Hugging Face image-to-text model into a fuseline folder, and compare the two on generated photos.
OUT is complete at the end, or as it was if anything fails. Needs pip install 'fuseline[export]'."""
_EXPORT_EXAMPLE = "example: fuseline export --variants int8,fp32 org/name ~/models/name"
_INFO_HELP = "Show what fuseline finds on this machine (CPU, kernel library, onnxruntime) and what a model holds."
_INFO_EXAMPLE = "example: fuseline info --json ~/models/vit-gpt2"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit status: 0, 2 if something could not be done, 130 on Ctrl-C, 141 if the reader has gone."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        status = command(options)
        sys.stdout.flush()
        return status
    except Error as error:
        _complain(error)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more; Python would try once again when it exits, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fuseline",
        description="Say what is on a photo, offline.",
        epilog="example: fuseline caption cat.jpg",
    )
    parser.add_argument("--version", action="version", version=f"fuseline {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    caption = commands.add_parser(
        "caption",
        help="print what is on photos",
        description=_CAPTION_HELP,
        epilog=_CAPTION_EXAMPLE,
        formatter_class=raw,
    )
    caption.set_defaults(command=_caption)
    _add_caption_options(caption)
    export = commands.add_parser(
        "export",
        help="turn a Hugging Face model into a fuseline folder",
        description=_EXPORT_HELP,
        epilog=_EXPORT_EXAMPLE,
        formatter_class=raw,
    )
    export.set_defaults(command=_export)
    _add_export_options(export)
    quantize = commands.add_parser(
        "quantize",
        help="add smaller variants to a model, each with its price",
        description=cli_quantize.QUANTIZE_HELP,
        epilog=cli_quantize.QUANTIZE_EXAMPLE,
        formatter_class=raw,
    )
    quantize.set_defaults(command=lambda options: cli_quantize.run_quantize(options, _steps))
    cli_quantize.add_quantize_options(quantize)
    evaluate = commands.add_parser(
        "evaluate",
        help="measure how good the variants of a model are",
        description=cli_quality.EVALUATE_HELP,
        epilog=cli_quality.EVALUATE_EXAMPLE,
        formatter_class=raw,
    )
    evaluate.set_defaults(command=lambda options: cli_quality.run_evaluate(options, _steps))
    cli_quality.add_evaluate_options(evaluate)
    info = commands.add_parser(
        "info", help="show this machine and a model", description=_INFO_HELP, epilog=_INFO_EXAMPLE
    )
    info.set_defaults(command=_info)
    info.add_argument("model", nargs="?", metavar="MODEL", help="a model folder (default: the captioner that ships)")
    info.add_argument("--json", action="store_true", help="print one object")
    return parser


def _add_caption_options(caption: argparse.ArgumentParser) -> None:
    add = caption.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="a photo, a folder of photos, or - for standard input")
    add("--num-beams", type=int, metavar="N", help="texts that are followed at once (default: the model's own number)")
    add("--max-length", type=int, metavar="N", help="most tokens of a text (default: the model's own number)")
    add("--model", metavar="FOLDER", help="a model folder (default: the captioner that ships)")
    add(
        "--variant",
        default="auto",
        metavar="NAME",
        help="as `fuseline info` lists them (default: the fastest good one)",
    )
    add("--device", default="cpu", help="cpu, cuda, or a provider of onnxruntime (default: cpu)")
    add("--threads", type=int, metavar="N", help="threads (default: one a physical core)")
    how = caption.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print an object a photo: file, text, score, milliseconds")
    how.add_argument("--stream", action="store_true", help="print words as they become certain")


def _add_export_options(export: argparse.ArgumentParser) -> None:
    add = export.add_argument
    add("model", metavar="MODEL", help="a local folder, or a name on the hub such as org/name")
    add("out", metavar="OUT", help="the folder to write")
    add("--variants", default="fp32", metavar="NAMES", help="some of fp32, fp16, int8, int4; the first is the default")
    add("--max-length", type=int, metavar="N", help="most tokens of a text (default: what the model's positions allow)")
    add("--force", action="store_true", help="replace an older fuseline folder at OUT")
    add("--via", choices=["optimum"], help="let optimum-onnx export, what fuseline does not know itself")
    add("--json", action="store_true", help="print one object: path, files, agreement")


def _complain(error: object) -> None:
    print(f"fuseline: {error}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Caption:
    """One line of the result."""

    file: str
    text: str
    score: float
    milliseconds: float


def _caption(options: argparse.Namespace) -> int:
    """Caption every photo that can be; 2 if one could not."""
    from .model import Model

    model = Model.from_pretrained(options.model, options.variant, options.device, options.threads)
    fields = _generation_fields(options)
    model.generation_config.override(**fields)  # a wrong option is said once, and not for every photo
    _say_if_portable()
    found = list(_found(options.photos))
    alone = len(options.photos) == 1 and not os.path.isdir(options.photos[0])
    write = _write_json if options.json else _write_text if alone else _write_line
    failed = False
    with _progress(found, show=not options.stream) as photos:
        for photo in photos:
            try:
                if isinstance(photo, InputError):
                    raise photo
                if options.stream:
                    _show_live(model, photo, fields, "" if alone else f"{photo}: ")
                else:
                    write(_captioned(model, photo, fields))
            except InputError as error:
                _complain(error)
                failed = True
    return FAILED if failed else 0


def _pixels(model: Model, photo: str) -> npt.NDArray[np.float32]:
    from .images import load_image

    return model.image_processor([load_image(sys.stdin.buffer if photo == "-" else photo, note=_complain)])


def _show_live(model: Model, photo: str, fields: dict[str, Any], before: str) -> None:
    from .live import show

    show(model.stream(_pixels(model, photo), **fields), sys.stdout, before)


def _captioned(model: Model, photo: str, fields: dict[str, Any]) -> _Caption:
    began = perf_counter()
    generation = model.generate(_pixels(model, photo), **fields)
    text = model.decode(generation.sequences[:1])[0]
    return _Caption(photo, text, float(generation.sequences_scores[0]), round((perf_counter() - began) * 1000, 1))


def _generation_fields(options: argparse.Namespace) -> dict[str, Any]:
    """The options that were given. A given max_length replaces whatever limit the model has."""
    fields = {} if options.num_beams is None else {"num_beams": options.num_beams}
    return fields if options.max_length is None else fields | {"max_length": options.max_length, "max_new_tokens": None}


def _write_text(caption: _Caption) -> None:
    print(" ".join(caption.text.split()), flush=True)


def _write_line(caption: _Caption) -> None:
    print(f"{caption.file}: {' '.join(caption.text.split())}", flush=True)


def _write_json(caption: _Caption) -> None:
    print(json.dumps(vars(caption)), flush=True)


def _found(named: Iterable[str]) -> Iterator[str | InputError]:
    """The photos that are meant: folders walked, the rest as named. A folder without photos is an error among them."""
    for name in named:
        if name == "-" or not os.path.isdir(name):
            yield name
            continue
        errors: list[OSError] = []
        photos = sorted(_below(name, errors))
        yield from photos
        yield from (InputError(f"{error.filename}: the folder cannot be read ({error.strerror})") for error in errors)
        if not photos and not errors:
            yield InputError(f"{name}: there is no photo in this folder; a photo's name ends in .jpg, .png or the like")


def _below(folder: str, errors: list[OSError]) -> Iterator[str]:
    for place, folders, files in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield os.path.join(place, name)


@contextmanager
def _progress(photos: Sequence[str | InputError], show: bool) -> Iterator[Iterable[str | InputError]]:
    """The photos, with a bar on standard error meanwhile if there are several and standard error is a terminal."""
    if not show or len(photos) < 2 or not sys.stderr.isatty():
        yield photos
        return
    from tqdm import tqdm
    from tqdm.contrib import DummyTqdmFile

    # Lines printed meanwhile go above the bar. What does not go to a terminal is left alone.
    terminal = sys.stderr
    stdout = DummyTqdmFile(sys.stdout) if sys.stdout.isatty() else sys.stdout
    bar = tqdm(photos, desc="captioning", unit="photo", file=terminal, leave=False, mininterval=0, dynamic_ncols=True)
    with redirect_stdout(stdout), redirect_stderr(DummyTqdmFile(terminal)), bar:
        yield bar


def _say_if_portable() -> None:
    from fuseline.kernels import library_info

    info = library_info()
    if info.path is None:
        print(f"fuseline: running on the portable operators, which are slower: {info.reason}", file=sys.stderr)


def _export(options: argparse.Namespace) -> int:
    """Export with a progress bar on standard error, then show files, sizes and agreement."""
    try:
        import onnxscript  # noqa: F401 - torch asks for it late
        import rich  # noqa: F401 - as do the lines below
        import torch  # noqa: F401
        import transformers  # noqa: F401

        from fuseline.export import export
    except ModuleNotFoundError as error:
        raise ExportError(f"exporting needs {error.name}, which is missing; pip install 'fuseline[export]'") from error
    variants = [name.strip() for name in options.variants.split(",")]
    with _steps() as progress:
        report = export(
            options.model,
            options.out,
            variants,
            options.max_length,
            force=options.force,
            via=options.via,
            progress=progress,
        )
    _show_export(report, options.json)
    gc.freeze()  # so that Python, when it ends, does not look through all that torch has made, which takes a second
    return 0


@contextmanager
def _steps() -> Iterator[Callable[[int, int, str], None]]:
    """A function that is told the step, the number of steps and what is done; on a terminal it moves a bar."""
    if not sys.stderr.isatty():
        yield lambda step, steps, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda step, steps, what: bar.update(task, completed=step, total=steps, description=what)


def _show_export(report: ExportReport, as_json: bool) -> None:
    agreement = {variant: vars(found) for variant, found in report.agreement.items()}
    if as_json:
        print(json.dumps({"path": str(report.path), "files": dict(report.files), "agreement": agreement}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    files = Table("file", "size", title=str(report.path))
    for name, size in report.files.items():
        files.add_row(name, _readable(size))
    files.add_row("all", _readable(sum(report.files.values())))
    compared = Table("variant", "greedy", "beam 4", "logits within", "first difference", title="as transformers says")
    for variant, found in report.agreement.items():
        first = (found.first_difference or "none") + (" (a tie)" if found.first_difference and found.tie else "")
        compared.add_row(variant, f"{found.greedy:.1%}", f"{found.beam:.1%}", f"{found.logits:.1e}", first)
    console = Console()
    console.print(files)
    console.print(compared)


def _info(options: argparse.Namespace) -> int:
    """Show the machine, then the model; a model that cannot be opened is an error after the machine is shown."""
    from .folder import Folder

    machine = _machine()
    try:
        model = _described(Folder.open(options.model))
    except Error:
        _show(machine, options.json)
        raise
    _show(machine | {"model": model}, options.json)
    return 0


def _machine() -> dict[str, Any]:
    import onnxruntime

    from fuseline.kernels import library_info

    from .session import physical_cores

    info = library_info()
    return {
        "fuseline": __version__,
        "cpu": {"cores": physical_cores(), "features": list(info.features)},
        "kernel library": {"path": str(info.path) if info.path else None, "isa": info.isa, "reason": info.reason},
        "onnxruntime": {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()},
    }


def _described(folder: Folder) -> dict[str, Any]:
    from .foreign import ForeignFolder

    variants: dict[str, Any] = {}
    for name, variant in folder.variants.items():
        variants[name] = {
            "default": name == folder.default_variant,
            "bytes": sum(size for file, size in folder.sizes.items() if file.startswith(variant.graphs)),
            "quality": folder.quality.get(name, {}),
        }
    described: dict[str, Any] = {"path": str(folder.path), "made by": folder.made_by, "variants": variants}
    described["files"] = dict(folder.sizes)
    several = len(folder.variants) > 1 and not isinstance(folder, ForeignFolder)
    return described | ({"auto": _chosen(folder)} if several else {})


def _chosen(folder: Folder) -> dict[str, Any]:
    """What variant="auto" uses here, and why."""
    from .auto import choose

    choice = choose(folder)
    return {**vars(choice), "why": choice.sentence(folder)}


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    library, runtime = facts["kernel library"], facts["onnxruntime"]
    rows = {
        "fuseline": facts["fuseline"],
        "CPU": f"{facts['cpu']['cores']} cores; in use: {', '.join(facts['cpu']['features']) or 'nothing special'}",
        "kernel library": f"{library['path']} ({library['isa']})" if library["path"] else f"none: {library['reason']}",
        "onnxruntime": f"{runtime['version']}; {', '.join(runtime['providers'])}",
    }
    for name, text in rows.items():
        print(f"{name:<16}{text}")
    if "model" in facts:
        _show_model(facts["model"])


def _show_model(model: dict[str, Any]) -> None:
    made_by = ", ".join(f"{name} {version}" for name, version in model["made by"].items())
    print(f"{'model':<16}{model['path']}" + (f" (made by {made_by})" if made_by else ""))
    for name, variant in model["variants"].items():
        facts = {key: value for key, value in variant["quality"].items() if not key.endswith("sha256")}
        quality = ", ".join(f"{key} {value}" for key, value in facts.items() if not isinstance(value, dict))
        default = ", the default" if variant["default"] else ""
        print(f"  variant {name}{default}: {_readable(variant['bytes'])}; {quality or 'quality not measured'}")
    if "auto" in model:
        print(f"  auto: {model['auto']['why']}")
    for name, size in model["files"].items():
        print(f"  {_readable(size):>10}  {name}")


def _readable(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
