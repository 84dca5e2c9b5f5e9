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
from typing import Any

from fuseline.errors import LONGEST, ExportError, FolderError, InputError, shown
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder
from fuseline.folders.tensors import PHOTOGRAPH, SPEECH, TEXT
from fuseline.model import Model

from ..refusals import in_one_sentence
from ..writing.place import claimed, recovered
from .bootstrap import Difference, Interval, differences, intervals
from .by_source import Changed, changed, changes
from .data import DataSet, of_one_source, read_data, read_sources, read_speech, read_texts
from .reading import Reading
from .record import is_others, why_not_written, write_results
from .scores import Metric, same_share
from .sources import Several, has_sources
from .tasks import Settings, Task, check_tokenizer, need_for, task_of, tokenizer_of
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
    """the share of photos, texts or clips for which it says word for word what fp32 says"""
    milliseconds: float
    """a caption, or another text, median"""
    bytes: int
    texts: Sequence[str]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """of the scores themselves, where they are error rates of speech"""
    sources: Mapping[str, Mapping[str, Changed]] = field(default_factory=dict)
    """of a model with several sources, where that is measured: by source what is said "without" it, and with it "of
    others" """

    @property
    def texts_sha256(self) -> str:
        """Of all texts, a line each: equal where an evaluation was repeated exactly."""
        return _sha256(self.texts)


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
class Data:
    """A data set that is to be read, see read_data, read_texts, read_speech and read_sources."""

    path: str | Path
    references: str | Path | None = None
    split: str | None = None
    photos: str | Path | None = None
    limit: int | None = None

    def read(self, folder: Folder) -> DataSet:
        """The photos, texts, clips or inputs of several sources that a folder's model reads. Raises InputError."""
        if not has_sources(Path(self.path)):
            read = self._of_one(folder)
            return read if folder.fusion is None else of_one_source(read, folder.source.name, folder.sources)
        if folder.fusion is None:
            raise InputError(f"{folder.path} reads one source, and {self.path} has inputs of several; give other data")
        if self.references is not None or self.photos is not None:
            leave = "references" if self.references is not None else "photos"
            raise InputError(f"{self.path} says itself what belongs to each input; leave {leave} out")
        return read_sources(self.path, folder.sources, self.split, self.limit)

    def _of_one(self, folder: Folder) -> DataSet:
        reads = folder.source.reads
        if reads != PHOTOGRAPH and self.photos is not None:
            things = "texts" if reads == TEXT else "speech"
            raise InputError(f"{folder.path} reads {things}, so there is no folder of photos; leave photos out")
        if reads == TEXT:
            return read_texts(self.path, self.references, self.split, self.limit)
        if self.references is not None:
            things = "photos, whose captions lie" if reads == PHOTOGRAPH else "speech, whose texts lie"
            raise InputError(f"{folder.path} reads {things} in the data; leave references out")
        if reads == SPEECH:
            return read_speech(self.path, self.split, self.limit)
        return read_data(self.path, self.split, self.photos, self.limit)


def checked_data(folder: Folder, data: Data) -> DataSet:
    """The data set, read. Raises InputError for one that evaluate cannot use, NotInstalled where packages for its
    scores are missing."""
    need_for(task_of(folder, None))
    return data.read(folder)


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
    by_source: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Run a data set through variants of a folder, and say how good each is and how far from fp32.

    folder: None is the captioner that ships. data, split, limit: of photos (with `photos`) see read_data, of texts
    (with `references`) read_texts, of speech read_speech, of several sources read_sources, or one of the others for the
    source that the task is about; name: what the data set is called in the results (default: its folder's name and its
    split). variants: default all; fp32 is always among them if the folder has it, since the others are compared with
    it. task: of a model that reads photos "caption" (BLEU, ROUGE-L, CIDEr; the default) or
    "ocr" (error rates of words and characters); of one that reads texts "text" (BLEU, chrF, ROUGE, exact matches, error
    rates); of one that hears speech "speech" (error rates; clips of any length, at temperature 0).
    tokenizer: of captions "words" (lower case, no punctuation; the same everywhere) or "ptb" (COCO's own and METEOR;
    needs Java); of texts that of BLEU, one of text_scores.TOKENIZERS (default "13a"); of speech Whisper's rules,
    "english" (needs transformers; the default where the language is known to be English) or "basic".
    src_lang, tgt_lang: the languages of texts and of what is said, as the model calls them (default: the model's own);
    of speech src_lang is the one that is spoken. prefix: what texts begin with for this model; truncation: whether
    texts that are too long are cut, else they are refused; see Reading.
    num_beams, threads: default the model's and the machine's. write: into the folder's fuseline.json and MODEL_CARD.md.
    What a folder's variants are chosen by (its "quality") is changed only by an evaluation of the same data under the
    same conditions, or if there is none; another one gets its own entry, see record.py. A folder that takes no results
    (an installed one, one of other tools or of the hub's cache, one that may not be written) stays as it is: that is
    logged as a warning before the work begins, as is a result that could not be written in the end, and
    Evaluation.not_written tells. resume: keep texts in a file beside the folder, where that can be written, so that a
    run after an interrupt goes on where it was. by_source: of a model with several sources, say also how good the
    default variant (fp32, where that one is not asked for) is without each source and with each source of other inputs
    of the data, see by_source.py.
    Raises InputError for data or options that cannot be used, FolderError for the folder, ExportError where another
    process writes it.
    """
    opened = open_folder(recovered(folder))
    task = task_of(opened, task)
    check_tokenizer(task, tokenizer)
    need_for(task, tokenizer)
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
        cut = tokenizer_of(task, tokenizer, first, reading)
        need_for(task, cut)
        settings = Settings(task, cut, reading, config)
        facts = [read.facts, config.num_beams, reading.conditions]
        partial = partial_file(opened, facts) if resume and own else None
        judged = opened.default_variant if opened.default_variant in chosen else chosen[0]
        parts = changes(read, opened.sources) if by_source and opened.fusion is not None else []
        tell = progress or (lambda *_: None)
        said = texts(models, read, reading, config, partial, tell)
        for part in parts:
            said |= texts({part.row(judged): models[judged]}, part.data, reading, config, partial, tell)
        if partial:
            partial.unlink(missing_ok=True)
        words = {name: [each.text for each in of] for name, of in said.items()}
        metrics = settings.metrics(read, words)
        found = _scored(opened, {name: metrics.of[name] for name in chosen}, said, task == "speech")
        if parts:
            sources = changed(judged, parts, metrics.of, words)
            found[judged] = replace(found[judged], sources=sources)
        evaluation = Evaluation(
            path=opened.path,
            conditions=_conditions(read, name or _name(data, read), settings) | dict(metrics.about),
            variants=found,
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


def check_lengths(model: Model, data: DataSet, reading: Reading) -> None:
    """Raises InputError for the first text that the model cannot read, before any is."""
    sources = model.folder.sources
    for item in data.items if data.kind in ("texts", "inputs") else ():
        given: Any = item.given
        if isinstance(item, Several):
            given = {name: each for name, each in item.given.items() if sources[name].reads_text}
        try:
            reading.inputs(model, [given])
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
    folder: Folder, metrics: Mapping[str, Mapping[str, Metric]], said: Mapping[str, Sequence[Text]], spread: bool
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
            intervals=intervals(found) if spread else {},
        )
    return result


def _conditions(data: DataSet, name: str, settings: Settings) -> dict[str, Any]:
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
    place = Path(path).resolve()
    folder = place if place.is_dir() else place.parent
    return " ".join([shown(folder.name), *([data.split] if data.split else [])])


def _recorded(scored: Scored) -> dict[str, Any]:
    found: dict[str, Any] = {name: _rounded(value) for name, value in scored.scores.items()}
    if scored.intervals:
        found["interval"] = {name: _all_rounded(each) for name, each in scored.intervals.items()}
    if scored.same is not None:
        found[SAME] = _rounded(scored.same)
        found["less fp32"] = {name: _all_rounded(each) for name, each in scored.less_base.items()}
    if scored.sources:
        found["sources"] = {
            source: {how: _changed(each) for how, each in of.items()} for source, of in scored.sources.items()
        }
    return {**found, "texts_sha256": scored.texts_sha256}


def _changed(found: Changed) -> dict[str, Any]:
    scores = {name: _rounded(value) for name, value in found.scores.items()}
    less = {name: _all_rounded(each) for name, each in found.less_whole.items()}
    return {**scores, "same as whole": _rounded(found.same), "less whole": less, "texts_sha256": _sha256(found.texts)}


def _sha256(texts: Sequence[str]) -> str:
    return hashlib.sha256("".join(f"{text}\n" for text in texts).encode()).hexdigest()


def _all_rounded(found: Difference | Interval) -> dict[str, float]:
    return {key: _rounded(value) for key, value in vars(found).items()}


def _rounded(value: float) -> float:
    return round(value, DIGITS) + 0.0  # and never -0.0
