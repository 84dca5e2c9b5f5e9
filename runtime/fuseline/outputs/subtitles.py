"""What was said, in the formats that players and programs read.

SubRip (.srt) has no standard; WebVTT (.vtt) is W3C's, https://www.w3.org/TR/webvtt1/. The table (.tsv) has the columns
of the reference command of Whisper: start and end in milliseconds, text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from ..errors import InputError, written
from .cues import Cue, Spoken, clean, cues

LINE_FORMATS = ("txt", "srt", "vtt", "tsv")  # those that can be written while segments come
FORMATS = (*LINE_FORMATS, "json")


class Transcript(Protocol):
    """What fuseline.speech.segments.Transcription is."""

    @property
    def text(self) -> str: ...
    @property
    def segments(self) -> Sequence[Spoken]: ...
    @property
    def language(self) -> str | None: ...
    @property
    def duration(self) -> float: ...


def subtitles(transcript: Transcript, format: str) -> str:
    """The whole content of a file. format: one of FORMATS. Raises InputError for another."""
    if format == "json":
        return json.dumps(record(transcript), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    return "".join(written_as(format, transcript.segments, transcript.duration))


def record(transcript: Transcript) -> dict[str, Any]:
    """All that is known, as JSON has it: {"text", "language", "duration", "segments"}; infinity and NaN are null."""
    return {
        "text": transcript.text,
        "language": transcript.language,
        "duration": _finite(transcript.duration),
        "segments": [segment_record(segment) for segment in transcript.segments],
    }


def segment_record(segment: Spoken) -> dict[str, Any]:
    """A segment's fields by their names, those of its words too."""
    found: dict[str, Any] = _finite(asdict(segment))
    return found


def written_as(format: str, segments: Iterable[Spoken], duration: float = math.inf) -> Iterator[str]:
    """The content of a file in pieces of whole lines, as soon as the segments are there. Dropped ones are left out.

    format: one of LINE_FORMATS. duration: seconds of the whole sound, where that is known: no cue lasts longer. Raises
    InputError for another format.
    """
    if format == "txt":
        return (f"{text}\n" for segment in segments if segment.dropped is None and (text := clean(segment.text)))
    if format == "tsv":
        return _table(segments)
    if format == "srt":
        return _srt(cues(segments, duration))
    if format == "vtt":
        return _vtt(cues(segments, duration))
    raise InputError(f"format must be one of {', '.join(LINE_FORMATS)}, not {written(format)}")


def _table(segments: Iterable[Spoken]) -> Iterator[str]:
    yield "start\tend\ttext\n"
    for segment in segments:
        if segment.dropped is None and (text := clean(segment.text)):
            yield f"{round(1000 * segment.start)}\t{round(1000 * segment.end)}\t{text}\n"


def _srt(coming: Iterable[Cue]) -> Iterator[str]:
    """What looks like the arrow between two times is made shorter: there is no way to escape it."""
    for number, cue in enumerate(coming, 1):
        times = f"{_time(cue.start, ',')} --> {_time(cue.end, ',')}"
        text = "\n".join(cue.lines).replace("-->", "->")
        yield f"{'' if number == 1 else chr(10)}{number}\n{times}\n{text}\n"


def _vtt(coming: Iterable[Cue]) -> Iterator[str]:
    yield "WEBVTT\n"
    for cue in coming:
        text = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        yield f"\n{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n{text}\n"


def _time(milliseconds: int, point: str) -> str:
    """Hours, which may have more than two digits, minutes, seconds and milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{rest:03}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
