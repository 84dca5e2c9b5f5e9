"""Watching captions while they are made: events as tokens become certain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .pieces import TextPieces

if TYPE_CHECKING:
    from ..generation.result import Generation
    from ..search import Prefix, Search


@dataclass(frozen=True)
class Event:
    """What is new about the best sequence of one photo. All tokens and texts of a photo joined are its sequence and
    its text."""

    photo: int
    """its place in the batch"""
    tokens: tuple[int, ...]
    """the tokens that have become certain: all hypotheses that may still win have them; the first event of a photo
    brings its prompt too"""
    text: str
    """the text that has become certain; a word comes when the next one begins"""
    tentative: str
    """what follows in the likeliest hypothesis so far, and may be replaced; "" at the end"""
    finish_reason: str | None
    """in the last event of a photo, why its sequence ended, as in Generation.finish_reasons; None before"""
    generation: Generation | None = None
    """in the last event of all, what generate returns"""


def events(search: Search, decode: Callable[[Sequence[int]], str]) -> Iterator[Event]:
    """Run the search and tell what becomes of it. decode: the text of tokens."""
    photos: list[_Photo] = []
    more = True
    while more:
        more = search.step()
        generation = None if more else search.generation()
        prefixes = search.prefixes()
        photos = photos or [_Photo(index, decode) for index in range(len(prefixes))]
        told = [photo.event(prefix) for photo, prefix in zip(photos, prefixes, strict=True)]
        found = [event for event in told if event is not None]
        if generation is not None:  # a search goes on as long as one photo does, so one has its last event now
            found[-1] = replace(found[-1], generation=generation)
        yield from found


class _Photo:
    """What has been told of one photo."""

    def __init__(self, index: int, decode: Callable[[Sequence[int]], str]) -> None:
        self._index = index
        self._pieces = TextPieces(decode)
        self._count = 0  # of tokens that were told
        self._tentative = ""
        self._over = False

    def event(self, prefix: Prefix) -> Event | None:
        """What is new, None where nothing is."""
        if self._over:
            return None
        certain, self._over = prefix.certain.tolist(), bool(prefix.reason)
        tokens = tuple(certain[self._count :])
        if self._over:
            text, tentative = self._pieces.whole(certain), ""
        else:
            text = self._pieces.grown(certain)
            tentative = self._pieces.tentative(certain + prefix.tentative.tolist())
        if not tokens and tentative == self._tentative and not self._over:
            return None
        self._count, self._tentative = len(certain), tentative
        return Event(self._index, tokens, text, tentative, prefix.reason or None)
