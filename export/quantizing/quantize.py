"""From a fuseline folder of floats to smaller variants of it, each with its price measured: `quantize`.

Neither torch nor transformers is needed: everything is read from the folder's own graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from fuseline.errors import ExportError, InputError, counted
from fuseline.folders.open import find, open_folder
from fuseline.folders.own import Folder
from fuseline.graphs.cores import thread_count
from fuseline.model import Model

from ..checkpoints.generated import generated_photos
from ..graphs.linears import fuse_linears
from ..graphs.recode import errors, recode
from ..graphs.weights import Array, Scheme
from ..quality import Evaluation, evaluate
from ..quality.agreement import NextTokens, next_tokens
from ..quality.data import read_data
from ..quality.record import check_writable, record, update_card
from ..refusals import in_one_sentence, need
from ..writing.folder import add_to, check_schemes, load_graph
from ..writing.place import check_place, claimed, recovered
from .calibration import LEAST_PHOTOS, Calibration, Moments, calibration_photos, pixel_batches
from .convolutions import calibrate_convolutions, is_convolutional, store_convolutions

SCHEMES: tuple[Scheme, ...] = ("fp16", "int8", "int4")
SOURCES = ("fp32", "fp16")  # what a variant can be made of, the better first
JUDGES = 32  # photos, at most

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Quantized:
    """One new variant.

    bytes: its graphs; loss: the share it loses to the floats, of `measured` (CIDEr, or next tokens where there is no
    data); errors: by matrix, how much of its layer's output is rounding error, the largest first; half: the matrices
    that were left in half precision.
    """

    bytes: int
    loss: float
    measured: str
    agreement: NextTokens
    errors: Mapping[str, float]
    half: Sequence[str]


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
            "variants": {k: asdict(v) for k, v in self.variants.items()},
        }


@in_one_sentence("quantized")
def quantize(
    folder: str | Path,
    variants: Sequence[str] = ("int8",),
    *,
    calibrate: str | Path | None = None,
    data: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    max_loss: float | None = None,
    half: int = 0,
    static: bool = False,
    default: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> QuantizeReport:
    """Add variants to a fuseline folder that holds one of floats, and say what each costs.

    variants: some of fp16, int8 and int4; those that are there already are made anew. calibrate: a folder of 8
    photos or more, by which 4 bits are rounded so that errors cancel (GPTQ).
    data, split, limit: a data set as for evaluate, which then tells the loss of CIDEr; else the loss is one of next
    tokens, on photos that were not calibrated with. max_loss: the share that a variant may lose (0.005 is 0.5%); one
    that loses more is not written. half: so many matrices, those with the largest rounding errors, stay in half
    precision. static: convolutions multiply in 8 bits, with the ranges of the calibration photos (default: weights of
    8 bits, arithmetic of float32, which was the faster one on every CPU tried). default: a new default variant.
    threads: for what is run (default: one a physical core). What was measured of a variant that is made anew goes; with
    data, what is found is recorded as by evaluate.
    Raises ExportError for a variant that loses too much (the others are written) and for what cannot be quantized,
    FolderError for the folder, InputError for photos and data. The folder is complete or as it was.
    """
    path = find(recovered(folder))
    check_writable(path)
    check_place(path)
    with claimed(path) as place:
        opened = open_folder(place.path, whole=True)
        source = _source(opened, variants, max_loss, half, default)
        thread_count(threads)
        if static and calibrate is None:
            raise InputError("static convolutions need photos to calibrate with; name a folder of them")
        if data is not None:
            need("quantizing by CIDEr", "pycocoevalcap")
            read_data(data, split, None, limit)
        tell = progress or (lambda *_: None)
        model = Model(opened.using(source), threads=threads)
        tell(0, 3, "reading the graphs")
        photos = [] if calibrate is None else calibration_photos(Path(calibrate))
        work = FloatGraphs(opened, model, source, photos, tell)
        made = {name: work.variant(name, half, static) for name in variants}  # type: ignore[arg-type]
        judges = _judges(model, None if calibrate is None else Path(calibrate), photos)
        gate = _Gate(
            work, judges, {name: each.half for name, each in made.items()}, data, split, limit, max_loss, threads
        )
        try:
            add_to(place, {name: each.graphs for name, each in made.items()}, default_variant=default, check=gate)
        except _TooMuch:
            good = {name: made[name].graphs for name in made if name not in gate.refused}
            if good:
                kept = default if default in {*good, *opened.variants} else None
                add_to(place, good, default_variant=kept, check=gate.record)
        if gate.refused:
            raise ExportError("; ".join(gate.refused.values()))
        tell(3, 3, "done")
        now = open_folder(opened.path)
        return QuantizeReport(
            opened.path, source, {name: gate.quantized(now, name, made[name].errors) for name in made}
        )


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
        raise ExportError(f"{folder.path} has {has} and no variant of floats to quantize; export it with fp32 first")
    return source


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Made:
    """The graphs of a variant, and of its matrices what Quantized says."""

    graphs: Mapping[str, onnx.ModelProto]
    errors: Mapping[str, float]
    half: Sequence[str]


class FloatGraphs:
    """The graphs of floats, and what calibration photos showed of them."""

    def __init__(self, folder: Folder, model: Model, source: str, photos: Sequence[Path], tell: Progress) -> None:
        """model: the folder's variant `source`, which is one of floats; photos: to calibrate with, or none."""
        self.model, self.source, self.tell = model, source, tell
        files = folder.variants[source]
        scheme: Scheme = "fp16" if source == "fp16" else "fp32"
        encoder = load_graph(folder.path / files.encoder)
        self._parts = {"encoder": fuse_linears(encoder, scheme), "decoder": load_graph(folder.path / files.decoder)}
        self._moments: dict[str, Moments] = {"encoder": {}, "decoder": {}}
        self._seen = pixel_batches(model, photos)
        if photos:
            self._calibrate()

    def _calibrate(self) -> None:
        self.tell(1, 3, "calibrating")
        calibration = Calibration(self.model, self._parts["encoder"], self._parts["decoder"])
        for batch in self._seen:
            calibration.see(batch)
        self._moments = {part: calibration.moments(part) for part in self._parts}

    def variant(self, scheme: Scheme, half: int = 0, static: bool = False) -> Made:
        """Its graphs. half, static: as for quantize."""
        self.tell(1, 3, f"making {scheme}")
        graphs, wrong = {}, dict[str, float]()
        for part, model in self._parts.items():
            graphs[part] = recode(model, scheme, self._moments[part])
            wrong |= errors(model, graphs[part], self._moments[part])
        wrong = dict(sorted(wrong.items(), key=lambda each: -each[1]))
        if scheme != "fp16" and 0 < half >= len(wrong):
            raise InputError(
                f"half {half} leaves none of the {len(wrong)} matrices to be stored in {scheme}; give a smaller "
                "number, or ask for the variant fp16"
            )
        left = list(wrong)[:half] if scheme != "fp16" else []
        if left:
            halves: dict[str, Scheme] = dict.fromkeys(left, "fp16")
            graphs = {part: recode(model, scheme, self._moments[part], halves) for part, model in self._parts.items()}
        if scheme != "fp16" and is_convolutional(graphs["encoder"]):
            encoder = graphs["encoder"]
            graphs["encoder"] = calibrate_convolutions(encoder, self._seen) if static else store_convolutions(encoder)
        return Made(graphs, wrong, left)


def _judges(model: Model, folder: Path | None, seen: Sequence[Path]) -> list[Array]:
    """pixel_values of photos to compare on: of the folder's those not calibrated with, else generated ones."""
    others = [] if folder is None else [path for path in calibration_photos(folder, None) if path not in set(seen)]
    if len(others) >= LEAST_PHOTOS:
        return pixel_batches(model, others[:: -(-len(others) // JUDGES)])
    photos = generated_photos(JUDGES)
    return [model.image_processor(photos[at : at + 8]) for at in range(0, JUDGES, 8)]


class _TooMuch(ExportError):
    """Some variant loses more than it may; _Gate.refused says which."""


class _Gate:
    """Measures the variants of a folder that is not yet in its place, and keeps those out that lose too much."""

    def __init__(
        self,
        work: FloatGraphs,
        judges: Sequence[Array],
        half: Mapping[str, Sequence[str]],
        data: str | Path | None,
        split: str | None,
        limit: int | None,
        max_loss: float | None,
        threads: int | None,
    ) -> None:
        self._threads = threads
        self._work, self._judges, self._half = work, judges, half
        self._data: dict[str, Any] = {"data": data, "split": split, "limit": limit}
        self._max_loss = max_loss
        self.refused: dict[str, str] = {}
        self._agreement: dict[str, NextTokens] = {}
        self._evaluation: Evaluation | None = None

    def __call__(self, folder: Path, about: dict[str, Any]) -> None:
        """For add_to: measures, and puts that into what fuseline.json says. Raises _TooMuch for a refused variant."""
        work, names = self._work, list(self._half)
        work.tell(2, 3, "comparing with the floats")
        others = [Model(open_folder(folder, name), threads=self._threads) for name in names]
        self._agreement = dict(zip(names, next_tokens(work.model, others, self._judges), strict=True))
        if self._data["data"] is not None:
            chosen = list(dict.fromkeys([work.source, *names]))
            self._evaluation = evaluate(
                folder, **self._data, variants=chosen, write=False, resume=False, progress=work.tell
            )
        for name in names:
            lost, of = self._loss(name)
            if self._max_loss is not None and lost > self._max_loss:
                self.refused[name] = (
                    f"{name} loses {lost:.2%} of {of} and may lose {self._max_loss:.2%}, so it was not written"
                )
        if self.refused:
            raise _TooMuch("; ".join(self.refused.values()))
        self.record(folder, about)

    def record(self, folder: Path, about: dict[str, Any]) -> None:
        """As a call, with what was measured before, of the variants that were not refused."""
        good = [name for name in self._half if name not in self.refused]
        agreement = {name: {"compared with": self._work.source, **asdict(self._agreement[name])} for name in good}
        about["agreement"] = about.get("agreement", {}) | agreement
        if self._max_loss is not None:
            about["max_loss"] = self._max_loss
        if self._evaluation is not None:
            record(about, self._evaluation.conditions, self._evaluation.recorded(without=self.refused))
        update_card(folder, about, make=False)

    def _loss(self, name: str) -> tuple[float, str]:
        """The share that a variant loses to the floats, and of what."""
        if self._evaluation is not None:
            found = self._evaluation.variants
            mine, base = found[name].scores["CIDEr"], found[self._work.source].scores["CIDEr"]
            if base:
                return 1 - mine / base, f"CIDEr ({mine:.4f} where {self._work.source} has {base:.4f})"
        agreed = self._agreement[name]
        of = f"the next tokens ({agreed.positions} on {counted(agreed.photos, 'photo')})"
        if self._evaluation is not None:
            of += f", not of CIDEr, which is 0 for {self._work.source} on this data"
        return 1 - agreed.tokens, of

    def quantized(self, folder: Folder, name: str, wrong: Mapping[str, float]) -> Quantized:
        """What the report says of a variant that was written."""
        lost, of = self._loss(name)
        files = folder.variants[name]
        size = sum(folder.bytes_of(file) for file in (files.encoder, files.decoder))
        return Quantized(size, lost, of, self._agreement[name], wrong, self._half[name])
