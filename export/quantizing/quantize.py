"""From a fuseline folder of floats to smaller variants of it, each with its price measured: `quantize`.

Measure, decide, write: all variants are made and looked at beside the folder, what loses too much is left out, and the
rest takes its place. Neither torch nor transformers is needed: everything is read from the folder's own graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError, InputError
from fuseline.folders.open import find, open_folder
from fuseline.folders.own import Folder
from fuseline.folders.tensors import PHOTOGRAPH
from fuseline.getting.places import get_again
from fuseline.graphs.cores import thread_count
from fuseline.model import Model

from ..graphs.weights import Scheme
from ..quality import evaluate
from ..quality.agreement import NextTokens
from ..quality.evaluate import Data, check_lengths, checked_data
from ..quality.reading import Inputs, Reading
from ..quality.record import check_writable
from ..refusals import in_one_sentence
from ..writing.folder import check_schemes, prepared
from ..writing.place import Place, check_place, claimed, recovered
from .examples import Examples, judging, read_examples
from .gate import Measured, agreement
from .graphs import FloatGraphs, Made, Progress

SCHEMES: tuple[Scheme, ...] = ("fp16", "bf16", "int8", "int4")
SOURCES = ("fp32", "fp16")  # what a variant can be made of, the better first


@dataclass(frozen=True)
class Quantized:
    """One new variant.

    bytes: its graphs; loss: the share it loses to the floats, of `measured` (CIDEr, chrF, words, or next tokens where
    there is no data); errors: by matrix, how much of its layer's output is rounding error, the largest first; half: the
    matrices that were left in half precision.
    """

    bytes: int
    loss: float
    measured: str
    agreement: NextTokens
    errors: Mapping[str, float]
    half: Sequence[str]

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "agreement": self.agreement.record()}


@dataclass(frozen=True)
class QuantizeReport:
    """What was written. source: the variant that the others were made of."""

    path: Path
    source: str
    variants: Mapping[str, Quantized]

    def report(self) -> dict[str, Any]:
        """All of it as JSON takes it."""
        return {
            "path": str(self.path),
            "source": self.source,
            "variants": {name: made.record() for name, made in self.variants.items()},
        }


@in_one_sentence("quantized")
def quantize(
    folder: str | Path,
    variants: Sequence[str] = ("int8",),
    *,
    calibrate: str | Path | None = None,
    data: str | Path | None = None,
    references: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    src_lang: str | None = None,
    tgt_lang: str | None = None,
    prefix: str | None = None,
    truncation: bool = False,
    max_loss: float | None = None,
    half: int = 0,
    static: bool = False,
    default: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> QuantizeReport:
    """Add variants to a fuseline folder that holds one of floats, and say what each costs.

    variants: some of fp16, bf16, int8 and int4; those that are there already are made anew. calibrate: a folder of 8
    photos or more, for a model of texts a file of 8 lines or more, for one of speech a folder or a data set of 8 clips
    or more, by which 4 bits are rounded so that errors cancel (GPTQ); of lines and clips that are too long the start
    counts.
    data, references, split, limit: a data set as for evaluate, which then tells the loss of CIDEr, of chrF, or of the
    words of speech; else the loss is one of next tokens, on photos, texts or clips that were not calibrated with.
    src_lang, tgt_lang, prefix, truncation: as for evaluate. max_loss: the share that a variant may lose (0.005 is 0.5%;
    of words the share that it alone hears wrong); one
    that loses more is not written. half: so many matrices, those with the largest rounding errors, stay in half
    precision. static: convolutions multiply in 8 bits, with the ranges of the calibration photos (default: weights of
    8 bits, arithmetic of float32, which was the faster one on every CPU tried). default: a new default variant.
    threads: for what is run (default: one a physical core). What was measured of a variant that is made anew goes; with
    data, what is found is recorded as by evaluate.
    Raises ExportError for a variant that loses too much (the others are written) and for what cannot be quantized,
    FolderError for the folder, InputError for photos, texts, clips and data. The folder is complete or as it was.
    """
    of_data = {"references": references, "split": split, "limit": limit}
    if data is None and (apart := [name for name, value in of_data.items() if value is not None]):
        raise InputError(f"{apart[0]} is of a data set, and none is given; leave {apart[0]} out")
    path = find(recovered(folder))
    check_writable(path)
    check_place(path)
    with claimed(path) as place:
        opened = open_folder(place.path, whole=True)
        source = _source(opened, variants, max_loss, half, default)
        thread_count(threads)
        if static and calibrate is None:
            raise InputError("static convolutions need photos to calibrate with; name a folder of them")
        if static and opened.source.reads != PHOTOGRAPH:
            things = "texts and has no" if opened.source.reads_text else "speech and has few"
            raise InputError(f"{opened.path} reads {things} convolutions; leave static out")
        if opened.fusion is not None and calibrate is not None:
            raise InputError(f"{opened.path} reads several sources, and is quantized without calibration; leave it out")
        reading = Reading(src_lang, tgt_lang, prefix, truncation)
        given = None if data is None else Data(data, references, split, limit=limit)
        read = None if given is None else checked_data(opened, given)
        tell = progress or (lambda *_: None)
        model = Model(opened.using(source), threads=threads)
        reading.check(model, of_data=read is not None)
        if read is not None:
            check_lengths(model, read, reading)
        tell(0, 3, "reading the graphs")
        cut = replace(reading, truncation=opened.source.reads_text and opened.fusion is None)
        examples = Examples() if calibrate is None else read_examples(model, Path(calibrate))
        work = FloatGraphs(opened, model, source, examples.seen, tell, cut)
        made = {name: work.variant(name, half, static) for name in variants}  # type: ignore[arg-type]
        task = _Task(place, work, judging(model, examples, cut), given, reading, max_loss, default, threads)
        measured, refused = task.written(made)
        if refused:
            raise ExportError("; ".join(refused.values()))
        tell(3, 3, "done")
        now = open_folder(opened.path)
        return QuantizeReport(opened.path, source, {name: _quantized(now, name, made[name], measured) for name in made})


@dataclass(frozen=True)
class _Task:
    """How new variants are measured and written. judging: what they are compared on; given: a data set."""

    place: Place
    work: FloatGraphs
    judging: Sequence[Inputs]
    given: Data | None
    reading: Reading
    max_loss: float | None
    default: str | None
    threads: int | None

    def written(self, made: Mapping[str, Made]) -> tuple[Measured, Mapping[str, str]]:
        """What was found of the variants, and why some of them were left out; the others are in the folder."""
        with prepared(self.place, _graphs(made), default_variant=self.default) as new:
            measured = self._measured(new.path, list(made))
            refused = measured.refusals(self.max_loss)
            if not refused:
                measured.record(new.path, new.about, self.max_loss, without=())
                new.put()
        good = {name: each for name, each in made.items() if name not in refused}
        if refused and good:
            known = {*good, *open_folder(self.place.path).variants}
            default = self.default if self.default in known else None
            with prepared(self.place, _graphs(good), default_variant=default) as new:
                measured.record(new.path, new.about, self.max_loss, without=refused)
                new.put()
        return measured, refused

    def _measured(self, folder: Path, names: Sequence[str]) -> Measured:
        work = self.work
        work.tell(2, 3, "comparing with the floats")
        agreed = agreement(work.model, folder, names, self.judging, self.reading, self.threads)
        evaluation = None
        if self.given is not None:
            evaluation = evaluate(
                folder,
                self.given.path,
                list(dict.fromkeys([work.source, *names])),
                references=self.given.references,
                split=self.given.split,
                limit=self.given.limit,
                src_lang=self.reading.src_lang,
                tgt_lang=self.reading.tgt_lang,
                prefix=self.reading.prefix,
                truncation=self.reading.truncation,
                threads=self.threads,
                write=False,
                resume=False,
                by_source=False,
                progress=work.tell,
            )
        return Measured(work.source, agreed, evaluation)


def _graphs(made: Mapping[str, Made]) -> dict[str, Mapping[str, Any]]:
    return {name: each.graphs for name, each in made.items()}


def _quantized(folder: Folder, name: str, made: Made, measured: Measured) -> Quantized:
    """What the report says of a variant that was written."""
    lost, graphs = measured.loss(name), folder.variants[name].graphs
    size = sum(folder.bytes_of(file) for file in graphs)
    return Quantized(size, lost.share, lost.of, measured.agreement[name], made.errors, made.half)


def _source(folder: Folder, variants: Sequence[str], max_loss: float | None, half: int, default: str | None) -> str:
    """The variant to start from. All that can be refused before graphs are read is refused here."""
    check_schemes(variants, SCHEMES)
    if max_loss is not None and not (_is_number(max_loss) and 0 <= max_loss < 1):
        raise InputError(f"max_loss {max_loss} must be a share from 0 to below 1; 0.005 is 0.5%")
    if isinstance(half, bool) or not isinstance(half, int) or half < 0:
        raise InputError(f"half {half} must be a number of matrices, 0 or more")
    if default is not None and default not in {*folder.variants, *variants}:
        known = ", ".join(dict.fromkeys([*folder.variants, *variants]))
        raise InputError(f"default {default!r} is not among the variants {known}")
    source = next((name for name in SOURCES if name in folder.variants and name not in variants), None)
    if source is None:
        has = ", ".join(folder.variants)
        get = get_again(folder.path, ("int8", SOURCES[0]))
        right = f"`{get}` makes it with {SOURCES[0]}" if get else f"export it with {SOURCES[0]} first"
        raise ExportError(f"{folder.path} has {has} and no variant of floats to quantize; {right}")
    return source


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
