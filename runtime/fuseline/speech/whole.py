"""A clip that is read whole: what Moonshine does, whose encoder takes the samples of one utterance.

Its text is that of plain generation (transformers 4.57, models/moonshine).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import InputError, written
from ..graphs.running import RunEnded
from ..inputs.audio import SAMPLING_RATE, RawSamples, Sound
from .budget import Budget
from .options import SpeechOptions
from .reading import beginning
from .segments import LOOP, Segment
from .vocabulary import AUTO
from .window import WindowDecoder

if TYPE_CHECKING:
    from ..model import Model

# Options that need tokens which these models do not have. That the times of the one segment are asked for is no harm.
_OF_WHISPER = (
    "language",
    "task",
    "return_timestamps",
    "prompt",
    "prompt_ids",
    "hotwords",
    "condition_on_prev_tokens",
    "max_initial_timestamp",
)


class WholeClip:
    """One transcription in progress. See transcriber.Transcribing."""

    language: str | None = None  # these models know one

    def __init__(
        self,
        model: Model,
        samples_as_inputs: RawSamples,
        sound: Sound,
        options: SpeechOptions,
        budget: Budget,
        progress: Callable[[float], None] | None,
    ) -> None:
        """Raises InputError for an option of Whisper's, and for a sound that is longer than the model reads at once."""
        for name in _OF_WHISPER:
            value = getattr(options, name)
            if value not in (None, False, AUTO) and not (name == "return_timestamps" and value is True):
                raise InputError(
                    f"{name}={written(value)} needs tokens that this model does not have: it knows one language and no "
                    f"times; leave {name} out, or use a model of Whisper"
                )
        source = model.folder.source
        most = None if source.longest is None else source.longest * (source.samples_a_position or 1)
        self._samples = beginning(sound, None if most is None else most + 1)
        self.duration = len(self._samples) / SAMPLING_RATE
        if most is not None and len(self._samples) > most:
            raise InputError(
                f"{sound.name} lasts longer than the {most / SAMPLING_RATE:.1f} s that this model reads at once; cut "
                "it at pauses, or use a model of Whisper, which reads sounds of any length"
            )
        self._model, self._inputs, self._options = model, samples_as_inputs, options
        self._budget, self._progress = budget, progress
        self._decoder = WindowDecoder(model, options, None)
        self.out_of_time = False

    def segments(self) -> Iterator[Segment]:
        """The one segment. Raises Cancelled."""
        model = self._model
        prompt = model.generation_config.prompt(1)[0].tolist()
        try:
            with self._budget.limit():
                encoded = model.encode(self._inputs([self._samples]))
            found = self._decoder.decode(encoded, prompt, 0.0, self._budget)
        except RunEnded:
            self.out_of_time = True
            return
        self.out_of_time = found.finish_reason == "max_time"
        yield Segment(
            start=0.0,
            end=self.duration,
            text=model.decode([list(found.tokens)])[0] if found.tokens else "",
            tokens=found.tokens,
            avg_logprob=found.avg_logprob,
            no_speech_prob=0.0,
            compression_ratio=found.compression_ratio,
            temperature=found.temperature,
            dropped=LOOP if self._options.drop_loops and found.loops else None,
        )
        if self._progress is not None:
            self._progress(self.duration)
