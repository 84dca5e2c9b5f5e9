"""The command `fuseline caption`: one line, or one object, for every photo."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from ..errors import InputError, written
from .generating import add_running_options, check_once, generation_fields, note_if_cut_off, opened_model
from .interrupts import check as check_interrupts
from .photo_paths import Photos, Unusable
from .streams import Unwritable, printable
from .terminal import FAILED, Terminal

if TYPE_CHECKING:
    from PIL import Image

    from ..generation.config import GenerationConfig
    from ..generation.result import Generation
    from ..inputs.ahead import Made
    from ..model import Model
    from ..outputs.streaming import Event
    from .heat_maps import HeatMapFiles

HINT = "hint"  # as in inputs/named.py, which takes time to be imported

_HELP = """\
Print what is on photos, one line a photo: only the text if one photo is named, else "path: text".
A folder stands for all photos in it and below it, in order of their names; - reads a photo from standard input.
What cannot be captioned is said on standard error, and the rest goes on; the exit status is 2 then."""
_EPILOG = """\
--json prints an object a line: {"file": ..., "text": ..., "finish_reason": ..., "score": ..., "milliseconds": ...,
"variant": ...}, for a photo that failed {"file": ..., "error": ...}, and {"error": ...} if the command can do nothing
at all. A finish_reason is "eos_token" where the text ended by itself, and "max_length" where it was cut off.

--heat-map writes where the model looked in the photo when it said each word: OUT.png is a picture, the photo once a
word with the places lit; OUT.html is a page that needs no network, where pointing at a word shows its place. Of several
photos it writes OUT-1.png, OUT-2.png ... in their order; --json then says "heat_map": the file.

--source gives a model with several sources what it reads beside the photo: a text, or the path of a photo or a sound.
--json then says "words": each with the share of each source in it. --hint gives one with a source called hint a few
words that are true of all the photos, and is the same as --source hint=...; --json repeats it as "hint".

A model that was taught how sure it is says so: "unsure: " stands before a text that may well be wrong, or " (unsure)"
behind it with --stream; --json has "confidence", from 0 to 1, and "unsure". --min-confidence moves the border: 0 never
says unsure.

example: fuseline caption --num-beams 4 holiday/ cat.jpg
         fuseline caption --heat-map looked.png cat.jpg
         fuseline caption --hint "rocket launch" --min-confidence 0.5 photos/
         fuseline caption --model FOLDER --source "hint=at the station" --source-weights image=0.7,hint=0.3 cat.jpg
         curl -s https://example.org/dog.jpg | fuseline caption --json -"""


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    caption = commands.add_parser(
        "caption",
        help="print what is on photos",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    caption.set_defaults(command=_run)
    add = caption.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="a photo, a folder of photos, or - for standard input")
    add("--num-beams", type=int, metavar="N", help="texts that are followed at once (default: the model's own number)")
    add("--max-length", type=int, metavar="N", help="most tokens of a text (default: the model's own number, or 257)")
    add("--model", metavar="FOLDER", help="a model folder (default: the captioner that ships)")
    add_running_options(add)
    add("--allow-downloads", action="store_true", help="take URLs for photos, and fetch them (default: no network)")
    add("--heat-map", metavar="OUT", help="write where the model looked, as OUT.png or OUT.html; see below")
    add(
        "--source", action="append", default=[], metavar="NAME=WHAT", help="what a model with several sources reads too"
    )
    add(
        "--hint",
        action="append",
        metavar="WORDS",
        help="a few words about the photos, of a model that reads a hint, as the one that ships (default: none)",
    )
    add("--min-confidence", type=float, metavar="P", help="from 0 to 1: say unsure below it (default: the model's own)")
    add(
        "--source-weights",
        metavar="NAME=NUMBER,...",
        help="how much each source counts (default: what the model says, else 1; the one that ships: image=1,hint=2)",
    )
    reading = caption.add_mutually_exclusive_group()
    fast = "make large photos smaller while they are read (default of the captioner that ships)"
    reading.add_argument("--fast", action="store_true", default=None, help=fast)
    exact = "read photos to the bit as transformers does (default of other models)"
    reading.add_argument("--exact", action="store_false", dest="fast", help=exact)
    how = caption.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print an object a photo, as below")
    how.add_argument("--stream", action="store_true", help="print words as they become certain")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Caption every photo that can be; 2 if one could not."""
    if "numpy" not in sys.modules:
        # Its OpenBLAS starts a thread a core when it is loaded, and each spins for some 50 ms. A caption needs none.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ..folders.tensors import PHOTOGRAPH
    from ..generation.config import PIPELINE_NEW_TOKENS
    from ..inputs.ahead import AHEAD, ReadAhead

    check_once(options.photos)
    alone = len(options.photos) == 1 and not os.path.isdir(options.photos[0])
    maps = _heat_map_files(options, alone)
    model = opened_model(options.model, options, fast=options.fast)
    if model.folder.source.reads != PHOTOGRAPH:
        from ..pipelines.common import check_task

        check_task(model, "fuseline caption", PHOTOGRAPH)
    default = model.generation_config.with_default_length(PIPELINE_NEW_TOKENS)
    config = default.override(**generation_fields(options))  # a wrong option is said once, and not for every photo
    if maps is not None:
        maps.check(model)
        config = config.override(output_attentions=True)
    unsure_below = _unsure_below(options, model)
    if unsure_below is not None:
        config = config.override(output_sequences_confidences=True)
    downloads = {"allow_downloads": True} if options.allow_downloads else {}
    sources = _sources(options, model)
    beside = model.inputs_beside(sources)
    hint = sources[HINT] if HINT in beside else None  # a blank one is none
    job = _Job(model, config, terminal, downloads, maps, beside, _weights(options.source_weights), hint, unsure_below)
    photos = Photos(options.photos)
    reading = ReadAhead(job.read_ahead, 0 if alone else AHEAD)
    show = _json if options.json else _streamed if options.stream else _line
    failed = False
    with reading, terminal.counted(photos, show=not options.stream, through=reading.over) as counted:
        for coming in cast("Iterable[Coming]", counted):
            photo = coming.item
            try:
                if isinstance(photo, Unusable):
                    raise photo.error
                show(job, coming, "" if alone else f"{printable(photo)}: ")
            except Unwritable:
                raise
            except Exception as error:  # whatever it is, it is this photo's and must not cost the others
                check_interrupts()
                terminal.fail(error, photo.name if isinstance(photo, Unusable) else photo)
                failed = True
            check_interrupts()
    for sentence in photos.left_out():
        terminal.note(sentence)
    return FAILED if failed else 0


def _sources(options: argparse.Namespace, model: Model) -> dict[str, str]:
    """What --source and --hint give, by source. Raises InputError."""
    from ..inputs.named import check_takes_hint, tidy

    sources = _once([_named(each, "--source") for each in options.source], "--source")
    if options.hint is None:
        return sources
    if HINT in sources:
        raise InputError("--hint and --source hint= are the same; give one of them")
    if len(options.hint) > 1:
        raise InputError(f"--hint is there twice; give all words at once: --hint {written(', '.join(options.hint))}")
    hint = tidy(options.hint[0])
    if hint is None:
        return sources
    check_takes_hint(model.folder.sources, model.folder.source.name)
    return sources | {HINT: hint}


def _unsure_below(options: argparse.Namespace, model: Model) -> float | None:
    """The confidence below which texts are said to be unsure; None where the model has none. Raises InputError."""
    given, known = options.min_confidence, model.unsure_below
    if given is None:
        return known
    if not 0 <= given <= 1:
        raise InputError(f"--min-confidence must be from 0 to 1, not {given}")
    if known is None:
        raise InputError("--min-confidence: this model does not say how sure it is; leave it out")
    return float(given)


def _named(given: str, option: str) -> tuple[str, str]:
    name, sign, value = given.partition("=")
    if not sign or not name or not value:
        raise InputError(f"{option} takes NAME=VALUE, not {written(given)}")
    return name, value


def _once(pairs: list[tuple[str, str]], option: str) -> dict[str, str]:
    """By name. Raises InputError for a name that is there twice."""
    named = dict(pairs)
    if len(named) < len(pairs):
        raise InputError(f"{option} names a source twice; give each once, not {', '.join(name for name, _ in pairs)}")
    return named


def _weights(given: str | None) -> dict[str, float] | None:
    """By source. Raises InputError for what is no number."""
    if given is None:
        return None
    weights = {}
    pairs = [_named(each.strip(), "--source-weights") for each in given.split(",")]
    for name, value in _once(pairs, "--source-weights").items():
        try:
            weights[name] = float(value)
        except ValueError:
            raise InputError(f"--source-weights: {written(value)} is no number; give NAME=NUMBER") from None
    return weights


def _heat_map_files(options: argparse.Namespace, alone: bool) -> HeatMapFiles | None:
    """Where heat maps go, if they are asked for. Raises InputError for what does not go together."""
    if options.heat_map is None:
        return None
    if options.stream:
        raise InputError("--heat-map shows a text that is whole, and --stream shows it while it grows; leave one out")
    from .heat_maps import HeatMapFiles

    return HeatMapFiles(options.heat_map, options.photos, alone)


class _Photo(NamedTuple):
    """A photo as the model reads it, itself where it is to be shown, and how long reading it took."""

    inputs: Any
    image: Image.Image | None
    milliseconds: float


Coming: TypeAlias = "Made[str | Unusable, _Photo | None]"


class _Made(NamedTuple):
    """What is said of a photo, how long that took, and the file that shows where the model looked."""

    generation: Generation
    milliseconds: float
    heat_map: Path | None


class _Job(NamedTuple):
    """What one run of the command does with each photo. downloads: how load_image may fetch one; maps: where heat maps
    go; beside, weights: of a model with several sources, what is given beside the photo, and how much each counts;
    hint: the text among them; unsure_below: the confidence below which a text is said to be unsure, if it is known."""

    model: Model
    config: GenerationConfig
    terminal: Terminal
    downloads: dict[str, Any]
    maps: HeatMapFiles | None
    beside: dict[str, Any]
    weights: dict[str, float] | None
    hint: str | None = None
    unsure_below: float | None = None

    def unsure(self, made: Generation) -> bool:
        """Whether the text may well be wrong, as far as the model can tell."""
        sure = made.sequences_confidences
        return sure is not None and self.unsure_below is not None and float(sure[0]) < self.unsure_below

    def read(self, name: str) -> _Photo:
        """What the model reads: the photo, and of several sources what was given beside it. Raises InputError."""
        from ..inputs.prepared import prepared

        began = perf_counter()
        source: Any = name if name != "-" else getattr(sys.stdin, "buffer", None)
        if source is None:
            raise InputError("standard input is closed, and - reads a photo from it; give one, as in < photo.jpg")
        downloads = self.downloads if name != "-" else {}
        pixels, image = prepared(source, self.model.inputs, shown=self.maps is not None, **downloads)
        inputs = {self.model.folder.source.name: pixels, **self.beside} if self.beside else pixels
        return _Photo(inputs, image, (perf_counter() - began) * 1000)

    def read_ahead(self, photo: str | Unusable) -> _Photo | None:
        """The same in a thread beside. None for what is read when its turn comes: nobody can be called back from
        waiting for standard input."""
        return None if isinstance(photo, Unusable) or photo == "-" else self.read(photo)

    def photo(self, coming: Coming) -> _Photo:
        """The photo whose turn it is. Raises InputError."""
        return coming.get() or self.read(str(coming.item))

    def caption(self, coming: Coming) -> _Made:
        """What is said of a photo. Raises InputError."""
        path = None if self.maps is None else self.maps.next(str(coming.item))
        photo = self.photo(coming)
        began = perf_counter()
        made = self.model.generate(photo.inputs, generation_config=self.config, source_weights=self.weights)
        milliseconds = round(photo.milliseconds + (perf_counter() - began) * 1000, 1)
        if self.maps is not None and path is not None and photo.image is not None:
            self.maps.write(path, made, photo.image, self.model)
        return _Made(made, milliseconds, path)

    def note_if_cut_off(self, made: Generation) -> None:
        """Say once where a text ended by a length that nobody chose."""
        note_if_cut_off(self.terminal, self.model, self.config, made)


def _line(job: _Job, photo: Coming, before: str) -> None:
    """The text on one line, after `before`."""
    made = job.caption(photo).generation
    before += "unsure: " if job.unsure(made) else ""
    job.terminal.lines([before + " ".join(job.model.decode(made.sequences[:1])[0].split())])
    job.note_if_cut_off(made)


def _json(job: _Job, photo: Coming, before: str) -> None:
    """An object, which names the photo itself."""
    made, milliseconds, heat_map = job.caption(photo)
    caption: dict[str, Any] = {
        "file": photo.item,
        "text": job.model.decode(made.sequences[:1])[0],
        "finish_reason": made.finish_reasons[0],
        "score": float(made.sequences_scores[0]),
        "milliseconds": milliseconds,
        "variant": job.model.folder.variant,
    }
    if job.hint is not None:
        caption["hint"] = job.hint
    if made.sequences_confidences is not None:
        caption |= {"confidence": float(made.sequences_confidences[0]), "unsure": job.unsure(made)}
    if heat_map is not None:
        caption["heat_map"] = str(heat_map)
    if made.source_attention is not None:
        from ..outputs.shares import read_several, shares_of_words

        if read_several(made):
            caption["words"] = shares_of_words(made, job.model.decode)
    job.terminal.record(caption)
    job.note_if_cut_off(made)


def _streamed(job: _Job, photo: Coming, before: str) -> None:
    """The same line as _line, in pieces as they become certain."""
    from .live import show

    found: list[Generation] = []
    config = job.config.override(num_return_sequences=1)

    def watched() -> Iterator[Event]:
        inputs = job.photo(photo).inputs
        for event in job.model.stream(inputs, generation_config=config, source_weights=job.weights):
            if event.generation is not None:
                found.append(event.generation)
                if job.unsure(event.generation):  # which is known at the end alone
                    event = replace(event, text=f"{event.text} (unsure)")
            yield event

    show(watched(), job.terminal.out, before)
    for made in found:
        job.note_if_cut_off(made)
