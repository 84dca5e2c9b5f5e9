"""A sound of any length, window after window: each begins where the last whole segment of the one before ended.

As `WhisperGenerationMixin.generate` of transformers 4.57 does it (models/whisper/generation_whisper.py), which is
https://arxiv.org/abs/2212.04356, section 3.8, in its own words. Frames are of 10 ms; a window has as many of
them as the encoder reads, 3,000.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..arrays import Float32
from ..folders.tensors import INPUT_FEATURES
from ..graphs.running import RunEnded
from .budget import Budget
from .context import Context
from .cuts import FRAME, cut, seconds
from .options import SpeechOptions
from .segments import AFTER_THE_END, LOOP, NO_SPEECH, Segment
from .spoken import WordFinder, check_heads
from .vocabulary import Vocabulary
from .window import Decoded, WindowDecoder, next_tokens

if TYPE_CHECKING:
    from ..graphs.contract import Encoded
    from ..model import Model

_SILENCE = 0.6  # the probability above which nobody speaks, where nobody says which
_DRAWN = 0.5  # the temperature from which on what was said is nothing to go on from


class Windows(Protocol):
    """The features of a whole sound."""

    frames: int

    def at(self, frame: int, count: int) -> Float32:
        """float32[M, count] from this frame on, 0 after the end."""
        ...


class Padded:
    """The features of a sound of one window, the silence after its end included: Windows of float32[M, F]."""

    def __init__(self, features: Float32) -> None:
        self._features = features
        self.frames = features.shape[1]

    def at(self, frame: int, count: int) -> Float32:
        found = self._features[:, frame : frame + count]
        return np.pad(found, ((0, 0), (0, count - found.shape[1])))


@dataclass(frozen=True)
class Framed:
    """A sound that is to be transcribed. windows: its features; window: frames that the encoder reads at once;
    duration: seconds of it, without padding."""

    windows: Windows
    window: int
    duration: float

    @property
    def end(self) -> int:
        """The frame at which it ends; one that is begun counts, as in transformers' masks."""
        return min(self.windows.frames, math.ceil(round(self.duration / FRAME, 3)))


class LongForm:
    """One transcription in progress. language: its code, once it is known; out_of_time: whether it ended early."""

    def __init__(
        self, model: Model, vocabulary: Vocabulary, options: SpeechOptions, timestamps: bool, budget: Budget
    ) -> None:
        """timestamps: whether the texts have them. Raises InputError for an option that this model cannot follow."""
        self._model, self._vocabulary, self._options = model, vocabulary, options
        self._timestamps, self._budget = timestamps, budget
        self.language: str | None = None
        self.out_of_time = False
        rules = vocabulary.timestamps(options.max_initial_timestamp) if timestamps else None
        self._decoder = WindowDecoder(model, options, rules)
        if options.words:
            check_heads(vocabulary)
        self._context: Context | None = None
        if vocabulary.listens(options.language, options.task):
            self._begun(next(iter(vocabulary.languages.values())))  # as long as any, to see whether there is room
            self.language = None
        else:
            self._context = self._begun(None)

    def segments(self, sound: Framed, progress: Callable[[float], None] | None = None) -> Iterator[Segment]:
        """The segments as they are done, until the time is over. progress: called with seconds of the sound.

        Raises Cancelled.
        """
        seek = 0
        end = sound.end if self._options.drop_silence else sound.windows.frames
        while seek < end and not self.out_of_time:
            if progress is not None:
                progress(min(seek * FRAME, sound.duration))
            try:
                found, offset = self._window(sound, seek)
            except RunEnded:
                self.out_of_time = True
                return
            yield from (self._judged(each, sound.duration) for each in found)
            seek += offset
        if progress is not None and not self.out_of_time:
            progress(sound.duration)

    def _window(self, sound: Framed, seek: int) -> tuple[list[Segment], int]:
        """The segments of the window from this frame on, and how many frames after it the next one begins.

        Raises Cancelled, RunEnded.
        """
        frames = min(sound.windows.frames - seek, sound.window)
        encoded = self._encoded(sound.windows.at(seek, sound.window))
        whole = Segment(seconds(seek), seconds(seek + frames), "", (), 0.0, 0.0, 0.0, 0.0)
        silence, context = self._listened(encoded)
        whole = replace(whole, no_speech_prob=silence)
        if context is None:
            return [replace(whole, dropped=NO_SPEECH)], frames
        prompt = context.prompt
        found = self._decoder.decode(encoded, prompt, silence, self._budget)
        self.out_of_time = found.finish_reason == "max_time"
        context.follows = self._options.condition_on_prev_tokens and found.temperature < _DRAWN
        whole = self._measured(whole, found)
        if self._decoder.silent(found, silence) and not self.out_of_time:
            return [replace(whole, dropped=NO_SPEECH)], frames
        cuts, offset = cut(found.tokens, self._vocabulary.first_timestamp, seek, frames)
        segments = [
            replace(whole, start=each.start_time, end=each.end_time, **self._said(found, each.begin, each.end))
            for each in cuts
        ]
        if self._options.words:
            finder = WordFinder(self._model, self._vocabulary, self.language)
            words = finder.words(encoded, prompt, found, cuts, seconds(seek), sound.end - seek, self._budget)
            segments = [
                replace(each, words=own, times=times) for each, (own, times) in zip(segments, words, strict=True)
            ]
        for each in segments:
            if each.dropped is None:
                context.add(each.tokens)
        # A text that is to have no timestamps may begin with two by chance, and must not begin again for ever.
        return segments, offset if offset > 0 else frames

    def _encoded(self, features: Float32) -> Encoded:
        with self._budget.limit():
            return self._model.encode({INPUT_FEATURES: np.ascontiguousarray(features[None])})

    def _listened(self, encoded: Encoded) -> tuple[float, Context | None]:
        """How probable it is that nobody speaks (WhisperNoSpeechDetection), and the context, with the language that is
        heard (`detect_language`); no context for a window that is left out, whose language says nothing of others."""
        vocabulary, context, silence = self._vocabulary, self._context, 0.0
        for _ in range(2):  # again once the language is known and with it what stands before the window
            prompt = (vocabulary.start,) if context is None else context.until_start
            logprobs = next_tokens(self._model, encoded, prompt, self._budget)
            silence = 0.0 if vocabulary.no_speech is None else float(np.exp(logprobs[vocabulary.no_speech]))
            if self._options.drop_silence and silence > self._threshold:
                return silence, None
            if context is None:
                tokens = sorted(vocabulary.languages.values())
                context = self._context = self._begun(tokens[int(logprobs[tokens].argmax())])
            if context.until_start == prompt:
                break
        return silence, context

    def _begun(self, heard: int | None) -> Context:
        """What every text begins with, now that the language is known. heard: the token of the one that was heard."""
        options, vocabulary = self._options, self._vocabulary
        begin = vocabulary.begin(options.language, options.task, heard, self._timestamps)
        self.language = vocabulary.language_of(begin)
        return Context(self._model, vocabulary, begin, options)

    @property
    def _threshold(self) -> float:
        given = self._options.no_speech_threshold
        return _SILENCE if given is None else given

    def _measured(self, whole: Segment, found: Decoded) -> Segment:
        """The whole window as one segment, with what was measured of it."""
        return replace(
            whole,
            **self._said(found, 0, len(found.tokens)),
            avg_logprob=found.avg_logprob,
            compression_ratio=found.compression_ratio,
            temperature=found.temperature,
            dropped=LOOP if self._options.drop_loops and found.loops else None,
        )

    def _said(self, found: Decoded, begin: int, end: int) -> dict[str, Any]:
        """The tokens of a segment and their text."""
        tokens = found.tokens[begin:end]
        text = [token for token in tokens if token < self._vocabulary.first_special]
        return {"tokens": tokens, "text": self._model.decode([text])[0] if text else ""}

    def _judged(self, segment: Segment, duration: float) -> Segment:
        """The segment within the sound, and with drop_silence left out where it begins after it."""
        late = self._options.drop_silence and segment.start >= duration and segment.dropped is None
        return within(replace(segment, dropped=AFTER_THE_END) if late else segment, duration)


def within(segment: Segment, duration: float) -> Segment:
    """The segment and its words, none of them after the end of the sound, nor ending before they begin."""
    start, end = min(segment.start, duration), min(max(segment.end, segment.start), duration)
    words = tuple(
        replace(word, start=min(word.start, duration), end=min(max(word.end, word.start), duration))
        for word in segment.words
    )
    return replace(segment, start=start, end=end, words=words)
