"""pipeline("automatic-speech-recognition"): sounds in, what is said in them out, called as in transformers 4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as fields_of
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, Unpack, cast, overload

import numpy as np

from ..errors import InputError
from ..folders.tensors import SPEECH
from ..generation.config import GenerationConfig
from ..generation.options import CHECKS, UNSUPPORTED
from ..inputs.audio import Sound, SoundSource, open_sound
from ..migrating import copied_calls
from ..model import Model
from ..speech.options import SpeechOptions
from ..speech.segments import Transcription
from ..speech.transcriber import Progress, Transcriber, Transcribing
from .common import RECOGNITION, Pipeline, check_task, checked_batch_size, fields_given
from .speech_jobs import Job, Result, job_of, plain_config, speech_options
from .speech_reading import KEYWORDS, Seconds, SpeechReading

if TYPE_CHECKING:
    from ..graphs.running import CancelToken
    from ..speech.live import Live

TASK = RECOGNITION
# The options of speech that generation does not have.
OPTIONS = tuple(each.name for each in fields_of(SpeechOptions) if each.name not in (*CHECKS, *KEYWORDS, "generation"))
_OF_A_CALL = ("inputs", "max_new_tokens", "generate_kwargs", "generation_config", "batch_size", *KEYWORDS, *OPTIONS)
_NOT_PASSED_ON = {"array", "raw", "path", "sampling_rate"}  # of a mapping; the rest comes back in the result


class _Options(TypedDict, total=False):
    """What a call may say anew; see pipeline."""

    max_new_tokens: int | None
    generate_kwargs: Mapping[str, Any] | None
    generation_config: object
    batch_size: int | None
    chunk_length_s: float | None
    stride_length_s: Seconds | None
    return_timestamps: bool | Literal["word"] | None
    return_language: bool | None
    language: str | None
    prompt: str | None
    hotwords: str | None


class _Streaming(_Options):
    """The same, for text in pieces."""

    stream: Literal[True]


class SpeechRecognition(Pipeline):
    """Writes down what is said, with one model. A sound is a path, the bytes of a file, a file object, an array of
    samples at 16,000 a second, or a mapping of samples ("array" or "raw") and "sampling_rate"."""

    task = TASK

    def __init__(
        self,
        model: Model,
        batch_size: int = 1,
        fields: Mapping[str, Any] | None = None,
        stream: bool = False,
        reading: SpeechReading = SpeechReading(),  # noqa: B008 - it cannot be changed
    ) -> None:
        """fields: options of SpeechOptions, those of generation among them, over the model's own, checked here and not
        at the first sound. Raises InputError, FolderError."""
        check_task(model, f"pipeline({TASK!r})", SPEECH)
        super().__init__(model, batch_size, fields, stream)
        self._reading = reading
        self._job(self._fields, reading)

    @property
    def feature_extractor(self) -> Any:
        """What makes the encoder's inputs of samples."""
        return self.model.inputs.features  # type: ignore[union-attr]  # check_task has seen that it reads speech

    # A text is a sequence of texts, too; the first signature that fits is meant.
    @overload
    def __call__(self, inputs: SoundSource, **options: Unpack[_Streaming]) -> Iterator[str]: ...

    @overload
    def __call__(self, inputs: SoundSource, **options: Unpack[_Options]) -> Result: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, inputs: Sequence[SoundSource], **options: Unpack[_Options]) -> list[Result]: ...

    @overload
    def __call__(self, inputs: Iterator[SoundSource], **options: Unpack[_Options]) -> Iterator[Result]: ...

    def __call__(
        self,
        inputs: SoundSource | Sequence[SoundSource] | Iterator[SoundSource] | None = None,
        *,
        max_new_tokens: int | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        generation_config: object = None,
        batch_size: int | None = None,
        stream: bool | None = None,
        **options: Any,
    ) -> Result | list[Result] | Iterator[Result] | Iterator[str]:
        """What is said in one sound, a list of them, or a stream.

        One sound gives {"text": ...}, and where return_timestamps or return_language ask for them "chunks":
        [{"text": ..., "timestamp": (start, end), "language": ...}], in seconds; a list or another sequence gives a list
        of these; an iterator gives an iterator, which reads batch_size sounds ahead and yields as it goes. With stream
        one sound gives an iterator over pieces of its text, which joined are the text: a segment comes when it is done,
        of models without timestamps a word when it is certain. Keys of a mapping that say something else come back.
        options: any of SpeechOptions and GenerationConfig, also in generate_kwargs (where task may be, too), and in
        transformers' words return_timestamps (True for segments, "word" for words), return_language, chunk_length_s
        (a sound is cut into chunks of so many seconds, batch_size of which are decoded together; without it a long
        sound is decoded window after window) and stride_length_s (how many seconds a chunk shares with those beside it,
        or those on its left and on its right; a sixth of the chunk where a call does not say).
        Differs from transformers 4.57 where that ends a chunk at None, or after the sound: it ends with the sound; and
        where that has no language, since it does not look at the one that was heard.
        Raises InputError, for a list or a stream with the place of the sound in it.
        """
        job, size = self._asked(max_new_tokens, generate_kwargs, generation_config, batch_size, options)
        if inputs is None:
            raise InputError("there is no sound; give a path, bytes, a file or an array of samples, or a list of them")
        in_pieces = self._in_pieces if stream is None else stream
        if _are_several(inputs):
            if in_pieces:
                raise InputError("stream=True gives the text of one sound in pieces; call it for each sound")
            results = self._results(cast("Iterable[SoundSource]", inputs), job, size)
            return results if isinstance(inputs, Iterator) else list(results)
        given = _Given.of(inputs)
        if in_pieces:
            return job.pieces(given.sound, size)
        return given.with_more(job.recognize([given.sound], size)[0])

    predict = transform = __call__

    def transcribe(
        self,
        inputs: SoundSource,
        *,
        cancel: CancelToken | None = None,
        progress: Progress | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Transcription:
        """All that is known of what is said in one sound: segments with how sure the model is of them, and what was
        left out, with the reason.

        Window after window, without chunks. options, generate_kwargs: as in a call. cancel: a threading.Event or
        anything else with is_set(); progress: called with the seconds that are done. Raises InputError, Cancelled.
        """
        running = self.segments(inputs, cancel=cancel, progress=progress, generate_kwargs=generate_kwargs, **options)
        segments = list(running)
        return Transcription.of(segments, running.language, running.duration)

    def segments(
        self,
        inputs: SoundSource,
        *,
        cancel: CancelToken | None = None,
        progress: Progress | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Transcribing:
        """The same, segment by segment as they are done."""
        asked = self._speech_options(generate_kwargs, options)
        return Transcriber(self.model).transcribe(open_sound(inputs), asked, cancel=cancel, progress=progress)

    def live(self, rate: int | None = None, *, cancel: CancelToken | None = None, **options: Any) -> Live:
        """Listens to a stream: feed(samples) and finish() tell what is said, see fuseline.speech.live.

        rate: samples a second of what is fed, 16,000 where it is None. options: as in a call. Raises InputError.
        """
        from ..speech.live import live

        return live(self.model, rate, self._speech_options(None, options), cancel)

    def _speech_options(self, generate_kwargs: Mapping[str, Any] | None, options: dict[str, Any]) -> SpeechOptions:
        """Those of a call that is no pipeline's of transformers."""
        asked = self._fields | fields_given(options.pop("max_new_tokens", None), generate_kwargs, None)
        reading = self._reading.taking({name: options.pop(name) for name in KEYWORDS if name in options})
        return speech_options(self.model, asked | options, reading)

    def _asked(
        self,
        max_new_tokens: int | None,
        generate_kwargs: Mapping[str, Any] | None,
        generation_config: object,
        batch_size: int | None,
        options: dict[str, Any],
    ) -> tuple[Job, int]:
        """What a call asks for, and how many sounds or chunks go through the model together."""
        names = (*CHECKS, *UNSUPPORTED, *OPTIONS)
        fields = {name: options.pop(name) for name in list(options) if name in names}
        reading = self._reading.taking(options)
        copied_calls.settle(copied_calls.SPEECH, options, _OF_A_CALL)
        reading.check()
        fields = self._fields | fields | fields_given(max_new_tokens, generate_kwargs, generation_config)
        size = self._batch_size if batch_size is None else checked_batch_size(batch_size)
        return self._job(fields, reading), size

    def _job(self, fields: Mapping[str, Any], reading: SpeechReading) -> Job:
        return job_of(self.model, fields, reading)

    def _config(self, fields: Mapping[str, Any]) -> GenerationConfig:
        """The options of generation of a call, by transformers' rules: its own, the pipeline's, then the model's."""
        options = {name: value for name, value in fields.items() if name in CHECKS}
        return plain_config(self.model, fields.get("generation_config")).override(**options)

    def _results(self, sounds: Iterable[SoundSource], job: Job, size: int) -> Iterator[Result]:
        numbered = enumerate(sounds, start=1)
        while batch := list(islice(numbered, size)):
            given = [_named(number, _Given.of, sound) for number, sound in batch]
            if len(given) == 1:
                made = _named(batch[0][0], job.recognize, [given[0].sound], size)
            else:
                made = job.recognize([each.sound for each in given], size)
            for each, result in zip(given, made, strict=True):
                yield each.with_more(result)


class _Given(NamedTuple):
    """A sound, and what else a mapping says of it."""

    sound: Sound
    more: Mapping[str, Any]

    @classmethod
    def of(cls, given: Any) -> _Given:
        """Raises InputError."""
        if not isinstance(given, Mapping):
            return cls(open_sound(given), {})
        if given.get("stride") is not None:
            raise InputError("stride is of models that are trained by CTC; leave it out")
        more = {name: value for name, value in given.items() if name not in (*_NOT_PASSED_ON, "stride")}
        return cls(open_sound(given), more)

    def with_more(self, result: Result) -> Result:
        """As transformers has it: a list for each key, of a value for each of the chunks it was in."""
        return result | {str(name): [value] for name, value in self.more.items()}


def _named(number: int, do: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns. Raises its InputError with the place of the sound."""
    try:
        return do(*arguments)
    except InputError as error:
        raise InputError(f"sound {number}: {error}") from error


def _are_several(inputs: object) -> bool:
    """Whether it is a list or a stream of sounds. Texts, bytes in memory, open files and arrays are one sound each."""
    alone = isinstance(inputs, str | bytes | bytearray | memoryview | np.ndarray) or hasattr(inputs, "read")
    return not alone and isinstance(inputs, Iterator | Sequence)
