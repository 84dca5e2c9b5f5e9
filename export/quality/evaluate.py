"""What each variant of a folder costs in quality: captions a data set, scores it, and writes it into the folder."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from fuseline.errors import FolderError, InputError
from fuseline.folder import Folder
from fuseline.model import Model

from .bootstrap import Difference, differences
from .captions import Progress, Text, captions
from .data import DataSet, read_data
from .record import write_quality
from .scores import Metric, Task, Tokenizer, caption_metrics, java_is_here, ocr_metrics, same_share

BASE = "fp32"
SAME = "same as fp32"
DIGITS = 4


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

    def quality(self) -> dict[str, dict[str, Any]]:
        """By variant, as fuseline.json holds it: everything but times, which are the machine's and not the model's."""
        return {name: {**self.conditions, **_recorded(scored)} for name, scored in self.variants.items()}

    def report(self) -> dict[str, Any]:
        """All of it as JSON takes it, times included."""
        variants = {
            name: {**_recorded(scored), "milliseconds": scored.milliseconds, "bytes": scored.bytes}
            for name, scored in self.variants.items()
        }
        return {"path": str(self.path), **self.conditions, "compared with": self.base, "variants": variants}


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


def evaluate(
    folder: str | Path,
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

    data, split, photos, limit: see read_data; name: what the data set is called in the results (default: its folder's
    name and its split). variants: default all; fp32 is always among them if the folder has it, since the others are
    compared with it. task: "caption" (BLEU, ROUGE-L, CIDEr) or "ocr" (error rates of words and characters).
    tokenizer: "words" (lower case, no punctuation; the same everywhere) or "ptb" (COCO's own and METEOR; needs Java).
    num_beams, threads: default the model's and the machine's. write: into fuseline.json and MODEL_CARD.md.
    resume: keep texts in a file beside the folder, so that a run after an interrupt goes on where it was.
    Raises InputError for data or options that cannot be used, FolderError for the folder.
    """
    opened = Folder.open(folder)
    _check(task, tokenizer, metadata_needed=task == "caption")
    chosen = _chosen(opened, variants)
    read = read_data(data, split, photos, limit)
    models = {each: Model(Folder.open(opened.path, each), threads=threads) for each in chosen}
    first = next(iter(models.values()))
    config = first.generation_config.override(**({} if num_beams is None else {"num_beams": num_beams}))
    settings = _Settings(task, tokenizer, {"num_beams": config.num_beams, "num_return_sequences": 1})
    partial = _partial(opened, read, settings) if resume else None
    said = captions(models, read, settings.fields, partial, progress or (lambda *_: None))
    evaluation = Evaluation(
        path=opened.path,
        conditions=_conditions(read, name or _name(data, read), settings),
        variants=_scored(opened, read, settings, said),
        base=BASE if BASE in chosen else None,
    )
    if write:
        write_quality(opened.path, evaluation.quality())
    return evaluation


def _check(task: str, tokenizer: str, metadata_needed: bool) -> None:
    if task not in ("caption", "ocr"):
        raise InputError(f"task must be caption or ocr, not {task!r}")
    if tokenizer not in ("words", "ptb"):
        raise InputError(f"tokenizer must be words or ptb, not {tokenizer!r}")
    if tokenizer == "ptb" and not java_is_here():
        raise InputError("the tokenizer ptb and METEOR run on Java, which is not here; install Java, or use words")
    if metadata_needed:
        try:
            metadata.version("pycocoevalcap")
        except metadata.PackageNotFoundError as error:
            raise InputError(
                "evaluating captions needs pycocoevalcap, which is missing; pip install pycocoevalcap"
            ) from error


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


def _partial(folder: Folder, data: DataSet, settings: _Settings) -> Path:
    """The file beside the folder that keeps texts of an interrupted run; another one for other options or weights."""
    facts = [folder.hashes, data.sha256, data.split, [p.name for p in data.photos], settings.fields, _versions()]
    key = hashlib.sha256(json.dumps(facts, default=dict, sort_keys=True).encode()).hexdigest()[:12]
    return folder.path.parent / f".{folder.path.name}.evaluation-{key}.jsonl"


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
        "photos": len(data.photos),
        "num_beams": settings.fields["num_beams"],
        **tokenizer,
    }


def _name(path: str | Path, data: DataSet) -> str:
    return " ".join([Path(path).resolve().parent.name, *([data.split] if data.split else [])])


def _recorded(scored: Scored) -> dict[str, Any]:
    found: dict[str, Any] = {name: round(value, DIGITS) for name, value in scored.scores.items()}
    if scored.same is not None:
        found[SAME] = round(scored.same, DIGITS)
        found["less fp32"] = {
            name: {key: round(value, DIGITS) for key, value in vars(each).items()}
            for name, each in scored.less_base.items()
        }
    return {**found, "texts_sha256": scored.texts_sha256}


def _versions() -> list[str]:
    return [metadata.version(package) for package in ("fuseline", "onnxruntime")]
