"""The words of a text as people read it, and which of its tokens each is made of."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

_UNFINISHED = "\ufffd"  # what the bytes of a character decode to before the last of them is there
_UNSPACED = (
    "THAI ",
    "LAO ",
    "KHMER ",
    "MYANMAR ",
)  # scripts whose characters are narrow and whose words have no spaces


class Decode(Protocol):
    """Texts of sequences, as fuseline.Model.decode gives them."""

    def __call__(self, sequences: npt.ArrayLike, skip_special_tokens: bool = True) -> list[str]: ...


class TextWord(NamedTuple):
    """A word, and the places of its tokens in the sequence."""

    text: str
    tokens: tuple[int, ...]


def words_of(tokens: Sequence[int], decode: Decode) -> tuple[str, list[TextWord]]:
    """The text of a sequence, and its words in order: what spaces part, so that they are text.split().

    In scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) a word ends where a token does. Marks stay
    with the word that they touch; their tokens count only where the word has no others. Special tokens, padding (-1)
    and whatever adds nothing to the text belong to no word. A character whose bytes are several tokens has them all.
    """
    if not len(tokens):
        return "", []
    text = decode([list(tokens)])[0]
    owners = _owners(tokens, decode, text)
    found, begin = [], 0
    for end in range(1, len(text) + 1):
        if end == len(text) or text[end].isspace() or text[end - 1].isspace() or _parted(text, owners, end):
            if not text[begin].isspace():
                found.append(TextWord(text[begin:end], _tokens(text, owners, begin, end)))
            begin = end
    return text, found


def _owners(tokens: Sequence[int], decode: Decode, text: str) -> list[list[int]]:
    """The tokens of every character of the text."""
    ids = np.array(tokens, np.int64)
    prefixes = decode(np.where(np.tri(len(ids), dtype=bool), ids, -1))
    shown, whole = decode(ids[:, np.newaxis]), decode(ids[:, np.newaxis], skip_special_tokens=False)
    owners: list[list[int]] = [[] for _ in text]
    begin = 0
    for place, prefix in enumerate(prefixes):
        end = max(begin, _agreeing(prefix.rstrip(_UNFINISHED), text))
        special = not shown[place] and whole[place].strip()
        if tokens[place] >= 0 and not special:
            for each in range(begin, max(end, min(begin + 1, len(text)))):
                owners[each].append(place)
        begin = end
    return owners


def _agreeing(prefix: str, text: str) -> int:
    """How many characters the two begin with in common."""
    if text.startswith(prefix):
        return len(prefix)
    return next((at for at, (one, other) in enumerate(zip(prefix, text, strict=False)) if one != other), len(text))


def _parted(text: str, owners: Sequence[Sequence[int]], end: int) -> bool:
    """Whether a word ends before this character though there is no space: both are of a script without."""
    return _unspaced(text[end - 1]) and _unspaced(text[end]) and set(owners[end - 1]).isdisjoint(owners[end])


def _unspaced(letter: str) -> bool:
    name = unicodedata.name(letter, "")
    return name.startswith(_UNSPACED) or (
        unicodedata.east_asian_width(letter) == "W" and not name.startswith("HANGUL") and letter.isalpha()
    )


def _tokens(text: str, owners: Sequence[Sequence[int]], begin: int, end: int) -> tuple[int, ...]:
    """Those of a word's letters and digits; of all its characters where it has none."""
    letters = {token for at in range(begin, end) if text[at].isalnum() for token in owners[at]}
    return tuple(sorted(letters or {token for at in range(begin, end) for token in owners[at]}))
