"""What is scored of a model, by what it reads: with which metrics, cut into words how, and what packages that needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fuseline.errors import InputError, written
from fuseline.folders.own import Folder
from fuseline.folders.tensors import PHOTOGRAPH, SPEECH, TEXT
from fuseline.generation.config import GenerationConfig
from fuseline.model import Model

from ..refusals import need
from .data import DataSet
from .hearing import is_english
from .reading import Reading
from .scores import Metric, Tokenizer, caption_metrics, java_is_here, ocr_metrics
from .speech_scores import ENGLISH, NORMALIZERS, SpeechScores
from .text_scores import TOKENIZERS, TextScores

LOG = logging.getLogger("fuseline.export")
Task = Literal["caption", "ocr", "text", "speech"]
# By what a model reads.
_TASKS: Mapping[str, Sequence[Task]] = {PHOTOGRAPH: ("caption", "ocr"), TEXT: ("text",), SPEECH: ("speech",)}
_TOKENIZERS: Mapping[Task, Sequence[str]] = {
    "caption": ("words", "ptb"),
    "ocr": ("words",),
    "text": TOKENIZERS,
    "speech": NORMALIZERS,
}


@dataclass(frozen=True)
class Metrics:
    """Scores by variant. about: what they are of and how they were computed, of the latter by a name that ends in
    "signature"."""

    of: Mapping[str, Mapping[str, Metric]]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How texts are made and scored."""

    task: Task
    tokenizer: str
    reading: Reading
    config: GenerationConfig

    def metrics(self, data: DataSet, texts: Mapping[str, Sequence[str]]) -> Metrics:
        """By variant, of its texts."""
        references = [item.references for item in data.items]
        if self.task == "speech":
            heard = SpeechScores(references, self.tokenizer)
            return Metrics({name: heard.metrics(of) for name, of in texts.items()}, heard.about)
        if self.task == "text":
            scores = TextScores(references, self.tokenizer)
            if not scores.has_rouge:
                LOG.warning("ROUGE is left out: its words are of a to z and digits, and a reference has none")
            return Metrics({name: scores.metrics(of) for name, of in texts.items()}, scores.signatures)
        if self.task == "ocr":
            return Metrics({name: ocr_metrics(references, of) for name, of in texts.items()})
        cut: Tokenizer = "ptb" if self.tokenizer == "ptb" else "words"
        return Metrics({name: caption_metrics(references, of, cut) for name, of in texts.items()})


def task_of(folder: Folder, task: str | None) -> Task:
    """What is scored of a folder's model. Raises InputError for another task than it has."""
    known = _TASKS[folder.source.reads]
    if task is None:
        return known[0]
    found = next((each for each in known if each == task), None)
    if found is None:
        raise InputError(f"task must be {' or '.join(known)} for {folder.path}, not {written(task)}")
    return found


def check_tokenizer(task: Task, tokenizer: str | None) -> None:
    """Raises InputError for one that a task does not have, or that needs what is not here."""
    known = _TOKENIZERS[task]
    if tokenizer is not None and tokenizer not in known:
        raise InputError(f"tokenizer must be {' or '.join(known)}, not {written(tokenizer)}")
    if tokenizer == "ptb" and not java_is_here():
        raise InputError("the tokenizer ptb and METEOR run on Java, which is not here; install Java, or use words")


def tokenizer_of(task: Task, tokenizer: str | None, model: Model, reading: Reading) -> str:
    """The one that is given, else the task's own: of speech that of its language, where it is known to be English."""
    if tokenizer is not None:
        return tokenizer
    first, *others = _TOKENIZERS[task]
    # Whose decoder reads several sources may be anybody's, which no rule of Whisper's knows the language of.
    spoken = task == "speech" and (model.folder.fusion is not None or not is_english(model, reading.src_lang))
    return others[0] if spoken else first


def need_for(task: Task, tokenizer: str | None = None) -> None:
    """Raises NotInstalled where a package for the scores is missing."""
    if task == "caption":
        need("evaluating captions", "pycocoevalcap")
    elif task == "text":
        need("evaluating texts", "sacrebleu", "rouge_score")
    elif task == "speech":
        need("evaluating speech", "jiwer", *(["transformers"] if tokenizer == ENGLISH else []))
