"""Speech without its long pauses: a model hears only where somebody speaks, and times are those of the whole sound."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from ..arrays import Float32
from ..inputs.audio import SAMPLING_RATE, Sound
from .segments import NO_VOICE, Segment, Word
from .voice import heard_in

if TYPE_CHECKING:
    from ..graphs.running import CancelToken
    from .options import SpeechOptions
    from .transcriber import Transcriber

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

    def time(self, seconds: float, end: bool = False) -> float:
        """The time in the whole sound of a time here. end: of what ends then, which is before a pause, not after it."""
        at = min(max(seconds * SAMPLING_RATE, 0.0), self._begins[-1])
        place = (bisect_left if end else bisect_right)(self._begins, at) - 1
        place = min(max(place, 0), len(self._stretches) - 1)
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
        voices, samples = heard_in(self._sound)
        self.duration = samples / SAMPLING_RATE
        kept = _with_short_pauses(voices, samples)
        left_out = _left_out(kept, samples)
        for segment in self._segments(kept) if kept else ():
            while left_out and left_out[0].start < segment.start:
                yield left_out.pop(0)
            yield segment
        yield from left_out

    def _segments(self, kept: Sequence[tuple[int, int]]) -> Iterator[Segment]:
        stretches, tell = Stretches(self._sound, kept), self._progress
        running = self._transcriber.transcribe(
            Sound(stretches),
            self._options,
            cancel=self._cancel,
            progress=None if tell is None else lambda seconds: tell(stretches.time(seconds, end=True)),
        )
        for segment in running:
            self.language = running.language
            yield _moved(segment, stretches)


def _with_short_pauses(voices: Sequence[tuple[int, int]], samples: int) -> list[tuple[int, int]]:
    """The stretches that reach the model: voices and the pauses between, before and after them that are no long ones."""
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


def _left_out(kept: Sequence[tuple[int, int]], samples: int) -> list[Segment]:
    edges = [0, *(edge for stretch in kept for edge in stretch), samples]
    return [
        Segment(start / SAMPLING_RATE, end / SAMPLING_RATE, "", (), 0.0, 0.0, 0.0, 0.0, dropped=NO_VOICE)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if end > start
    ]


def _moved(segment: Segment, stretches: Stretches) -> Segment:
    """The segment at its times in the whole sound."""

    def time(each: Segment | Word) -> dict[str, float]:
        return {"start": stretches.time(each.start), "end": stretches.time(each.end, end=True)}

    words = tuple(replace(word, **time(word)) for word in segment.words)
    return replace(segment, **time(segment), words=words)
