"""The tokenizer of a folder: the file is checked before the library reads it, and texts and tokens before it sees them.

The library behind it, tokenizers, is written in Rust. A bug there ends in a panic: pyo3 raises it as a PanicException,
which is no Exception, after Rust has printed lines of its own to the standard error. So what is known to make it panic,
or to take endless time or memory, is refused here first; a panic that is left becomes an error like any other. Its
lines stay: whoever turns them away turns away what other threads print in that moment too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Error, FolderError, InputError, shown, written
from ..files.reading import open_regular
from ..warning import warn
from .clean_up import CleanUp
from .parts import LONGEST_TOKEN, Encoded, Rules
from .sentencepiece_texts import UNMADE, SentencePieceTexts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LARGEST_FILE = 64 << 20  # bytes; the largest in use have 34 MB
_MOST_VALUES = 2_500_000  # of JSON in it, so that it is parsed into less than a gigabyte; in use are 2 million
MOST_TOKENS = 1 << 20  # of a vocabulary; the largest in use has 262,144
_MOST_ADDED = 1 << 16
_MOST_OF_ADDED = 1 << 20  # characters of all added tokens
_LONGEST_ENCODED = 1 << 22  # characters that the rules may make of a text
_LONGEST_SEARCHED = 1 << 15  # the same before an expression whose time is the square of that
_LONGEST_WORD = 1000  # characters that WordPiece looks up together; its time is the cube of that
# One in so many of the decoder's tokens may be unknown here without a word, as where a vocabulary is padded to a round
# size; in use are one in 56 at most. One in so many must be known, as where a decoder kept more than it was trained on.
_MOST_UNKNOWN, _LEAST_KNOWN = 16, 4
# The normalizer of a file that makes texts of tokens and nothing else: with a code point before it that stands for no
# character, no text is known to the vocabulary.
NO_TEXTS = {"type": "Prepend", "prepend": "\ufdd0"}

Result = TypeVar("Result")


@dataclass(frozen=True)
class TokenizerFile:
    """What a tokenizers file holds. where: the file it was read from; raw: its bytes; value: these parsed."""

    where: Path
    raw: bytes
    value: Mapping[str, Any]


class TextTokens:
    """A text as tokens, and back. tokenizer: the tokenizers.Tokenizer behind it, which changes nothing by itself."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocab_size: int,
        longest_text: int,
        reads_texts: bool = True,
        pieces: SentencePieceTexts | None = None,
    ) -> None:
        """See `open_tokenizer`. longest_text: characters of the longest text that can be encoded; reads_texts: False
        where no text can; pieces: what splits texts where tokenizers' own rules do it otherwise than transformers."""
        self.tokenizer = tokenizer
        self.reads_texts = reads_texts
        self._vocab_size = vocab_size
        self._longest_text = longest_text
        self._pieces = pieces

    @cached_property
    def _spaces(self) -> CleanUp:
        return CleanUp(self.tokenizer)

    def encode(self, text: str, name: str = "text") -> list[int]:
        """The tokens of a text, without those that only mark its beginning and end.

        name: of the text, for the message. Raises InputError where it cannot be encoded.
        """
        self._check(text, name)

        def encode() -> list[int]:
            if self._pieces:
                return self._pieces.encode(text)
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
            return ids

        return _guarded(encode, lambda reason: InputError(f"{name} cannot be made tokens of: {reason}"))

    def encode_batch(self, texts: Sequence[str], names: Sequence[str] | None = None) -> list[list[int]]:
        """The same of many texts. names: of the texts, for messages; without them "text 1" and so on."""
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise InputError(f"texts must be a list of texts, not {written(texts)}")
        for number, text in enumerate(texts):
            self._check(text, names[number] if names else f"text {number + 1}")

        def encode() -> list[list[int]]:
            if self._pieces:
                return [self._pieces.encode(text) for text in texts]
            return [each.ids for each in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

        return _guarded(encode, lambda reason: InputError(f"the texts cannot be made tokens of: {reason}"))

    def _check(self, text: Any, name: str) -> None:
        """Raises InputError for what no tokenizer takes."""
        if not isinstance(text, str):
            raise InputError(f"{name} must be a text, not {written(text)}")
        if not self.reads_texts:
            raise InputError(
                f"{name} cannot be made tokens of: this model's tokenizer splits texts with a package of its own (as "
                "MeCab), and tokenizer.json only makes texts of tokens; leave out what needs a text"
            )
        if len(text) > self._longest_text:
            raise InputError(
                f"{name} has {len(text)} characters, and this tokenizer reads {self._longest_text} at most"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            of_bytes = "\udc80" <= text[error.start] <= "\udcff"  # as Python reads names and a command line
            what = "a byte that is no UTF-8" if of_bytes else "half of a surrogate pair"
            raise InputError(
                f"{name} has {what} at character {error.start + 1}, which is no text; leave it out"
            ) from None

    def decode(
        self, tokens: Sequence[int], skip_special_tokens: bool = True, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """The text of tokens.

        clean_up_tokenization_spaces: whether spaces before punctuation go, as transformers' tokenizers have it; None
        for what the file says. A token that the decoder has and the tokenizer does not, since vocabularies are padded
        to round sizes, has no text, as in transformers. Raises InputError for one that neither has.
        """
        if not tokens:
            return ""
        if min(tokens) < 0 or max(tokens) >= self._vocab_size:
            raise InputError(
                f"tokens must be from 0 to {self._vocab_size - 1}, not {min(tokens)} to {max(tokens)}; "
                "take them from the model that this tokenizer belongs to"
            )

        if self._pieces:
            tokens = [token for token in tokens if token < self._pieces.limit]

        def decode() -> str:
            text: str = (
                self.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)
                if clean_up_tokenization_spaces is None
                else self._spaces.decode(tokens, skip_special_tokens, clean_up_tokenization_spaces)
            )
            return text

        return _guarded(decode, lambda reason: FolderError(f"tokenizer.json cannot make a text of tokens: {reason}"))


def open_tokenizer(source: TokenizerFile, vocab_size: int) -> TextTokens:
    """The tokenizer of a file's contents. vocab_size: of the decoder, V.

    The file may have kept how texts were cut to a length, filled up to one, or taken apart by chance in training: none
    of this is done here, since all of it would change what a text's tokens are. Raises FolderError.
    """
    path, file = source.where, source.value
    rules = Rules(path)
    encoded = rules.encoding(file)
    known, longest = check_vocabulary(file, path)
    rules.number("model", file["model"], "max_input_chars_per_word", 1, _LONGEST_WORD, 100)
    added = _check_added(file, path, encoded)
    longest = max(longest, max(map(len, added), default=0))
    known.update(added.values())
    if rules.decoding(file, longest) > LONGEST_TOKEN:
        raise FolderError(
            f"{path} has a token of more than {LONGEST_TOKEN} characters; it is not a tokenizer for texts"
        )
    rules.post_processing(file)
    _check_size(known, vocab_size, path)

    from tokenizers import Tokenizer

    def load() -> Tokenizer:
        tokenizer = Tokenizer.from_buffer(source.raw)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if getattr(tokenizer.model, "dropout", None) is not None:
            tokenizer.model.dropout = None
        return tokenizer

    tokenizer = _guarded(load, lambda reason: FolderError(f"{path} is not a tokenizers file: {reason}"))
    _check_loaded(tokenizer, file, path)
    reads_texts = file.get("normalizer") != NO_TEXTS
    pieces = _pieces(tokenizer, file, path)
    longest_text = _longest_text(encoded)
    return TextTokens(tokenizer, max(vocab_size, max(known, default=0) + 1), longest_text, reads_texts, pieces)


def _pieces(tokenizer: Tokenizer, file: Mapping[str, Any], path: Path) -> SentencePieceTexts | None:
    """What splits texts by SentencePiece's own rules, where the file is of tokens.hf.pieces."""
    if tokenizer.token_to_id(UNMADE) is None:
        return None
    try:
        return SentencePieceTexts(tokenizer, file)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise FolderError(
            f"{path} is damaged: it has tokens that no text becomes, without SentencePiece's rules"
        ) from None


def read_tokenizer(path: Path) -> TokenizerFile:
    """The contents of a tokenizers file, parsed and nothing more. Raises FolderError."""
    raw = _read(path)
    return TokenizerFile(path, raw, parse_bounded(raw, path))


def made_tokenizer(where: Path, value: dict[str, Any]) -> TokenizerFile:
    """Contents that were made here, of what `where` holds. Raises FolderError where they are too large."""
    try:
        raw = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise FolderError(f"{where} has a token with half of a surrogate pair, which is no text") from None
    if len(raw) > LARGEST_FILE:
        raise FolderError(f"{where} makes a tokenizers file of {len(raw)} bytes, which may have {LARGEST_FILE}")
    return TokenizerFile(where, raw, value)


def _check_loaded(tokenizer: Tokenizer, file: Mapping[str, Any], path: Path) -> None:
    """Every added token has the id that the file gives it, and is looked for in texts by more than nothing."""
    for entry in file.get("added_tokens") or []:
        content, token = entry["content"], entry["id"]
        if not content:
            continue
        found = tokenizer.token_to_id(content)
        if found != token:
            named = shown(content)
            raise FolderError(f"{path} says that {named!r} is token {token}, and by its vocabulary it is {found}")
        if entry.get("normalized") and not _normalized(tokenizer, content, path):
            raise FolderError(f"{path}: its normalizer leaves nothing of the added token {shown(content)!r}")


def _normalized(tokenizer: Tokenizer, text: str, path: Path) -> str:
    def normalize() -> str:
        return text if tokenizer.normalizer is None else str(tokenizer.normalizer.normalize_str(text))

    return _guarded(normalize, lambda reason: FolderError(f"{path} cannot normalize its added tokens: {reason}"))


def _guarded(call: Callable[[], Result], error: Callable[[str], Error]) -> Result:
    """What a call of the library returns. Raises `error` of the reason where it fails or panics."""
    try:
        return call()
    except BaseException as problem:
        # Of what is no Exception only a panic is the library's: Ctrl-C and the end of the program pass.
        if isinstance(problem, Exception) or type(problem).__name__ == "PanicException":
            raise error(str(problem) or type(problem).__name__) from problem
        raise


def _read(path: Path) -> bytes:
    """The bytes of a regular file, never waiting for what is none."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_FILE:
                raise FolderError(f"{path} has {size} bytes and may have {LARGEST_FILE}")
            return file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror}") from error


def parse_bounded(raw: bytes, path: Path) -> dict[str, Any]:
    """The object in a JSON file of so many values as a tokenizer has. Raises FolderError."""
    values = sum(raw.count(mark) for mark in (b",", b"[", b"{"))
    if values > _MOST_VALUES:
        raise FolderError(f"{path} has {values} values and may have {_MOST_VALUES}; it is not of a tokenizer")
    try:
        file = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path} is not a tokenizers file: {error}") from error
    if not isinstance(file, dict):
        raise FolderError(f"{path} is not a tokenizers file: it must hold a JSON object")
    return file


def check_vocabulary(file: Mapping[str, Any], path: Path) -> tuple[set[int], int]:
    """The ids of the model's vocabulary, and the characters of its longest token. Raises FolderError."""
    model = file.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(vocab, dict | list):
        raise FolderError(f"{path}: 'model' must be an object with a 'vocab'")
    if len(vocab) > MOST_TOKENS:
        raise FolderError(f"{path}: the vocabulary has {len(vocab)} tokens and may have {MOST_TOKENS}")
    if isinstance(vocab, list):
        if not all(isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) for entry in vocab):
            raise FolderError(f"{path}: the vocabulary must be a list of pairs of a text and a number")
        tokens: Iterable[str] = [entry[0] for entry in vocab]
        known = set(range(len(vocab)))
    else:
        tokens, ids = vocab, vocab.values()
        if not all(type(each) is int and 0 <= each < 1 << 32 for each in ids):
            raise FolderError(f"{path}: the vocabulary must give every token a whole number from 0 to {(1 << 32) - 1}")
        known = set(ids)
        if len(known) < len(vocab):
            raise FolderError(f"{path}: the vocabulary gives {len(vocab)} tokens {len(known)} ids; each needs its own")
    prefix, merges = model.get("continuing_subword_prefix"), model.get("merges")
    if isinstance(merges, list) and isinstance(prefix, str) and prefix:
        _check_prefix(merges, prefix, path)
    return known, max(map(len, tokens), default=0)


def _check_prefix(merges: list[Any], prefix: str, path: Path) -> None:
    """tokenizers takes the prefix off the second token of a merge without a look whether it is there."""
    for merge in merges:
        second = (
            merge.split(" ")[-1] if isinstance(merge, str) else merge[-1] if isinstance(merge, list) and merge else None
        )
        if not isinstance(second, str) or not second.startswith(prefix):
            raise FolderError(
                f"{path}: the second token of the merge {written(merge)} must begin with {shown(prefix)!r}"
            )


def _check_added(file: Mapping[str, Any], path: Path, encoded: Encoded) -> dict[str, int]:
    """The added tokens and their ids."""
    entries = file.get("added_tokens") or []
    if not isinstance(entries, list) or len(entries) > _MOST_ADDED:
        raise FolderError(f"{path}: 'added_tokens' must be a list of at most {_MOST_ADDED}")
    found: dict[str, int] = {}
    for index, entry in enumerate(entries):
        content, token = (entry.get("content"), entry.get("id")) if isinstance(entry, dict) else (None, None)
        if not isinstance(content, str) or type(token) is not int or not 0 <= token < 1 << 32:
            raise FolderError(f"{path}: added_tokens[{index}] must have a 'content' and an 'id' of at least 0")
        if content:  # tokenizers leaves out those without
            found[content] = token
    if sum(map(len, found)) * encoded.factor > _MOST_OF_ADDED * 16 or sum(map(len, found)) > _MOST_OF_ADDED:
        raise FolderError(f"{path}: 'added_tokens' have more than {_MOST_OF_ADDED} characters in all")
    return found


def _check_size(known: set[int], vocab_size: int, path: Path) -> None:
    """The decoder's tokens are nearly all known: a vocabulary padded to a round size has a few more.

    Warns where many are not, which transformers takes without a word; raises FolderError where most are not.
    """
    found = sum(token < vocab_size for token in known)
    if found * _LEAST_KNOWN < vocab_size:
        raise FolderError(
            f"{path} knows {found} of the decoder's {vocab_size} tokens, so it belongs to another model; copy the "
            "tokenizer of this one"
        )
    if (vocab_size - found) * _MOST_UNKNOWN > vocab_size:
        warn(
            f"{path} knows {found} of the decoder's {vocab_size} tokens; the others have no text, and if texts make no "
            "sense, it belongs to another model"
        )


def _longest_text(encoded: Encoded) -> int:
    longest = _LONGEST_ENCODED // encoded.factor
    return min(longest, _LONGEST_SEARCHED // encoded.searched) if encoded.searched else longest
