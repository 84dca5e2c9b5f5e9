"""What is said in portions that people can read while it is said: the cues of subtitles.

Their sizes are those that broadcasters agree on: two lines of 42 columns, up to seven seconds.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, ClassVar, NamedTuple, Protocol

COLUMNS = 42  # of a line
SHORTEST, LONGEST = 700, 7000  # milliseconds that a cue is seen
_PAUSE = 1000  # milliseconds in which nothing is said, before which a cue had better end

_SENTENCE_ENDS = ".?!…。！？؟।"
_CLAUSE_ENDS = ",;:、，；：،"
_NO_ENDS = re.compile(r"(?:^|[\s(\"'“‘-])(?:Mr|Mrs|Ms|Dr|St|Prof|[A-HJ-Z])\.$")  # titles and initials; I ends sentences
_CLOSING = "\"'”’»)]」』）"  # what may stand between such a mark and the next word
_AFTER_WIDE_MARK = re.compile(r"(?<=[、。，．！？；：])")  # marks after which scripts without spaces go on at once


class SpokenWord(Protocol):
    """A word and its time in seconds; its text begins with the space before it."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


class Spoken(Protocol):
    """A stretch of speech, its times in seconds, as a dataclass: what fuseline.speech.segments.Segment is."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def words(self) -> Sequence[SpokenWord]: ...
    @property
    def dropped(self) -> str | None: ...


class Cue(NamedTuple):
    """What is seen at once: one or two lines, from `start` to `end` milliseconds."""

    start: int
    end: int
    lines: tuple[str, ...]


class _Portion(NamedTuple):
    """A cue whose text is not in lines yet, and whose times may move."""

    start: int
    end: int
    text: str


class _Piece(NamedTuple):
    """What stays together on a line: a word, or a part of a text in a script without spaces."""

    text: str
    spaced: bool  # whether a space goes before it
    at: int  # its first character's place in the text


def cues(segments: Iterable[Spoken], duration: float = math.inf) -> Iterator[Cue]:
    """The segments that are not dropped as cues: in order, none over another, each long enough to be read where there
    is room for it. They come as soon as the cue after them is known.

    duration: seconds of the whole sound, beyond which no cue lasts. A cue is split where a sentence, a clause or at
    least a word ends. A word's time is its own where the segment has its words, else it is in proportion to the
    characters.
    """
    portions = (portion for segment in segments if segment.dropped is None for portion in _portions(segment))
    for start, end, text in _apart(portions, duration):
        yield Cue(start, end, fold(text) or (text,))


def fold(text: str) -> tuple[str, ...] | None:
    """A text as one line, or as two of about the same width; None where it needs more. A single space is where any
    white space was."""
    return _folded(pieces(text))


def clean(text: str) -> str:
    """The text on one line, without the control characters that no subtitle can show."""
    return " ".join("".join(" " if each.isspace() else each for each in text if _shown(each)).split())


def _shown(each: str) -> bool:
    return each.isspace() or unicodedata.category(each) not in ("Cc", "Cs")


def width(text: str) -> int:
    """Columns: two of a letter of Chinese, Japanese or Korean, none of a mark that goes onto another character."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def pieces(text: str) -> list[_Piece]:
    """What lines are put together of, each at most COLUMNS wide."""
    found = []
    for word in re.finditer(r"\S+", text):
        at = word.start()
        for number, part in enumerate(_parts(word[0])):
            found.append(_Piece(part, not number, at))
            at += len(part)
    return found


def _parts(word: str) -> Iterator[str]:
    """A word that is no wider than a line is itself, unless it is a text in a script without spaces."""
    for clause in _AFTER_WIDE_MARK.split(word):
        if width(clause) <= COLUMNS:
            if clause:
                yield clause
            continue
        most = width(clause) / -(-width(clause) // COLUMNS)  # parts of like widths
        part = ""
        for each in clause:
            if part and width(part + each) > max(most, 2):
                yield part
                part = ""
            part += each
        yield part


def _joined(found: Sequence[_Piece]) -> str:
    return "".join(" " * each.spaced + each.text for each in found).strip()


def _folded(found: Sequence[_Piece]) -> tuple[str, ...] | None:
    widths = [each.spaced + width(each.text) for each in found]
    whole = sum(widths)
    if whole - bool(found and found[0].spaced) <= COLUMNS:
        return (_joined(found),)
    best, least = 0, math.inf
    for at, left in enumerate(accumulate(widths[:-1]), 1):
        first, second = left - found[0].spaced, whole - left - found[at].spaced
        if first <= COLUMNS and second <= COLUMNS:
            cost = abs(first - second) + 20 * _weight_of_end(found[at - 1].text)
            best, least = (at, cost) if cost < least else (best, least)
    return (_joined(found[:best]), _joined(found[best:])) if best else None


def _weight_of_end(text: str) -> float:
    """How bad it is to go on elsewhere after a piece: 0 after a sentence, 1 inside a clause."""
    if _NO_ENDS.search(text):
        return 1.0
    last = text.rstrip(_CLOSING)[-1:]
    if last and last in _SENTENCE_ENDS:
        return 0.0
    return 0.5 if last and last in _CLAUSE_ENDS else 1.0


class _Clock:
    """When each character of a text is said, in milliseconds."""

    def __init__(self, segment: Spoken) -> None:
        words = segment.words if clean("".join(word.text for word in segment.words)) == clean(segment.text) else ()
        self.text = "".join(word.text for word in words) if words else segment.text
        spans = [(word.text, word.start, word.end) for word in words] or [(self.text, segment.start, segment.end)]
        self._at: list[int] = []  # the first letter of each span
        self._spans: list[tuple[int, int, int]] = []  # its letters, its start and its end
        at, least = 0, 0
        for text, start, end in spans:
            blank = len(text) - len(text.lstrip())
            begun, ended = max(least, round(1000 * start)), max(least, round(1000 * start), round(1000 * end))
            self._at.append(at + blank)
            self._spans.append((max(1, len(text.rstrip()) - blank), begun, ended))
            at, least = at + len(text), ended

    def time(self, first: int, end: int) -> tuple[int, int]:
        """Of the characters from `first` up to `end`, neither of which is a space."""
        return self._edge(first, first), self._edge(end - 1, end)

    def _edge(self, inside: int, at: int) -> int:
        """When the character's edge `at` is reached, of the span that has the character `inside`."""
        place = max(0, bisect_right(self._at, inside) - 1)
        letters, start, end = self._spans[place]
        share = (at - self._at[place]) / letters
        return start + round((end - start) * min(1.0, max(0.0, share)))


def _portions(segment: Spoken) -> Iterator[_Portion]:
    """A segment in portions that fit, split so that their sum of costs is the smallest."""
    clock = _Clock(segment)
    found = [each for each in pieces(clock.text) if clean(each.text)]
    times = [clock.time(each.at, each.at + len(each.text)) for each in found]
    least, begins = [0.0], [0]
    for end in range(1, len(found) + 1):
        costs = []
        for begin in range(end - 1, -1, -1):
            lines = _folded(found[begin:end])
            if lines is None:
                break
            costs.append((least[begin] + _cost(lines, times[begin:end], end == len(found)), begin))
        cost, begin = min(costs)
        least.append(cost)
        begins.append(begin)
    bounds, end = [], len(found)
    while end:
        bounds.append((begins[end], end))
        end = begins[end]
    for begin, end in reversed(bounds):
        yield _Portion(times[begin][0], times[end - 1][1], clean(_joined(found[begin:end])))


def _cost(lines: tuple[str, ...], times: Sequence[tuple[int, int]], last: bool) -> float:
    """How bad a portion is. last: it ends where its segment does."""
    lasts = times[-1][1] - times[0][0]
    full = sum(map(width, lines)) / (2 * COLUMNS)
    pauses = sum(after[0] - before[1] >= _PAUSE for before, after in pairwise(times))
    too_long, too_short = max(0, lasts - LONGEST) / 2000, lasts < SHORTEST
    return 1 + full**2 + (0 if last else 1.5 * _weight_of_end(lines[-1])) + 2 * pauses + too_long + too_short


def _apart(portions: Iterable[_Portion], duration: float) -> Iterator[_Portion]:
    """The portions at times of their own. One that would be seen too shortly is put together with the next where both
    fit, or goes into the time of the next, which begins up to SHORTEST later then."""
    most = math.inf if math.isinf(duration) else int(1000 * duration)
    held: _Portion | None = None
    free = 0  # when the cue before has ended
    for coming in portions:
        if held is None:
            held = coming._replace(start=max(coming.start, free))
            continue
        border = max(coming.start, held.start)
        both = f"{held.text} {coming.text}"
        if border < held.start + SHORTEST:
            if fold(both) is not None:
                held = _Portion(held.start, max(held.end, coming.end), both)
                continue
            border = max(min(held.start + SHORTEST, coming.start + SHORTEST), held.start + 1)
        yield _until(held, free, border)
        free = min(max(held.end, held.start + SHORTEST), border)
        held = _Portion(border, max(coming.end, border), coming.text)
    if held is not None:
        yield _until(held, free, most)


def _until(portion: _Portion, free: int, border: float) -> _Portion:
    """The portion for as long as it should be seen. free, border: from when to when nothing else is."""
    end = int(min(max(portion.end, portion.start + SHORTEST), border))
    start = max(free, min(portion.start, end - SHORTEST)) if end - portion.start < SHORTEST else portion.start
    return portion._replace(start=start, end=max(end, start + 1))
