"""What is said of a sound: segments with their times, words of them, and the whole transcription.

All times are seconds from the beginning of the sound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Why a segment is not in the text: Segment.dropped.
NO_SPEECH, LOOP, NO_VOICE, AFTER_THE_END = "no speech", "loop", "no voice", "after the end"


@dataclass(frozen=True)
class Word:
    """A word and when it is said."""

    text: str
    """with the space before it and the punctuation beside it"""
    start: float
    end: float
    probability: float
    """the mean over its tokens"""


@dataclass(frozen=True)
class Segment:
    """A stretch of the sound and what is said in it. Those of one window share what is measured of the window."""

    start: float
    end: float
    """at least `start`, and never after the end of the sound"""
    text: str
    """as the tokens have it: most begin with a space"""
    tokens: tuple[int, ...]
    """those of the text and the timestamps around it; neither the prompt nor the end token"""
    avg_logprob: float
    """the mean log-probability of the window's tokens, its end token among them"""
    no_speech_prob: float
    """how probable it was that nobody speaks in the window; 0 where the model has no token for it"""
    compression_ratio: float
    """how far zlib packs the window's tokens: above 2.4 they say the same again and again"""
    temperature: float
    """the one the window was decoded with; 0 where nothing was sampled"""
    dropped: str | None = None
    """why it is not in the text, None where it is: "no speech", "loop", "no voice", and "after the end" of the sound"""
    words: tuple[Word, ...] = ()
    """where words were asked for"""
    times: tuple[float, ...] = ()
    """by when each of the tokens was said, where words were asked for"""


@dataclass(frozen=True)
class Transcription:
    """All that is said of one sound."""

    text: str
    segments: tuple[Segment, ...]
    """those that were dropped too, in the order of time"""
    language: str | None
    """its code, "en"; None of a model that knows one language"""
    duration: float
    """seconds of the sound"""

    @classmethod
    def of(cls, segments: Iterable[Segment], language: str | None, duration: float) -> Transcription:
        """The segments, and the text of those that are not dropped."""
        kept = tuple(segments)
        return cls("".join(each.text for each in kept if each.dropped is None), kept, language, duration)

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """What is not dropped, as transformers' pipeline gives it: [{"text": ..., "timestamp": (start, end)}].

        Of words where there are words, else of segments. An end is never None.
        """
        kept = [segment for segment in self.segments if segment.dropped is None]
        said = [word for segment in kept for word in segment.words] or kept
        return [{"text": each.text, "timestamp": (each.start, each.end)} for each in said]
