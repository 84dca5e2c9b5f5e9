"""What each variant of a folder costs in quality: captions a data set, scores it, and writes it into the folder."""

from __future__ import annotations

import hashlib
import logging
import os
import statistics
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fuseline.errors import LONGEST, ExportError, FolderError, InputError, shown
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder
from fuseline.model import Model

from ..refusals import in_one_sentence, need
from ..writing.place import claimed, recovered
from .bootstrap import Difference, differences
from .captions import Progress, Text, captions, partial_file
from .data import DataSet, read_data
from .record import is_others, why_not_written, write_results
from .scores import Metric, Task, Tokenizer, caption_metrics, java_is_here, ocr_metrics, same_share

BASE = "fp32"
SAME = "same as fp32"
DIGITS = 4
LOG = logging.getLogger("fuseline.export")


@dataclass(frozen=True)
class Scored:
    """One variant. scores: by name; less_base: the differences to fp32, where the folder has it; bytes: its graphs."""

    scores: Mapping[str, float]
    less_base: Mapping[str, Difference]
    same: float | None
    """the share of photos of which it says word for word what fp32 says"""
    milliseconds: float
    """a caption, median"""
    bytes: int
    texts: Sequence[str]

    @property
    def texts_sha256(self) -> str:
        """Of all texts, a line each: equal where an evaluation was repeated exactly."""
        return hashlib.sha256("".join(f"{text}\n" for text in self.texts).encode()).hexdigest()


@dataclass(frozen=True)
class Evaluation:
    """What evaluate found. conditions: what the scores are of, the same for every variant."""

    path: Path
    conditions: Mapping[str, Any]
    variants: Mapping[str, Scored]
    base: str | None
    not_written: str | None = None
    """why the folder does not hold these results, where it was to be written"""

    def quality(self) -> dict[str, dict[str, Any]]:
        """By variant, as fuseline.json holds it: everything but times, which are the machine's and not the model's."""
        return {name: {**self.conditions, **found} for name, found in self.recorded().items()}

    def recorded(self, without: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        """The same without the conditions, of all variants but some."""
        return {name: _recorded(scored) for name, scored in self.variants.items() if name not in without}

    def report(self) -> dict[str, Any]:
        """All of it as JSON takes it, times included."""
        variants = {
            name: {**_recorded(scored), "milliseconds": scored.milliseconds, "bytes": scored.bytes}
            for name, scored in self.variants.items()
        }
        about = {"path": str(self.path), **self.conditions, "compared with": self.base, "variants": variants}
        return about if self.not_written is None else {**about, "not written": self.not_written}


@dataclass(frozen=True)
class _Settings:
    """How texts are made and scored."""

    task: Task
    tokenizer: Tokenizer
    fields: Mapping[str, Any] = field(default_factory=dict)

    def metrics(self, data: DataSet, texts: Sequence[str]) -> dict[str, Metric]:
        references = [photo.references for photo in data.photos]
        if self.task == "ocr":
            return ocr_metrics(references, texts)
        return caption_metrics(references, texts, self.tokenizer)


@in_one_sentence("evaluated")
def evaluate(
    folder: str | Path | None,
    data: str | Path,
    variants: Sequence[str] | None = None,
    *,
    split: str | None = None,
    photos: str | Path | None = None,
    limit: int | None = None,
    name: str | None = None,
    task: Task = "caption",
    tokenizer: Tokenizer = "words",
    num_beams: int | None = None,
    threads: int | None = None,
    write: bool = True,
    resume: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Caption a data set with variants of a folder, and say how good each is and how far from fp32.

    folder: None is the captioner that ships. data, split, photos, limit: see read_data; name: what the data set is
    called in the results (default: its folder's name and its split). variants: default all; fp32 is always among them
    if the folder has it, since the others are compared with it. task: "caption" (BLEU, ROUGE-L, CIDEr) or "ocr" (error
    rates of words and characters). tokenizer: "words" (lower case, no punctuation; the same everywhere) or "ptb"
    (COCO's own and METEOR; needs Java).
    num_beams, threads: default the model's and the machine's. write: into the folder's fuseline.json and MODEL_CARD.md.
    What a folder's variants are chosen by (its "quality") is changed only by an evaluation of the same photos under the
    same conditions, or if there is none; another one gets its own entry, see record.py. A folder that takes no results
    (an installed one, one of other tools or of the hub's cache, one that may not be written) stays as it is: that is
    logged as a warning before the work begins, as is a result that could not be written in the end, and
    Evaluation.not_written tells. resume: keep texts in a file beside the folder, where that can be written, so that a
    run after an interrupt goes on where it was.
    Raises InputError for data or options that cannot be used, FolderError for the folder, ExportError where another
    process writes it.
    """
    opened = open_folder(recovered(folder))
    _check(task, tokenizer)
    chosen = _chosen(opened, variants)
    read = read_data(data, split, photos, limit)
    for remark in read.remarks:
        LOG.warning("%s", shown(remark, LONGEST))
    reason = why_not_written(opened.path)
    if write and reason:
        LOG.warning("the results are not written: %s", shown(reason, LONGEST))
    own = not is_others(opened.path) and os.access(opened.path.parent, os.W_OK | os.X_OK)
    with claimed(opened.path) if write and own and reason is None else nullcontext():
        models = {each: Model(open_folder(opened.path, each), threads=threads) for each in chosen}
        first = next(iter(models.values()))
        config = first.generation_config.override(**({} if num_beams is None else {"num_beams": num_beams}))
        settings = _Settings(task, tokenizer, {"num_beams": config.num_beams, "num_return_sequences": 1})
        partial = partial_file(opened, [read.facts, settings.fields]) if resume and own else None
        said = captions(models, read, settings.fields, partial, progress or (lambda *_: None))
        evaluation = Evaluation(
            path=opened.path,
            conditions=_conditions(read, name or _name(data, read), settings),
            variants=_scored(opened, read, settings, said),
            base=BASE if BASE in chosen else None,
            not_written=reason if write else None,
        )
        return _written(evaluation) if write and reason is None else evaluation


def _written(evaluation: Evaluation) -> Evaluation:
    """Into the folder. A full disk must not cost the results, so where it fails they say that they are not there."""
    try:
        write_results(evaluation.path, evaluation.conditions, evaluation.recorded())
    except ExportError as error:
        LOG.warning("%s", error)
        return replace(evaluation, not_written=str(error))
    return evaluation


def _check(task: str, tokenizer: str) -> None:
    if task not in ("caption", "ocr"):
        raise InputError(f"task must be caption or ocr, not {task!r}")
    if tokenizer not in ("words", "ptb"):
        raise InputError(f"tokenizer must be words or ptb, not {tokenizer!r}")
    if tokenizer == "ptb" and not java_is_here():
        raise InputError("the tokenizer ptb and METEOR run on Java, which is not here; install Java, or use words")
    if task == "caption":
        need("evaluating captions", "pycocoevalcap")


def _chosen(folder: Folder, variants: Sequence[str] | None) -> list[str]:
    """fp32 first, since the rest are compared with it."""
    wanted = list(folder.variants) if variants is None else list(dict.fromkeys(variants))
    unknown = [name for name in wanted if name not in folder.variants]
    if unknown or not wanted:
        raise FolderError(
            f"{folder.path} has no variant {', '.join(unknown) or 'of that name'}; it has {', '.join(folder.variants)}"
        )
    base = [BASE] if BASE in folder.variants else []
    return base + [name for name in wanted if name != BASE]


def _scored(
    folder: Folder, data: DataSet, settings: _Settings, said: Mapping[str, Sequence[Text]]
) -> dict[str, Scored]:
    texts = {name: [each.text for each in of] for name, of in said.items()}
    metrics = {name: settings.metrics(data, of) for name, of in texts.items()}
    result = {}
    for name, found in metrics.items():
        compared = BASE in metrics and name != BASE
        graphs = dict.fromkeys((folder.variants[name].encoder, folder.variants[name].decoder))
        result[name] = Scored(
            scores={key: metric.value() for key, metric in found.items()},
            less_base=differences(found, metrics[BASE]) if compared else {},
            same=same_share(texts[name], texts[BASE]).value() if compared else None,
            milliseconds=round(statistics.median(each.milliseconds for each in said[name]), 2),
            bytes=sum(folder.bytes_of(graph) for graph in graphs),
            texts=texts[name],
        )
    return result


def _conditions(data: DataSet, name: str, settings: _Settings) -> dict[str, Any]:
    tokenizer = {"tokenizer": settings.tokenizer} if settings.task == "caption" else {}
    return {
        "dataset": name,
        "dataset_sha256": data.sha256,
        **({"split": data.split} if data.split else {}),
        "photos": len(data.photos),
        "num_beams": settings.fields["num_beams"],
        **tokenizer,
    }


def _name(path: str | Path, data: DataSet) -> str:
    return " ".join([shown(Path(path).resolve().parent.name), *([data.split] if data.split else [])])


def _recorded(scored: Scored) -> dict[str, Any]:
    found: dict[str, Any] = {name: _rounded(value) for name, value in scored.scores.items()}
    if scored.same is not None:
        found[SAME] = _rounded(scored.same)
        found["less fp32"] = {
            name: {key: _rounded(value) for key, value in vars(each).items()} for name, each in scored.less_base.items()
        }
    return {**found, "texts_sha256": scored.texts_sha256}


def _rounded(value: float) -> float:
    return round(value, DIGITS) + 0.0  # and never -0.0
