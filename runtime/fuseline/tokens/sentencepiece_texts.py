"""Texts into tokens exactly as the sentencepiece package does, by a file that fuseline.tokens.hf.pieces made.

tokenizers has the same models, but its Precompiled normalizer takes letters with their accents together where
SentencePiece takes the longest entry of its map, and where two ways to split a text are equally probable
SentencePiece's rounding decides. So a text is normalized here, tokenizers' model splits it, and what may hang on
rounding is split here once more. The reference is sentencepiece 0.2:
https://github.com/google/sentencepiece/blob/master/src/normalizer.cc and unigram_model.cc
"""

from __future__ import annotations

import base64
import re
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Stands for no letter: ends the tokens that a text cannot become, and is the first token beyond the vocabulary.
UNMADE = "\ufdd0"
# Of MarianTokenizer: >>fr<< at the beginning of a text is one token.
CODES = {"type": "Split", "pattern": {"Regex": r"\A>>(?:[^<]|<(?!<))*+<<"}, "behavior": "Isolated", "invert": False}
_OTHER = "\ufdd1"  # as unknown as UNMADE, which a text must not have
_SPACE = "▁"
_UNKNOWN_PENALTY = 10.0
_USER_SCORE = 0.1  # of a piece that the user defined, so that it is always taken
_LONGEST_PIECE = 256  # characters, all lengths of which are tried at each place; of those in use it is 16


class SentencePieceTexts:
    """Splits texts. limit: the first number that is no token of the vocabulary."""

    def __init__(self, tokenizer: Tokenizer, file: Mapping[str, Any]) -> None:
        """file: what the tokenizer was made of. Raises ValueError or its like for one not of tokens.hf.pieces."""
        limit = tokenizer.token_to_id(UNMADE)
        assert limit is not None
        self.limit = limit
        self._id, self._model, self._file = tokenizer.token_to_id, tokenizer.model, file
        rules = {rule["type"]: rule for rule in file["normalizer"]["normalizers"]}
        charsmap = rules.get("Precompiled")
        self._map = CharsMap(base64.b64decode(charsmap["precompiled_charsmap"])) if charsmap else None
        self._stripped = "Strip" in rules
        before = file["pre_tokenizer"]
        self._codes = before["type"] == "Sequence"
        spaces = before["pretokenizers"][-1] if self._codes else before
        self._prefix = _SPACE if spaces["prepend_scheme"] == "always" else ""
        self._added = {entry["content"]: entry for entry in file["added_tokens"]}
        self._parts = _any_of(self._added)
        inner = file["model"]
        self._merges = inner["type"] == "BPE"
        unk = inner["unk_token"] if self._merges else inner["vocab"][inner["unk_id"]][0]
        self._unk: int = tokenizer.token_to_id(unk)
        beyond = [text.split(UNMADE) for text in list(_texts(inner["vocab"]))[limit + 1 :] if UNMADE in text]
        self._twice = {each[0]: int(each[1]) for each in beyond if len(each) == 2}
        self._users = {each[2] for each in beyond if len(each) == 3}
        self._kept = _any_of(self._users)
        if max(map(len, _texts(inner["vocab"])), default=0) > _LONGEST_PIECE:
            raise ValueError
        self._unreachable = {unk, *self._added}
        self._lattice: Lattice | None = None

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, as transformers' slow tokenizers make them."""
        found: list[int] = []
        for part in self._split(text):
            if part in self._added:
                found.append(self._added[part]["id"])
            elif part:
                code, rest = self._code(part)
                found += code
                found += self._pieces(self.normalized(rest))
        return found

    def _split(self, text: str) -> list[str]:
        """The added tokens in a text and what is between them, as PreTrainedTokenizer.tokenize."""
        parts = self._parts.split(text) if self._parts else [text]
        parts = [part for part in parts if part]
        for at, part in enumerate(parts):
            entry = self._added.get(part)
            if entry is None:
                continue
            left, right = (parts[at - 1] if at else ""), (parts[at + 1] if at + 1 < len(parts) else "")
            if entry["rstrip"] and right:
                parts[at + 1] = right.lstrip()
            if entry["lstrip"] and left:
                left = parts[at - 1] = left.rstrip()
            if entry["single_word"] and left and left[-1] != " ":
                parts[at - 1], parts[at] = left + part, ""
            elif entry["single_word"] and right and right[0] != " ":
                parts[at + 1], parts[at] = part + parts[at + 1], ""
        return parts

    def _code(self, text: str) -> tuple[list[int], str]:
        """Marian's code of a language at the beginning of a text, and the rest."""
        end = text.find("<<") if self._codes and text.startswith(">>") else -1
        if end < 0:
            return [], text
        return [self._number(text[: end + 2])], text[end + 2 :]

    def normalized(self, text: str) -> str:
        """The text as its pieces joined: letters by the model's map, spaces as SPACE."""
        if not text:
            return ""
        if self._map:
            parts = self._kept.split(text) if self._kept else [text]
            text = "".join(part if part in self._users else self._map.replaced(part) for part in parts)
        if not self._stripped:
            return self._prefix + text.replace(" ", _SPACE)
        text = re.sub(" {2,}", " ", text).lstrip(" ")
        return (self._prefix + text.replace(" ", _SPACE)).rstrip(_SPACE)

    def _pieces(self, text: str) -> list[int]:
        """The numbers of the pieces of a normalized text."""
        text = text.replace(UNMADE, _OTHER)
        if self._merges:
            parts = self._kept.split(text) if self._kept else [text]
            pieces = [piece for part in parts for piece in ([part] if part in self._users else self._found(part))]
        else:
            pieces = self._found(text)
            if self._rounded(text, pieces):
                pieces = self._exact(text)
        return [self._number(piece) for piece in pieces]

    def _found(self, text: str) -> list[str]:
        """The pieces that tokenizers' model finds."""
        if not text:
            return []
        whole = text.encode()
        pieces = []
        for token in self._model.tokenize(text):
            start, end = token.offsets
            pieces.append(token.value if token.id != self._unk else whole[start:end].decode())
        return pieces

    def _rounded(self, text: str, pieces: Sequence[str]) -> bool:
        """Whether rounding may decide, as where pieces can change places, or a token that is no piece was found."""
        if any(a != b and a + b == b + a for a, b in pairwise(pieces)):
            return True
        return any(each in text for each in self._unreachable) or any(each in text for each in self._users)

    def _exact(self, text: str) -> list[str]:
        if self._lattice is None:
            vocab = [(piece, score) for piece, score in self._file["model"]["vocab"] if UNMADE not in piece]
            self._lattice = Lattice([each for each in vocab if each[0] not in self._unreachable], self._users)
        return self._lattice.best(text)

    def _number(self, piece: str) -> int:
        """Of a piece, or of a text that is none but is in the vocabulary all the same."""
        token = self._twice.get(piece)
        token = number(self._id, piece) if token is None else token
        return self._unk if token is None or token >= self.limit else token


def _any_of(texts: Collection[str]) -> re.Pattern[str] | None:
    """An expression with a group for the longest of some texts."""
    return re.compile(f"({'|'.join(map(re.escape, sorted(texts, key=len, reverse=True)))})") if texts else None


def _texts(vocab: Mapping[str, int] | Sequence[Sequence[Any]]) -> Iterator[str]:
    """The tokens of a vocabulary in their order."""
    return iter(vocab) if isinstance(vocab, Mapping) else (entry[0] for entry in vocab)


def number(token_to_id: Callable[[str], int | None], text: str) -> int | None:
    """The number of a token, whether texts can become it or not."""
    for each in (text, text + UNMADE, UNMADE + text):
        token = token_to_id(each)
        if token is not None:
            return token
    return None


class CharsMap:
    """SentencePiece's map of texts to others: a trie as a double array (darts-clone), and the texts after it."""

    def __init__(self, raw: bytes) -> None:
        size = int.from_bytes(raw[:4], "little")
        self._units: list[int] = np.frombuffer(raw, "<u4", size // 4, 4).tolist()
        self._texts = raw[4 + size :]
        self._firsts: dict[str, tuple[str | None, int | None]] = {}
        plain = [letter for letter in map(chr, range(32, 127)) if self._first(letter)[0] is None]
        plain = [letter for letter in plain if not any(self._walk(self._first(letter)[1], other)[0] for other in plain)]
        inside = "".join(map(re.escape, plain))
        self._plain = re.compile(f"[{inside}]+(?=[{inside}]|\\Z)") if inside else None

    def replaced(self, text: str) -> str:
        """The text with the longest entry of the map at each place replaced."""
        found, at, firsts, plain = [], 0, self._firsts, self._plain
        while at < len(text):
            run = plain.match(text, at) if plain else None
            if run:
                found.append(run[0])
                at = run.end()
                continue
            letter = text[at]
            by, node = firsts.get(letter) or self._first(letter)
            at += 1
            if node is not None:
                by, at = self._longest(text, at, by, node)
            found.append(letter if by is None else by)
        return "".join(found)

    def _longest(self, text: str, at: int, by: str | None, node: int | None) -> tuple[str | None, int]:
        """What the longest entry is replaced by, and where it ends. node: where the letters before lead."""
        end = at
        while at < len(text) and node is not None:
            found, node = self._walk(node, text[at])
            at += 1
            if found is not None:
                by, end = found, at
        return by, end

    def _first(self, letter: str) -> tuple[str | None, int | None]:
        """What one letter is replaced by, and the node of the entries that begin with it."""
        found = self._firsts[letter] = self._walk(self._child(0), letter)
        return found

    def _child(self, at: int) -> int:
        unit = self._units[at]
        return at ^ ((unit >> 10) << ((unit & 0x200) >> 6))

    def _walk(self, node: int | None, letter: str) -> tuple[str | None, int | None]:
        """From a node by the bytes of a letter: what the entry that ends there is replaced by, and the next node."""
        if node is None:
            return None, None
        by, units = None, self._units
        for byte in letter.encode():
            node ^= byte
            if units[node] & 0x800000FF != byte:
                return None, None
            unit = units[node]
            node ^= (unit >> 10) << ((unit & 0x200) >> 6)
            if unit >> 8 & 1:
                start = units[node] & 0x7FFFFFFF
                by = self._texts[start : self._texts.index(b"\0", start)].decode()
            else:
                by = None
        return by, node


class Lattice:
    """The most probable pieces of a text, with sums rounded as SentencePiece rounds them."""

    def __init__(self, pieces: Sequence[tuple[str, float]], users: Collection[str] = ()) -> None:
        """pieces: with their scores, all of which a text can be split into; users: those that are always taken."""
        self._scores = {piece: float(np.float32(score)) for piece, score in pieces if piece not in users}
        self._unknown = float(np.float32(np.float32(min(self._scores.values(), default=0.0)) - _UNKNOWN_PENALTY))
        self._scores |= dict.fromkeys(users, _USER_SCORE)
        self._lengths = sorted(set(map(len, self._scores)))

    def best(self, text: str) -> list[str]:
        """The pieces; unknown letters that follow each other are one."""
        scores, size = self._scores, len(text)
        # What is stored in these is rounded to 32 bits; `rounded` is for that alone.
        sums, rounded = array("f", bytes(4 * (size + 1))), array("f", [0.0])
        starts, known = array("q", [-1]) * (size + 1), bytearray(size + 1)
        for at in range(size):
            so_far = sums[at]
            for length in self._lengths:
                end = at + length
                if end > size:
                    break
                score = scores.get(text[at:end])
                if score is not None:
                    rounded[0] = score + so_far
                    if starts[end] < 0 or rounded[0] > sums[end]:
                        sums[end], starts[end], known[end] = rounded[0], at, 1
            if text[at] not in scores:
                rounded[0] = self._unknown + so_far
                if starts[at + 1] < 0 or rounded[0] > sums[at + 1]:
                    sums[at + 1], starts[at + 1], known[at + 1] = rounded[0], at, 0
        return self._pieces(text, starts, known)

    def _pieces(self, text: str, starts: Sequence[int], known: Sequence[int]) -> list[str]:
        found: list[tuple[str, int]] = []
        end = len(text)
        while end:
            found.append((text[starts[end] : end], known[end]))
            end = starts[end]
        pieces: list[str] = []
        before = 1
        for piece, kind in reversed(found):
            if not kind and not before:
                pieces[-1] += piece
            else:
                pieces.append(piece)
            before = kind
        return pieces
