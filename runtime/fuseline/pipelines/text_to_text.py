"""pipeline("text2text-generation"), "summarization", "translation": texts in, texts out, as in transformers 4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast, overload

import numpy as np

from ..arrays import Int64
from ..errors import FolderError, InputError, written
from ..folders import tensors
from ..generation.config import PIPELINE_NEW_TOKENS, GenerationConfig
from ..generation.options import CHECKS, UNSUPPORTED
from ..generation.result import Generation
from ..inputs.open import TextInputs
from ..migrating.copied_calls import TEXT, settle
from ..model import Model
from ..warning import warn
from .common import (
    Pipeline,
    add_confidences,
    check_task,
    checked_batch_size,
    fields_given,
    params_of_task,
    telling_confidence,
)
from .text_reading import KEYWORDS, TextReading

if TYPE_CHECKING:
    from ..outputs.streaming import Event

Results: TypeAlias = list[dict[str, Any]]

TRANSLATION = "translation"
# The tasks, and what the names of their results begin with.
RESULTS = {"text2text-generation": "generated", "summarization": "summary", TRANSLATION: "translation"}
_NUM_BEAMS = 4  # of transformers' pipelines for these tasks, whatever the model's own number is
_OF_A_CALL = ("inputs", "max_new_tokens", "generate_kwargs", "generation_config", "batch_size", *KEYWORDS)


class TextToText(Pipeline):
    """Makes texts of texts with one model."""

    def __init__(
        self,
        model: Model,
        task: str = "text2text-generation",
        batch_size: int = 1,
        fields: Mapping[str, Any] | None = None,
        stream: bool = False,
        reading: TextReading = TextReading(),  # noqa: B008 - it cannot be changed
    ) -> None:
        """task: one of RESULTS, or translation_XX_to_YY. fields: GenerationConfig fields over the pipeline's own,
        checked here and not at the first text. Raises InputError; FolderError for options of this task in config.json
        that cannot be used."""
        check_task(model, f"pipeline({task!r})", tensors.TEXT)
        super().__init__(model, batch_size, fields, stream)
        self._result = RESULTS[task.partition("_")[0]]
        self.task = task = _first_translation(model) if task == TRANSLATION else task
        words = task.split("_")
        self._of_task = (words[1], words[3]) if len(words) == 4 else None  # of translation_en_to_de en and de
        self._reading = reading
        params = params_of_task(model.folder.config, task)
        self._prefix = params.pop("prefix", model.folder.config.get("prefix")) or ""
        if not isinstance(self._prefix, str):
            raise FolderError(f"{model.folder.path / 'config.json'}: prefix must be a text")
        self._default = _defaults(model, params, task)
        self._job(self._fields, reading, whole=False)

    @property
    def _inputs(self) -> TextInputs:
        return cast("TextInputs", self.model.inputs)

    @overload
    def __call__(self, inputs: str, *, stream: Literal[True], **options: Any) -> Iterator[str]: ...

    @overload
    def __call__(self, inputs: str, *, stream: Literal[False] | None = None, **options: Any) -> Results: ...

    @overload
    def __call__(
        self, inputs: Sequence[str], *, stream: Literal[False] | None = None, **options: Any
    ) -> Results | list[Results]: ...

    @overload
    def __call__(
        self, inputs: Iterator[str], *, stream: Literal[False] | None = None, **options: Any
    ) -> Iterator[Results]: ...

    def __call__(
        self,
        inputs: str | Sequence[str] | Iterator[str] | None = None,
        *,
        max_new_tokens: int | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        generation_config: object = None,
        batch_size: int | None = None,
        stream: bool | None = None,
        **options: Any,
    ) -> Results | list[Results] | Iterator[Results] | Iterator[str]:
        """What the model makes of one text, a list of them, or a stream.

        One text gives [{"generated_text": text}] ("summary_text", "translation_text" in the other tasks), of
        num_return_sequences dicts; a list or another sequence of texts gives a list of dicts, with
        num_return_sequences a list of such lists; an iterator gives an iterator over lists of dicts, which reads
        batch_size texts ahead and yields as it goes. With stream one text gives an iterator over pieces of what is
        made of it, which joined are the whole; a word comes when it is certain that it stays.
        options: any of GenerationConfig, and in transformers' words truncation (whether a text that is too long is
        cut), src_lang and tgt_lang (of translation), return_tensors (token ids int64[T], as "generated_token_ids", in
        the place of the text), clean_up_tokenization_spaces (False as in transformers' pipelines) and stop_sequence.
        Raises InputError, for a list or a stream with the place of the text in it.
        """
        fields = {name: options.pop(name) for name in list(options) if name in CHECKS or name in UNSUPPORTED}
        reading = self._reading.taking(options)
        settle(TEXT, options, _OF_A_CALL)
        if inputs is None:
            raise InputError("there is no text; give one, or a list of them")
        fields = self._fields | fields | fields_given(max_new_tokens, generate_kwargs, generation_config)
        in_pieces = self._in_pieces if stream is None else stream
        if in_pieces and "generation_config" not in fields:
            fields = {"num_return_sequences": 1} | fields
        job = self._job(fields, reading)
        size = self._batch_size if batch_size is None else checked_batch_size(batch_size)
        if isinstance(inputs, Sequence | Iterator) and not isinstance(inputs, str | bytes | bytearray | memoryview):
            if in_pieces:
                raise InputError("stream=True gives what is made of one text in pieces; call it for each text")
            results = self._results(inputs, job, size)
            return results if isinstance(inputs, Iterator) else _flat(list(results))
        row = job.prepared(inputs, "the text")
        if in_pieces:
            return self._pieces(job.stream(row), job.config)
        return self._made([row], job)[0]

    predict = transform = __call__

    def job(self) -> Job:
        """What a call asks for that gives no options."""
        return self._job(self._fields, self._reading)

    def _config(self, fields: Mapping[str, Any]) -> GenerationConfig:
        """The options of a call, by transformers' rules: its own, the pipeline's, then the model's.

        A max_length of the call's counts, which transformers 4.57 leaves to the pipeline's 256 new tokens. A
        generation_config of the call's stands in the place of all but the other options of the call.
        """
        options = dict(fields)
        given = options.pop("generation_config", None)
        before = self._default if given is None else self.model._configured(given)
        return before.override(**options)

    def _job(self, fields: Mapping[str, Any], reading: TextReading, *, whole: bool = True) -> Job:
        """whole: whether both languages must be known. Raises InputError."""
        if reading.stop_sequence is not None:
            fields = {**fields, "eos_token_id": self._stop(reading.stop_sequence)}
        source, target = self._languages(reading, whole)
        config = self._config(fields)
        if target is not None:
            if fields.get("forced_bos_token_id") not in (None, target):
                raise InputError("forced_bos_token_id and tgt_lang say different things; give tgt_lang alone")
            config = config.override(forced_bos_token_id=target)
        prefix = "" if source is not None else self._prefix
        return Job(self.model, telling_confidence(self.model, config), prefix, source, reading)

    def _languages(self, reading: TextReading, whole: bool) -> tuple[str | None, int | None]:
        """The language of the sources, and the token of the targets', where the model has languages."""
        source, target = reading.src_lang, reading.tgt_lang
        tokenizer = self._inputs.tokenizer
        if self._result != RESULTS[TRANSLATION]:
            if source is not None or target is not None:
                raise InputError(f"src_lang and tgt_lang are of the task {TRANSLATION}, and this is {self.task}")
            return None, None
        if source is None and target is None and tokenizer.languages and self._of_task:
            source, target = self._of_task
        for language in (source, target):
            if language is not None:
                tokenizer.language_token(language)
        if tokenizer.languages and whole and (source is None or target is None):
            known = ", ".join(sorted(tokenizer.languages))
            raise InputError(
                "this model translates between several languages, so src_lang and tgt_lang must say which; it knows "
                f"{known}"
            )
        return source, None if target is None else tokenizer.language_token(target)

    def _stop(self, stop_sequence: str) -> int:
        """The token that stop_sequence stands for."""
        tokens = self.model.encode_text(stop_sequence, "stop_sequence")
        if not tokens:
            raise InputError("stop_sequence must have a token; an empty text stops nothing")
        if len(tokens) > 1:
            warn(
                f"stop_sequence {written(stop_sequence)} has {len(tokens)} tokens, of which the first alone stops a "
                "text, as in transformers; stop_strings stops at all of them"
            )
        return tokens[0]

    def _results(self, texts: Iterable[str], job: Job, size: int) -> Iterator[Results]:
        numbered = enumerate(texts, start=1)
        while batch := list(islice(numbered, size)):
            yield from self._made([job.prepared(text, f"text {number}") for number, text in batch], job)

    def _made(self, rows: Sequence[Int64], job: Job) -> list[Results]:
        """The results of texts that go through the model together."""
        generation = job.generate(rows)
        self._tell(generation, job.config)
        if job.reading.tensors:
            results: Results = [{f"{self._result}_token_ids": row} for row in generation.sequences]
        else:
            results = [{f"{self._result}_text": text} for text in job.texts(generation.sequences)]
        add_confidences(results, generation, self.model.unsure_below)
        each = generation.num_return_sequences
        return [results[first : first + each] for first in range(0, len(results), each)]


class Job(NamedTuple):
    """What a call asks for. prefix: what texts begin with; src_lang: their language, where the model has languages."""

    model: Model
    config: GenerationConfig
    prefix: str
    src_lang: str | None
    reading: TextReading

    def prepared(self, text: object, name: str) -> Int64:
        """A text's input_ids, int64[S]. name: of the text, for messages. Raises InputError."""
        if not isinstance(text, str):
            raise InputError(f"{name} must be a text, not {written(text)}")
        options = {"src_lang": self.src_lang, "truncation": bool(self.reading.truncation), "names": [name]}
        tokens: Int64 = self.model.inputs([self.prefix + text], **options)["input_ids"][0]
        if not len(tokens):
            raise InputError(f"{name} has no tokens, so there is nothing to read; leave it out")
        return tokens

    def generate(self, rows: Sequence[Int64]) -> Generation:
        """What the model makes of texts, int64[S] each, that go through it together."""
        return self.model.generate(self._padded(rows), generation_config=self.config)

    def stream(self, row: Int64) -> Iterator[Event]:
        """The same of one text, watched."""
        clean_up = self.reading.cleans_up
        return self.model.stream(
            self._padded([row]), generation_config=self.config, clean_up_tokenization_spaces=clean_up
        )

    def texts(self, sequences: Int64) -> list[str]:
        """The texts of int64[N, T]."""
        return self.model.decode(sequences, clean_up_tokenization_spaces=self.reading.cleans_up)

    def _padded(self, rows: Sequence[Int64]) -> dict[str, Int64]:
        lengths = np.array([[len(row)] for row in rows])
        mask = (np.arange(lengths.max()) < lengths).astype(np.int64)
        ids = np.full(mask.shape, cast("TextInputs", self.model.inputs).tokenizer.pad_token_id, np.int64)
        ids[mask == 1] = np.concatenate(rows)
        return {"input_ids": ids, "attention_mask": mask}


def _first_translation(model: Model) -> str:
    """The first translation that config.json has options of, which transformers takes where a call names no other."""
    tasks = model.folder.config.get("task_specific_params")
    named: list[str] = [task for task in tasks if task.startswith(TRANSLATION)] if isinstance(tasks, Mapping) else []
    if not named:
        return TRANSLATION
    if len(named) > 1 and not cast("TextInputs", model.inputs).tokenizer.languages:
        warn(f"the task {TRANSLATION} is taken for {written(named[0])}, the first of this model's; name another one")
    return named[0]


def _defaults(model: Model, params: Mapping[str, Any], task: str) -> GenerationConfig:
    """The options of calls that give none: transformers' for these tasks, over the model's, under config.json's for
    this one.

    256 new tokens stand where the model sets no length; and then also, as in transformers, where only its options of
    the task do.
    """
    own = model.generation_config
    known = {name: value for name, value in params.items() if name in CHECKS}
    if own.length_is_default:
        own = own.with_default_length(PIPELINE_NEW_TOKENS)
        known.pop("max_length", None)
    try:
        return own.with_defaults(**{"num_beams": _NUM_BEAMS} | known)
    except InputError as error:
        where = model.folder.path / "config.json"
        raise FolderError(f"{where}: with task_specific_params of {written(task)}: {error}") from error


def _flat(results: list[Results]) -> Results | list[Results]:
    """As transformers has it: a list of dicts where each text has one result."""
    if all(len(each) == 1 for each in results):
        return [each[0] for each in results]
    return results
