"""Times of stretches that were heard as one sound, as times of the sound they were cut out of.

A model's times are not exact, and a joint is a place where the least error leads to the other side of a pause. So what
is said belongs to the stretches in which enough of it lies where somebody speaks, and never reaches into a pause.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise

from .segments import Segment, Word

_LEAST = 0.5  # seconds of speech: what a segment has less of beyond a joint is an error of its times
_STOPS = ".?!…。\uff1f\uff01"  # the last two are those of full width
_NEARER = 0.15  # share of a text by which the end of a sentence may lie farther from where the text is to be cut


@dataclass(frozen=True)
class Span:
    """A stretch of a sound, and where in it somebody speaks, in seconds of the sound."""

    start: float
    end: float
    first: float
    """when the first voice begins, at least `start`"""
    last: float
    """when the last voice ends, at most `end`"""

    def within(self, start: float, end: float) -> tuple[float, float]:
        """Of what is said in some part of the stretch, where somebody speaks; all of the part where nobody does."""
        start, end = (min(max(time, self.start), self.end) for time in (start, end))
        first, last = max(start, self.first), min(end, self.last)
        return (first, last) if first < last else (start, max(start, end))


class Joints:
    """Where the stretches that were joined lie."""

    def __init__(self, spans: Sequence[Span], text_of: Callable[[Sequence[int]], str]) -> None:
        """spans: one or more, in order and apart. text_of: the text of a segment's tokens."""
        self._spans, self._text_of = spans, text_of
        self._begins = [0.0, *accumulate(span.end - span.start for span in spans)]  # of each in the joined sound

    def placed(self, segment: Segment) -> Iterator[Segment]:
        """A segment at times of the joined sound, at those of the whole one: a segment for each stretch it is of."""
        if segment.words:
            yield from self._by_words(segment)
            return
        places = self._places(segment.start, segment.end)
        shares = [self._speech(place, segment.start, segment.end) for place in places]
        for place, part in zip(places, self._parts(segment, shares), strict=True):
            start, end = self._within(place, segment.start, segment.end)
            yield replace(part, start=start, end=end)

    def _by_words(self, segment: Segment) -> Iterator[Segment]:
        """Cut between words. A word belongs to the stretch that has most of it."""
        of_place = [(self._place(word.start, word.end), word) for word in segment.words]
        groups = [(place, [word for _, word in group]) for place, group in groupby(of_place, lambda each: each[0])]
        taken = 0
        for place, words in groups:
            count = self._tokens_up_to(segment, words[-1].end, taken)
            if words[-1] is segment.words[-1]:
                count = len(segment.tokens)
            part = segment if len(groups) == 1 else self._part(segment, taken, count)
            first = min(segment.start, words[0].start) if taken == 0 else words[0].start
            last = max(segment.end, words[-1].end) if count == len(segment.tokens) else words[-1].end
            start, end = self._within(place, first, last)
            yield replace(
                part,
                start=start,
                end=end,
                words=tuple(self._moved(word, place) for word in words),
                times=tuple(self._at(place, time) for time in part.times),
            )
            taken = count

    def _moved(self, word: Word, place: int) -> Word:
        start, end = self._within(place, word.start, word.end)
        return replace(word, start=start, end=end)

    def _tokens_up_to(self, segment: Segment, end: float, taken: int) -> int:
        """How many of the tokens were said by then. Times of words are rounded to 10 ms."""
        return next(
            (at for at in range(taken, len(segment.times)) if segment.times[at] > end + 0.006), len(segment.times)
        )

    def _places(self, start: float, end: float) -> list[int]:
        """The stretches that a segment is of."""
        speech = {place: self._speech(place, start, end) for place in range(len(self._spans))}
        enough = [place for place, seconds in speech.items() if seconds >= _LEAST]
        return enough or [self._place(start, end)]

    def _place(self, start: float, end: float) -> int:
        """The stretch that has most of what is said then."""
        amounts = [
            (self._speech(place, start, end), self._overlap(start, end, begin, stop))
            for place, (begin, stop) in enumerate(pairwise(self._begins))
        ]
        best = max(range(len(amounts)), key=lambda place: amounts[place])
        return best if any(amounts[best]) else min(max(bisect_right(self._begins, start) - 1, 0), len(amounts) - 1)

    def _speech(self, place: int, start: float, end: float) -> float:
        """Seconds of what is said then in which somebody speaks in this stretch."""
        span, begin = self._spans[place], self._begins[place]
        return self._overlap(start, end, begin + span.first - span.start, begin + span.last - span.start)

    @staticmethod
    def _overlap(start: float, end: float, begin: float, stop: float) -> float:
        return max(0.0, min(end, stop) - max(start, begin))

    def _at(self, place: int, time: float) -> float:
        """A time of the joined sound as one of this stretch."""
        span = self._spans[place]
        return min(max(span.start + time - self._begins[place], span.start), span.end)

    def _within(self, place: int, start: float, end: float) -> tuple[float, float]:
        return self._spans[place].within(self._at(place, start), self._at(place, end))

    def _parts(self, segment: Segment, shares: Sequence[float]) -> Iterator[Segment]:
        """Cut a segment without words where its text is as long as its shares of speech are, at ends of sentences
        where one is near."""
        rest, tokens = segment.text, 0
        for at, share in enumerate(shares[:-1]):
            length = _cut(rest, share / sum(shares[at:]))
            done = len(segment.text) - len(rest) + length
            counts = range(tokens, len(segment.tokens) + 1)
            count = next((n for n in counts if len(self._text_of(segment.tokens[:n])) >= done), len(segment.tokens))
            yield replace(self._part(segment, tokens, count), text=rest[:length])
            rest, tokens = rest[length:], count
        whole = len(shares) == 1
        yield segment if whole else replace(self._part(segment, tokens, len(segment.tokens)), text=rest)

    def _part(self, segment: Segment, begin: int, end: int) -> Segment:
        tokens = segment.tokens[begin:end]
        return replace(segment, tokens=tokens, times=segment.times[begin:end], text=self._text_of(tokens))


def _cut(text: str, share: float) -> int:
    """After how many letters a text is cut, so that they are about such a share of it: between words if it has any."""
    places = [at for at in range(1, len(text)) if text[at].isspace()] or list(range(1, len(text)))
    if not places:
        return len(text)

    def distance(at: int) -> float:
        return abs(at / len(text) - share) - (_NEARER if text[at - 1] in _STOPS else 0.0)

    return min(places, key=distance)
