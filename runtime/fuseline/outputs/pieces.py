"""Tokens as text while there are more to come: pieces that are never taken back, and the text of one token."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..tokens.tokenizer import TextTokens

_UNFINISHED = "\ufffd"  # what the bytes of a character decode to before the last of them is there


class TextPieces:
    """The text of a growing sequence in pieces, which joined are the text of the whole.

    A word comes when the next one begins, since a word may still grow and a mark may take the space before it away;
    in scripts that put no spaces between words each letter comes at once.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._given = ""

    def grown(self, tokens: Sequence[int]) -> str:
        """What is new and certain in the text of the sequence so far."""
        return self._new(_settled(self._decode(tokens)))

    def whole(self, tokens: Sequence[int]) -> str:
        """What is left of the text of the whole sequence."""
        return self._new(self._decode(tokens))

    def tentative(self, tokens: Sequence[int]) -> str:
        """What follows the pieces given so far if the sequence goes on like this."""
        text = self._decode(tokens)
        return text[len(self._given) :] if text.startswith(self._given) else ""

    def _new(self, text: str) -> str:
        if not text.startswith(self._given):
            return ""
        piece = text[len(self._given) :]
        self._given = text
        return piece


def _settled(text: str) -> str:
    """The beginning of a text that no further token changes: up to its last space, or letter of a caseless script."""
    text = text.rstrip(_UNFINISHED)
    for end in range(len(text), 0, -1):
        if end < len(text) and text[end].isspace():
            return text[:end].rstrip()
        if unicodedata.category(text[end - 1]) == "Lo":
            return text[:end]
    return ""


def text_of_token(tokens: TextTokens) -> Callable[[int], str]:
    """A function that gives the text of a token inside a text, special tokens included."""
    before = tokens.encode("abcdef") if tokens.reads_texts else _any_text(tokens)
    begun = tokens.decode(before, skip_special_tokens=False)

    @cache
    def text_of(token: int) -> str:
        return tokens.decode([*before, token], skip_special_tokens=False)[len(begun) :]

    return text_of


def _any_text(tokens: TextTokens) -> list[int]:
    """A token that becomes a text; none where all are special."""
    ids = range(tokens.tokenizer.get_vocab_size())
    return next(([token] for token in ids if tokens.decode([token])), [])
