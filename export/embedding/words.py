"""What each token adds to a text, found by asking the tokenizer, so that any host, and a graph, makes texts of tokens.

A text is the words of its tokens one after the other. The first word may be written otherwise than the others (without
the space before it), and a token may have no word at all. That is so of nearly all tokenizers, and tried out on many
sequences; where it is not, there are no words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fuseline.tokens.clean_up import CLEAN_UP, CleanUp

# The signs that stand for bytes in byte-level vocabularies, as GPT-2's bytes_to_unicode has them.
_PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
_BYTES = {chr(byte): byte for byte in _PRINTED} | {
    chr(256 + place): byte for place, byte in enumerate(byte for byte in range(256) if byte not in _PRINTED)
}
_BROKEN = "\N{REPLACEMENT CHARACTER}"
_TRIED, _LONGEST = 400, 12  # sequences that are tried, and their tokens


@dataclass(frozen=True)
class Words:
    """first: the word of each token where it begins a text; later: where it does not; begins: whether what follows is
    no longer the first; clean_up: pairs of texts to be replaced in the whole text afterwards, one after the other."""

    first: Sequence[bytes]
    later: Sequence[bytes]
    begins: Sequence[bool]
    clean_up: Sequence[tuple[str, str]] = ()

    def text(self, tokens: Sequence[int]) -> bytes:
        """The text of a sequence, before the clean-up."""
        words, begun = [], False
        for token in tokens:
            words.append((self.later if begun else self.first)[token])
            begun = begun or self.begins[token]
        return b"".join(words)

    def record(self) -> dict[str, Any]:
        """As JSON has it: a word that is no text by itself, since it is a part of a character, is a list of bytes."""
        first, later = ([_written(word) for word in words] for words in (self.first, self.later))
        begins = [int(each) for each in self.begins]
        same = first == later
        return {"first": None if same else first, "later": later, "begins": begins, "clean_up": list(self.clean_up)}


def words_of(decode: Callable[..., list[str]], tokenizer: Any, vocab_size: int) -> Words | None:
    """The words of every token, None where texts are not made of words.

    decode: Model.decode; tokenizer: the tokenizers.Tokenizer behind it.
    """
    single = _single_bytes(tokenizer)
    words = _of_bytes(tokenizer, vocab_size) or _asked(decode, vocab_size, single)
    if words is None or not _is_right(words, decode, vocab_size, broken=bool(single)):
        return None
    return replace(words, clean_up=CLEAN_UP) if CleanUp(tokenizer).is_done else words


def _of_bytes(tokenizer: Any, vocab_size: int) -> Words | None:
    """Those of a byte-level tokenizer, whose tokens are bytes, and may be parts of characters; None for another."""
    steps = _decoder_steps(tokenizer)
    if not steps or steps[0]["type"] != "ByteLevel":
        return None
    added = tokenizer.get_added_tokens_decoder()
    words = []
    for token in range(vocab_size):
        text = tokenizer.id_to_token(token)
        if text is None or (token in added and added[token].special):
            words.append(b"")
        else:
            known = token not in added and all(sign in _BYTES for sign in text)
            words.append(bytes(_BYTES[sign] for sign in text) if known else text.encode())
    return Words(words, words, [True] * vocab_size)


def _asked(decode: Callable[..., list[str]], vocab_size: int, single: Mapping[int, bytes]) -> Words | None:
    """Found by asking for the texts of one and of two tokens. single: tokens that are a byte each."""
    alone = decode([[token] for token in range(vocab_size)], clean_up_tokenization_spaces=False)
    anchor = next(
        (token for token, text in enumerate(alone) if text.isascii() and text.isalnum() and token not in single), None
    )
    if anchor is None:
        return None
    after = decode([[anchor, token] for token in range(vocab_size)], clean_up_tokenization_spaces=False)
    stem = alone[anchor]
    if not all(text.startswith(stem) for text in after):
        return None
    later = [text[len(stem) :] for text in after]
    begins = [True] * vocab_size
    # A token that is written otherwise at the beginning shows where the beginning ends.
    telling = next((token for token in range(vocab_size) if alone[token] and alone[token] != later[token]), None)
    if telling is not None:
        before = decode([[token, telling] for token in range(vocab_size)], clean_up_tokenization_spaces=False)
        begins = [text != first + alone[telling] for text, first in zip(before, alone, strict=True)]
    # A part of a character has no text by itself.
    parts = {token: byte for token, byte in single.items() if not byte.isascii()}
    first, further = ([parts.get(token, text.encode()) for token, text in enumerate(texts)] for texts in (alone, later))
    return Words(first, further, begins)


def _single_bytes(tokenizer: Any) -> dict[int, bytes]:
    """The tokens of single bytes, <0xE2>, of a tokenizer that writes so what it has no piece for."""
    if not any(step["type"] == "ByteFallback" for step in _decoder_steps(tokenizer)):
        return {}
    named = {tokenizer.token_to_id(f"<0x{byte:02X}>"): bytes([byte]) for byte in range(256)}
    return {token: byte for token, byte in named.items() if token is not None}


def _decoder_steps(tokenizer: Any) -> list[dict[str, Any]]:
    """What the tokenizer's decoder does, one after the other."""
    decoder = json.loads(tokenizer.to_str())["decoder"]
    return [] if decoder is None else list(decoder.get("decoders", [decoder]))


def _is_right(words: Words, decode: Callable[..., list[str]], vocab_size: int, broken: bool) -> bool:
    """Whether sequences drawn by chance have the texts that the tokenizer makes of them. broken: whether characters may
    be broken, of which a tokenizer of single bytes makes a sign for each byte, and words one for all."""
    draw = np.random.default_rng(0)
    sequences = [draw.integers(0, vocab_size, draw.integers(1, _LONGEST)).tolist() for _ in range(_TRIED)]
    texts = [decode([each], clean_up_tokenization_spaces=False)[0] for each in sequences]
    return all(
        words.text(each).decode(errors="replace") == text
        for each, text in zip(sequences, texts, strict=True)
        if not (broken and _BROKEN in text)
    )


def _written(word: bytes) -> str | list[int]:
    try:
        return word.decode()
    except UnicodeDecodeError:
        return list(word)
