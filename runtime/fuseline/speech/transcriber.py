"""From a sound to what is said in it: the sound opened, the model's own way taken, segments as they are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import InputError, written
from ..folders.tensors import SPEECH
from ..graphs.running import CancelToken
from ..inputs.audio import SAMPLING_RATE, LogMel, RawSamples, Sound, open_sound
from .budget import Budget
from .cuts import FRAME
from .long_form import Framed, LongForm, Padded, Windows
from .options import SpeechOptions
from .reading import beginning
from .segments import Segment, Transcription
from .vocabulary import Vocabulary
from .whole import WholeClip

if TYPE_CHECKING:
    from ..model import Model

Progress = Callable[[float], None]

_PLAIN = SpeechOptions()


class Transcriber:
    """Transcribes sounds with one model. Safe to share between threads."""

    def __init__(self, model: Model) -> None:
        """Raises InputError for a model that reads no speech, FolderError for what its files say of speech wrongly."""
        reads = model.folder.source.reads
        if reads != SPEECH:
            raise InputError(f"the model in {model.folder.path} reads {reads}s and no speech; open one of Whisper")
        if model.folder.fusion is not None:
            raise InputError(
                f"the model in {model.folder.path} reads several sources, and is no transcriber of speech alone; "
                "Model.generate takes what Model.inputs_of makes"
            )
        self.model = model
        self._features: LogMel | RawSamples = model.inputs.features  # type: ignore[union-attr]  # since it reads speech
        self._vocabulary = Vocabulary.of(model) if isinstance(self._features, LogMel) else None

    def transcribe(
        self,
        sound: Any,
        options: SpeechOptions = _PLAIN,
        *,
        cancel: CancelToken | None = None,
        progress: Progress | None = None,
    ) -> Transcribing:
        """The segments of a sound, one after the other, each as soon as it is done.

        sound: a Sound, or what open_sound takes. It is read in blocks, so that memory does not grow with its length.
        cancel: looked at before every step. progress: called with the seconds of the sound that are done. What can be
        checked at once is when this returns, and raises InputError; the rest happens while the result is iterated over,
        which raises Cancelled, and InputError for a sound that cannot be read to its end.
        """
        if not isinstance(options, SpeechOptions):
            raise InputError(f"options must be SpeechOptions, not {written(options)}")
        opened = sound if isinstance(sound, Sound) else open_sound(sound)
        budget = Budget(options.max_time, cancel)
        if isinstance(self._features, LogMel) and self._vocabulary is not None:
            self._vocabulary.check(options.language, options.task)
            return Transcribing(
                _Windowed(self.model, self._features, self._vocabulary, opened, options, budget, progress)
            )
        assert isinstance(self._features, RawSamples)
        return Transcribing(WholeClip(self.model, self._features, opened, options, budget, progress))

    def transcription(
        self,
        sound: Any,
        options: SpeechOptions = _PLAIN,
        *,
        cancel: CancelToken | None = None,
        progress: Progress | None = None,
    ) -> Transcription:
        """All of it at once; see `transcribe`."""
        running = self.transcribe(sound, options, cancel=cancel, progress=progress)
        segments = list(running)
        return Transcription.of(segments, running.language, running.duration)


class _Run(Protocol):
    """One transcription in progress, whatever the model does."""

    @property
    def language(self) -> str | None: ...

    @property
    def duration(self) -> float: ...

    @property
    def out_of_time(self) -> bool: ...

    def segments(self) -> Iterator[Segment]: ...


class Transcribing(Iterator[Segment]):
    """The segments of one sound, as they are done, and what is known of it meanwhile."""

    def __init__(self, run: _Run) -> None:
        self._run, self._segments = run, run.segments()

    def __iter__(self) -> Transcribing:
        return self

    def __next__(self) -> Segment:
        return next(self._segments)

    @property
    def language(self) -> str | None:
        """Its code, once it was heard; None of a model that knows one language."""
        return self._run.language

    @property
    def duration(self) -> float:
        """Seconds of the sound, as far as it was read."""
        return self._run.duration

    @property
    def out_of_time(self) -> bool:
        """Whether max_time was over before the sound was."""
        return self._run.out_of_time


class _Windowed:
    """Whisper's way: windows of 30 s."""

    def __init__(
        self,
        model: Model,
        log_mel: LogMel,
        vocabulary: Vocabulary,
        sound: Sound,
        options: SpeechOptions,
        budget: Budget,
        progress: Progress | None,
    ) -> None:
        self._log_mel, self._sound, self._progress = log_mel, sound, progress
        longer = log_mel.samples + log_mel.samples // log_mel.frames  # by a frame
        self._first = beginning(sound, longer)  # samples
        self._is_long = len(self._first) >= longer
        self.duration = len(self._first) / SAMPLING_RATE
        asked = options.return_timestamps
        if self._is_long and asked is False:
            raise InputError(
                f"{sound.name} lasts longer than a window of {log_mel.frames * FRAME:.0f} s, and without timestamps "
                "nothing says where the next one begins; give return_timestamps=True, or leave it out"
            )
        default = self._is_long or model.folder.generation_config.get("return_timestamps") is True
        self._form = LongForm(model, vocabulary, options, default if asked is None else bool(asked), budget)

    @property
    def language(self) -> str | None:
        return self._form.language

    @property
    def out_of_time(self) -> bool:
        return self._form.out_of_time

    def segments(self) -> Iterator[Segment]:
        windows: Windows
        if len(self._first) <= self._log_mel.samples:
            windows = Padded(self._log_mel([self._first])["input_features"][0])
        else:
            windows = self._log_mel.windows(self._sound)  # which reads all of it once
        if self._is_long:
            self.duration = windows.frames * FRAME
        yield from self._form.segments(Framed(windows, self._log_mel.frames, self.duration), self._progress)
