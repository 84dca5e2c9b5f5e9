"""Speech without its long pauses: a model hears only where somebody speaks, and times are those of the whole sound."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Float32
from ..inputs.audio import SAMPLING_RATE, LogMel, Sound
from .joints import Joints, Span
from .segments import NO_VOICE, Segment
from .vocabulary import Vocabulary
from .voice import PADDING, heard_in, quietest, widened

if TYPE_CHECKING:
    from ..graphs.running import CancelToken
    from .options import SpeechOptions
    from .transcriber import Transcriber

_CLIP = 20 * SAMPLING_RATE  # samples that a model which reads clips whole is given at once
_LONG = 2 * SAMPLING_RATE  # samples: shorter pauses stay, since they tell a model where sentences end


class Stretches:
    """Some stretches of a sound, one after the other. See fuseline.inputs.sounds.recording.

    stretches: (start, end) in samples of the sound, in order and apart.
    """

    sampling_rate = SAMPLING_RATE

    def __init__(self, sound: Sound, stretches: Sequence[tuple[int, int]]) -> None:
        self.name = sound.name
        self._sound, self._stretches = sound, stretches
        self._begins = [0, *accumulate(end - start for start, end in stretches)]  # of each here, and the end of all
        self.frames: int | None = self._begins[-1]

    def blocks(self, start: int) -> Iterator[Float32]:
        """float32[n, 1] from sample `start` on."""
        first = bisect_right(self._begins, start) - 1
        wanted = list(self._stretches[first:])
        if not wanted:
            return
        at = wanted[0][0] + start - self._begins[first]  # of the whole sound
        for block in self._sound.blocks(at):
            while wanted:
                begin, end = wanted[0]
                part = block[max(0, begin - at) : max(0, end - at)]
                if part.size:
                    yield part[:, None]
                if end > at + len(block):
                    break
                wanted.pop(0)
            if not wanted:
                return
            at += len(block)

    def time(self, seconds: float) -> float:
        """When in the whole sound the first `seconds` here are over."""
        at = min(max(seconds * SAMPLING_RATE, 0.0), self._begins[-1])
        place = max(bisect_left(self._begins, at) - 1, 0)
        return (self._stretches[place][0] + at - self._begins[place]) / SAMPLING_RATE


class OfVoices:
    """The segments of the voices in a sound alone, one after the other, as Transcriber.transcribe gives them.

    What lies two seconds and more from all voices does not reach the model. It is a segment without text that is
    dropped for "no voice". Reading the sound for its voices is the first thing that iterating does.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        sound: Sound,
        options: SpeechOptions,
        *,
        cancel: CancelToken | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self._transcriber, self._sound, self._options = transcriber, sound, options
        self._cancel, self._progress = cancel, progress
        self.language: str | None = None
        """its code, once it is known"""
        self.duration = 0.0
        """seconds of the sound, once it is known"""

    def __iter__(self) -> Iterator[Segment]:
        """Raises Cancelled, and InputError for a sound that cannot be read."""
        bare, samples = heard_in(self._sound, 0.0)
        voices = widened(bare, round(PADDING * SAMPLING_RATE), samples)
        self.duration = samples / SAMPLING_RATE
        in_windows = isinstance(self._transcriber.model.inputs.features, LogMel)  # type: ignore[union-attr]
        kept = _with_short_pauses(voices, samples) if in_windows else _clips(voices, self._most)
        left_out = _left_out(kept, samples)
        spans = _spans(kept, bare)
        for segment in self._of_windows(kept, spans) if in_windows else self._of_clips(kept, spans):
            while left_out and left_out[0].start < segment.start:
                yield left_out.pop(0)
            yield segment
        yield from left_out

    def _of_windows(self, kept: Sequence[tuple[int, int]], spans: Sequence[Span]) -> Iterator[Segment]:
        """All stretches as one sound, for a model that knows times."""
        if not kept:
            return
        stretches, joints, tell = Stretches(self._sound, kept), Joints(spans, self._text), self._progress
        running = self._transcriber.transcribe(
            Sound(stretches),
            self._options,
            cancel=self._cancel,
            progress=None if tell is None else lambda seconds: tell(stretches.time(seconds)),
        )
        for segment in running:
            self.language = running.language
            yield from joints.placed(segment)

    def _text(self, tokens: Sequence[int]) -> str:
        model = self._transcriber.model
        kept = [token for token in tokens if token < Vocabulary.of(model).first_special]
        return model.decode([kept])[0] if kept else ""

    def _of_clips(self, kept: Sequence[tuple[int, int]], spans: Sequence[Span]) -> Iterator[Segment]:
        """One stretch after the other, for a model that reads clips whole; one that is too long in parts."""
        blocks, waiting = Sound(Stretches(self._sound, kept)).blocks() if kept else iter(()), np.zeros(0, np.float32)
        for (start, end), span in zip(kept, spans, strict=True):
            at = start
            while at < end:
                while len(waiting) < min(self._most, end - at) and (block := next(blocks, None)) is not None:
                    waiting = np.concatenate([waiting, block])
                most = min(self._most, end - at, len(waiting))
                count = quietest(waiting[:most]) if at + most < end else most
                if not count:  # the sound is shorter than it was
                    return
                for segment in self._transcriber.transcribe(waiting[:count], self._options, cancel=self._cancel):
                    begin, stop = span.within(at / SAMPLING_RATE + segment.start, at / SAMPLING_RATE + segment.end)
                    yield replace(segment, start=begin, end=stop)
                waiting, at = waiting[count:], at + count
                if self._progress is not None:
                    self._progress(at / SAMPLING_RATE)

    @property
    def _most(self) -> int:
        """Samples of a clip."""
        source = self._transcriber.model.folder.source
        return _CLIP if source.longest is None else min(_CLIP, source.longest * (source.samples_a_position or 1))


def _clips(voices: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Stretches that are as long as they may be and end where nobody speaks; a voice that is longer is one alone."""
    found: list[tuple[int, int]] = []
    for start, end in voices:
        if found and end - found[-1][0] <= most and start - found[-1][1] < _LONG:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _with_short_pauses(voices: Sequence[tuple[int, int]], samples: int) -> list[tuple[int, int]]:
    """The stretches that reach the model: voices, and pauses between, before and after them that are no long ones."""
    kept: list[tuple[int, int]] = []
    for start, end in voices:
        before = kept[-1][1] if kept else 0
        if start - before >= _LONG:
            kept.append((start, end))
        elif kept:
            kept[-1] = (kept[-1][0], end)
        else:
            kept.append((0, end))
    if kept and samples - kept[-1][1] < _LONG:
        kept[-1] = (kept[-1][0], samples)
    return kept


def _spans(kept: Sequence[tuple[int, int]], voices: Sequence[tuple[int, int]]) -> list[Span]:
    """The stretches, and where the voices in them begin and end. voices: without what is kept around them."""
    found = []
    for start, end in kept:
        inside = [voice for voice in voices if start <= voice[0] and voice[1] <= end]
        found.append(Span(*(at / SAMPLING_RATE for at in (start, end, inside[0][0], inside[-1][1]))))
    return found


def _left_out(kept: Sequence[tuple[int, int]], samples: int) -> list[Segment]:
    edges = [0, *(edge for stretch in kept for edge in stretch), samples]
    return [
        Segment(start / SAMPLING_RATE, end / SAMPLING_RATE, "", (), 0.0, 0.0, 0.0, 0.0, dropped=NO_VOICE)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if end > start
    ]
