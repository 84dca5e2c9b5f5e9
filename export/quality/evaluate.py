"""What each variant of a folder costs in quality: runs a data set, scores texts, and writes that into the folder."""

from __future__ import annotations

import hashlib
import logging
import os
import statistics
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fuseline.errors import LONGEST, ExportError, FolderError, InputError, shown, written
from fuseline.folders.description import PHOTO_TASK
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder
from fuseline.generation.config import GenerationConfig
from fuseline.model import Model

from ..refusals import in_one_sentence, need
from ..writing.place import claimed, recovered
from .bootstrap import Difference, differences
from .data import DataSet, read_data, read_texts
from .reading import Reading
from .record import is_others, why_not_written, write_results
from .scores import Metric, Tokenizer, caption_metrics, java_is_here, ocr_metrics, same_share
from .text_scores import TOKENIZERS, TextScores
from .texts import Progress, Text, partial_file, texts

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
    """the share of photos or texts for which it says word for word what fp32 says"""
    milliseconds: float
    """a caption, or another text, median"""
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


Task = Literal["caption", "ocr", "text"]
_TOKENIZERS: Mapping[Task, Sequence[str]] = {"caption": ("words", "ptb"), "ocr": ("words",), "text": TOKENIZERS}
_TASKS: Mapping[str, Sequence[Task]] = {PHOTO_TASK: ("caption", "ocr")}  # by the folder's; of others: text


@dataclass(frozen=True)
class Data:
    """A data set that is to be read, see read_data and read_texts."""

    path: str | Path
    references: str | Path | None = None
    split: str | None = None
    photos: str | Path | None = None
    limit: int | None = None

    def read(self, folder: Folder) -> DataSet:
        """The photos or texts that a folder's model reads. Raises InputError."""
        if folder.source.reads_text:
            if self.photos is not None:
                raise InputError(f"{folder.path} reads texts, so there is no folder of photos; leave photos out")
            return read_texts(self.path, self.references, self.split, self.limit)
        if self.references is not None:
            raise InputError(f"{folder.path} reads photos, whose captions lie in the data; leave references out")
        return read_data(self.path, self.split, self.photos, self.limit)


def checked_data(folder: Folder, data: Data) -> DataSet:
    """The data set, read. Raises InputError for one that evaluate cannot use, NotInstalled where packages for its
    scores are missing."""
    _need(_task_of(folder, None))
    return data.read(folder)


@dataclass(frozen=True)
class _Settings:
    """How texts are made and scored."""

    task: Task
    tokenizer: str
    reading: Reading
    config: GenerationConfig

    def metrics(self, data: DataSet, texts: Mapping[str, Sequence[str]]) -> _Metrics:
        """By variant, of its texts."""
        references = [item.references for item in data.items]
        if self.task == "text":
            scores = TextScores(references, self.tokenizer)
            if not scores.has_rouge:
                LOG.warning("ROUGE is left out: its words are of a to z and digits, and a reference has none")
            return _Metrics({name: scores.metrics(of) for name, of in texts.items()}, scores.signatures)
        if self.task == "ocr":
            return _Metrics({name: ocr_metrics(references, of) for name, of in texts.items()})
        cut: Tokenizer = "ptb" if self.tokenizer == "ptb" else "words"
        return _Metrics({name: caption_metrics(references, of, cut) for name, of in texts.items()})


@dataclass(frozen=True)
class _Metrics:
    """Scores by variant. signatures: how they were computed, by a name that ends in "signature"."""

    of: Mapping[str, Mapping[str, Metric]]
    signatures: Mapping[str, str] = field(default_factory=dict)


@in_one_sentence("evaluated")
def evaluate(
    folder: str | Path | None,
    data: str | Path,
    variants: Sequence[str] | None = None,
    *,
    references: str | Path | None = None,
    split: str | None = None,
    photos: str | Path | None = None,
    limit: int | None = None,
    name: str | None = None,
    task: Task | None = None,
    tokenizer: str | None = None,
    src_lang: str | None = None,
    tgt_lang: str | None = None,
    prefix: str | None = None,
    truncation: bool = False,
    num_beams: int | None = None,
    threads: int | None = None,
    write: bool = True,
    resume: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Run a data set through variants of a folder, and say how good each is and how far from fp32.

    folder: None is the captioner that ships. data, split, limit: of photos (with `photos`) see read_data, of texts
    (with `references`) see read_texts; name: what the data set is called in the results (default: its folder's name and
    its split). variants: default all; fp32 is always among them if the folder has it, since the others are compared
    with it. task: of a model that reads photos "caption" (BLEU, ROUGE-L, CIDEr; the default) or "ocr" (error rates of
    words and characters); of one that reads texts "text" (BLEU, chrF, ROUGE, exact matches, error rates).
    tokenizer: of captions "words" (lower case, no punctuation; the same everywhere) or "ptb" (COCO's own and METEOR;
    needs Java); of texts that of BLEU, one of text_scores.TOKENIZERS (default "13a"). src_lang, tgt_lang: the languages
    of texts and of what is said, as the model calls them (default: the model's own); prefix: what texts begin with
    for this model; truncation: whether texts that are too long are cut, else they are refused; see Reading.
    num_beams, threads: default the model's and the machine's. write: into the folder's fuseline.json and MODEL_CARD.md.
    What a folder's variants are chosen by (its "quality") is changed only by an evaluation of the same data under the
    same conditions, or if there is none; another one gets its own entry, see record.py. A folder that takes no results
    (an installed one, one of other tools or of the hub's cache, one that may not be written) stays as it is: that is
    logged as a warning before the work begins, as is a result that could not be written in the end, and
    Evaluation.not_written tells. resume: keep texts in a file beside the folder, where that can be written, so that a
    run after an interrupt goes on where it was.
    Raises InputError for data or options that cannot be used, FolderError for the folder, ExportError where another
    process writes it.
    """
    opened = open_folder(recovered(folder))
    task = _task_of(opened, task)
    tokenizer = _tokenizer_of(task, tokenizer)
    _need(task)
    chosen = _chosen(opened, variants)
    read = Data(data, references, split, photos, limit).read(opened)
    for remark in read.remarks:
        LOG.warning("%s", shown(remark, LONGEST))
    reason = why_not_written(opened.path)
    if write and reason:
        LOG.warning("the results are not written: %s", shown(reason, LONGEST))
    own = not is_others(opened.path) and os.access(opened.path.parent, os.W_OK | os.X_OK)
    with claimed(opened.path) if write and own and reason is None else nullcontext():
        models = {each: Model(open_folder(opened.path, each), threads=threads) for each in chosen}
        first, reading = next(iter(models.values())), Reading(src_lang, tgt_lang, prefix, truncation)
        reading.check(first)
        check_lengths(first, read, reading)
        config = reading.config(first).override(num_return_sequences=1, **_given(num_beams=num_beams))
        settings = _Settings(task, tokenizer, reading, config)
        facts = [read.facts, config.num_beams, reading.conditions]
        partial = partial_file(opened, facts) if resume and own else None
        said = texts(models, read, reading, config, partial, progress or (lambda *_: None))
        metrics = settings.metrics(read, {name: [each.text for each in of] for name, of in said.items()})
        evaluation = Evaluation(
            path=opened.path,
            conditions=_conditions(read, name or _name(data, read), settings) | dict(metrics.signatures),
            variants=_scored(opened, metrics.of, said),
            base=BASE if BASE in chosen else None,
            not_written=reason if write else None,
        )
        return _written(evaluation) if write and reason is None else evaluation


def _given(**options: object) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _written(evaluation: Evaluation) -> Evaluation:
    """Into the folder. A full disk must not cost the results, so where it fails they say that they are not there."""
    try:
        write_results(evaluation.path, evaluation.conditions, evaluation.recorded())
    except ExportError as error:
        LOG.warning("%s", error)
        return replace(evaluation, not_written=str(error))
    return evaluation


def _task_of(folder: Folder, task: str | None) -> Task:
    """What is scored of a folder's model. Raises InputError for another task than it has."""
    known = _TASKS.get(folder.task, ("text",))
    if task is None:
        return known[0]
    found = next((each for each in known if each == task), None)
    if found is None:
        raise InputError(f"task must be {' or '.join(known)} for {folder.path}, not {written(task)}")
    return found


def _tokenizer_of(task: Task, tokenizer: str | None) -> str:
    known = _TOKENIZERS[task]
    if tokenizer is not None and tokenizer not in known:
        raise InputError(f"tokenizer must be {' or '.join(known)}, not {written(tokenizer)}")
    if tokenizer == "ptb" and not java_is_here():
        raise InputError("the tokenizer ptb and METEOR run on Java, which is not here; install Java, or use words")
    return known[0] if tokenizer is None else tokenizer


def _need(task: Task) -> None:
    if task == "caption":
        need("evaluating captions", "pycocoevalcap")
    elif task == "text":
        need("evaluating texts", "sacrebleu", "rouge_score")


def check_lengths(model: Model, data: DataSet, reading: Reading) -> None:
    """Raises InputError for the first text that the model cannot read, before any is."""
    for item in data.items if data.kind == "texts" else ():
        try:
            reading.inputs(model, [item.given])
        except InputError as error:
            raise InputError(f"{data.name}, {item.name}: {error}") from error


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
    folder: Folder, metrics: Mapping[str, Mapping[str, Metric]], said: Mapping[str, Sequence[Text]]
) -> dict[str, Scored]:
    texts = {name: [each.text for each in of] for name, of in said.items()}
    result = {}
    for name, found in metrics.items():
        compared = BASE in metrics and name != BASE
        graphs = dict.fromkeys(folder.variants[name].graphs)
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
    tokenizer = {} if settings.task == "ocr" else {"tokenizer": settings.tokenizer}
    return {
        "dataset": name,
        "dataset_sha256": data.sha256,
        **({"split": data.split} if data.split else {}),
        data.kind: len(data.items),
        "num_beams": settings.config.num_beams,
        **tokenizer,
        **settings.reading.conditions,
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
