"""The rules of a tokenizer file: which are known, and how long a text they can make of another.

A file chooses its rules and their order, and each may double what the one before it made. So the length that a text can
grow to is followed through all of them before the first runs. Lengths are in characters.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FolderError, shown
from .regexes import Cost, TooComplex, cost_of

LONGEST_TOKEN = 16_384  # characters that one token may become; 1,000 tokens are then 64 MB of text at most
MOST_GROWTH = 4096  # times that the rules before the model may lengthen a text; those in use reach 72
_MOST_RULES = 100
# How many characters the forms of Unicode make of one: U+FDFA becomes 18, U+0390 three, lower case of U+0130 two.
_FORMS = {"NFC": 3, "NFD": 4, "NFKC": 18, "NFKD": 18, "Lowercase": 2, "Nmt": 1, "StripAccents": 1, "Strip": 1}


@dataclass
class Encoded:
    """What the rules before the model make of a text of n characters: at most factor x n + constant.

    searched: the factor up to the expression for which a longer text takes more time than in proportion, else 0.
    """

    factor: int = 1
    constant: int = 0
    searched: int = 0

    def times(self, factor: int, more: int = 0) -> None:
        """A rule that makes `factor` characters of each, and adds some."""
        self.factor, self.constant = self.factor * factor, self.constant * factor + more


@dataclass
class Decoded:
    """The longest piece that the rules after the model make of a token; pieces: whether they are still apart."""

    longest: int
    apart: bool = True


class Rules:
    """Goes through the rules of a file. Raises FolderError naming the file and the place of the first that is wrong."""

    def __init__(self, where: object) -> None:
        self._where = where
        self._count = 0

    def encoding(self, file: Mapping[str, Any]) -> Encoded:
        """How the normalizer and the pre-tokenizer lengthen a text."""
        found = Encoded()
        for key, inner, table in (
            ("normalizer", "normalizers", _NORMALIZERS),
            ("pre_tokenizer", "pretokenizers", _PRE_TOKENIZERS),
        ):
            for place, rule in self._each(file.get(key), key, inner):
                self._apply(table, place, rule, found)
                if found.factor > MOST_GROWTH or found.constant > MOST_GROWTH * 16:
                    raise self.wrong(place, f"may make a text more than {MOST_GROWTH} times as long, with those before")
        return found

    def decoding(self, file: Mapping[str, Any], longest: int) -> int:
        """The characters that a token can become. longest: of the vocabulary."""
        found = Decoded(longest)
        for place, rule in self._each(file.get("decoder"), "decoder", "decoders"):
            self._apply(_DECODERS, place, rule, found)
            if found.longest > LONGEST_TOKEN:
                raise self.wrong(place, f"may make more than {LONGEST_TOKEN} characters of a token, with those before")
        return found.longest

    def post_processing(self, file: Mapping[str, Any]) -> None:
        """Templates are short lists."""
        for place, rule in self._each(file.get("post_processor"), "post_processor", "processors"):
            if rule["type"] not in _POST_PROCESSORS:
                raise self._unknown(place, rule["type"], _POST_PROCESSORS)
            special = rule.get("special_tokens")
            ids = special.values() if isinstance(special, Mapping) else ()
            lists = [rule.get("single"), rule.get("pair"), *(each.get("ids") for each in ids if isinstance(each, dict))]
            if any(isinstance(each, list) and len(each) > _MOST_RULES for each in lists):
                raise self.wrong(place, f"has a template of more than {_MOST_RULES} tokens")

    def wrong(self, place: str, problem: str) -> FolderError:
        """The error to raise."""
        return FolderError(f"{self._where}: {shown(place)} {problem}; it must be as tokenizers writes it")

    def regex(self, place: str, pattern: str) -> Cost:
        """What an expression of the file may take."""
        try:
            return cost_of(pattern)
        except TooComplex as reason:
            problem = f"has the expression {shown(pattern)!r}, which may take endless time: {reason}"
        raise self.wrong(place, problem)

    def number(self, place: str, rule: Mapping[str, Any], key: str, least: int, most: int, default: int) -> int:
        """A whole number of a rule."""
        value = rule.get(key, default)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(place, f"has a wrong {key!r}, which must be a whole number from {least} to {most}")
        return value

    def text(self, place: str, rule: Mapping[str, Any], key: str) -> str:
        """A text of a rule."""
        value = rule.get(key)
        if not isinstance(value, str):
            raise self.wrong(place, f"has a wrong {key!r}, which must be a text")
        return value

    def _each(self, rule: Any, place: str, inner: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rule, or those of a Sequence in turn, each with its place in the file."""
        if rule is None:
            return
        if not isinstance(rule, dict) or not isinstance(rule.get("type"), str):
            raise self.wrong(place, "is not an object with a 'type'")
        if rule["type"] == "Sequence":
            rules = rule.get(inner)
            if not isinstance(rules, list):
                raise self.wrong(place, f"is a Sequence without a list of {inner!r}")
            for index, each in enumerate(rules):
                if each is None:
                    raise self.wrong(f"{place}.{inner}[{index}]", "is null")
                yield from self._each(each, f"{place}.{inner}[{index}]", inner)
            return
        self._count += 1
        if self._count > _MOST_RULES:
            raise self.wrong(place, f"is one rule of more than {_MOST_RULES}")
        yield place, rule

    def _apply(self, table: Mapping[str, _Rule], place: str, rule: dict[str, Any], found: Any) -> None:
        kind = rule["type"]
        if kind not in table:
            raise self._unknown(place, kind, table)
        table[kind](self, place, rule, found)

    def _unknown(self, place: str, kind: str, known: Any) -> FolderError:
        return FolderError(
            f"{self._where}: {shown(place)} is of the type {shown(kind)!r}, which this version does not know; "
            f"it knows {', '.join(sorted(known))}"
        )


_Rule = Callable[[Rules, str, dict[str, Any], Any], None]


def _replacement(rules: Rules, place: str, rule: dict[str, Any]) -> tuple[int, int, Cost | None]:
    """Of a Replace: the factor, what an empty match at the end adds, and the cost of its expression."""
    content, pattern = len(rules.text(place, rule, "content")), rule.get("pattern")
    if not isinstance(pattern, dict) or len(pattern) != 1 or not isinstance(next(iter(pattern.values())), str):
        raise rules.wrong(place, "has a wrong 'pattern', which must be {'String': ...} or {'Regex': ...}")
    ((kind, text),) = pattern.items()
    cost = rules.regex(place, text) if kind == "Regex" else None
    least = len(text) if cost is None else cost.least
    if least == 0:
        return 1 + content, content, cost
    return max(1, -(-content // least)), 0, cost


def _normalizer_replace(rules: Rules, place: str, rule: dict[str, Any], found: Encoded) -> None:
    factor, more, cost = _replacement(rules, place, rule)
    if more or (cost is not None and not cost.least):  # tokenizers loses count of the characters
        raise rules.wrong(place, "replaces what may be nothing")
    _searches(rules, place, cost, found)
    found.times(factor)


def _searches(rules: Rules, place: str, cost: Cost | None, found: Encoded) -> None:
    if cost is None or cost.degree == 0:
        return
    if cost.degree > 1:
        raise rules.wrong(place, "has an expression whose time grows faster than the square of a text")
    found.searched = max(found.searched, found.factor)


def _split(rules: Rules, place: str, rule: dict[str, Any], found: Encoded) -> None:
    pattern = rule.get("pattern")
    text = pattern.get("Regex") if isinstance(pattern, dict) else None
    if isinstance(text, str):
        _searches(rules, place, rules.regex(place, text), found)


def _prepend(rules: Rules, place: str, rule: dict[str, Any], found: Encoded) -> None:
    text = rules.text(place, rule, "prepend")
    if not text:  # tokenizers loses count of the characters
        raise rules.wrong(place, "puts nothing before a text")
    found.times(1, len(text))


def _precompiled(rules: Rules, place: str, rule: dict[str, Any], found: Encoded) -> None:
    found.times(_longest_of_charsmap(rules, place, rule.get("precompiled_charsmap")))


def _by(factor: int, more: int = 0) -> _Rule:
    def rule(rules: Rules, place: str, rule: dict[str, Any], found: Encoded) -> None:
        found.times(factor, more)

    return rule


def _fixed_length(rules: Rules, place: str, rule: dict[str, Any], found: Encoded) -> None:
    rules.number(place, rule, "length", 1, 1 << 31, 5)


_NORMALIZERS: Mapping[str, _Rule] = {
    **{name: _by(factor) for name, factor in _FORMS.items()},
    "BertNormalizer": _by(8),  # accents apart (4) and lower case (2); Chinese characters (3) have neither
    "ByteLevel": _by(4),
    "Prepend": _prepend,
    "Precompiled": _precompiled,
    "Replace": _normalizer_replace,
}
# Those that put something before a piece may do so for every character.
_PRE_TOKENIZERS: Mapping[str, _Rule] = {
    **dict.fromkeys(
        ("BertPreTokenizer", "CharDelimiterSplit", "Digits", "Punctuation", "UnicodeScripts", "Whitespace"), _by(1)
    ),
    "WhitespaceSplit": _by(1),
    "ByteLevel": _by(5, 1),
    "Metaspace": _by(2, 1),
    "FixedLength": _fixed_length,
    "Split": _split,
}


def _decoder_replace(rules: Rules, place: str, rule: dict[str, Any], found: Decoded) -> None:
    factor, more, cost = _replacement(rules, place, rule)
    if cost is not None and cost.degree > 0:
        raise rules.wrong(place, "has an expression whose time grows faster than the text")
    found.longest = found.longest * factor + more


def _strip(rules: Rules, place: str, rule: dict[str, Any], found: Decoded) -> None:
    # tokenizers reads outside a piece that has fewer characters than may go at its end.
    rules.number(place, rule, "stop", 0, 0, 0)


def _suffix(key: str) -> _Rule:
    def rule(rules: Rules, place: str, rule: dict[str, Any], found: Decoded) -> None:
        # In the place of nothing something comes between all characters.
        found.longest = found.longest if rules.text(place, rule, key) else 2 * found.longest + 1

    return rule


def _longer(rules: Rules, place: str, rule: dict[str, Any], found: Decoded) -> None:
    found.longest += 1


def _as_long(rules: Rules, place: str, rule: dict[str, Any], found: Decoded) -> None:
    found.longest = max(found.longest, 1)


_DECODERS: Mapping[str, _Rule] = {
    **dict.fromkeys(("ByteFallback", "ByteLevel", "Fuse", "Metaspace"), _as_long),
    "BPEDecoder": _suffix("suffix"),
    "CTC": _suffix("word_delimiter_token"),
    "Replace": _decoder_replace,
    "Strip": _strip,
    "WordPiece": _longer,
}
_POST_PROCESSORS = ("BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing")


def _longest_of_charsmap(rules: Rules, place: str, value: Any) -> int:
    """Characters of the longest text that a map of SentencePiece puts in the place of one.

    The map is a trie in the form of a double array (darts-clone) and the texts, each with a 0 after it. tokenizers
    follows the trie without a look at its end, so all that it can reach is followed here first.
    """
    problem = "has a damaged 'precompiled_charsmap'"
    try:
        raw = base64.b64decode(value, validate=True)
        size = int.from_bytes(raw[:4], "little")
        if size % 4 or not 1024 <= size <= len(raw) - 4:
            raise ValueError
        units = np.frombuffer(raw, "<u4", size // 4, 4)
        texts = raw[4 + size :]
        lengths = [len(each) for each in texts.decode().split("\0")]
        leaves = _leaves(units)
    except (TypeError, ValueError, binascii.Error):
        raise rules.wrong(place, problem) from None
    starts = np.frombuffer(texts, np.uint8)
    inside = leaves[leaves < len(starts)]
    if (leaves > len(starts)).any() or ((starts[inside] & 0xC0) == 0x80).any():
        raise rules.wrong(place, problem)
    return max(1, *lengths)


def _leaves(units: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values that the trie can give. units: uint32[N]. Raises ValueError where it leads outside."""
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    labels, leaf = units & ((1 << 31) | 0xFF), (units >> 8) & 1
    letters = np.arange(256, dtype=np.uint32)
    seen = np.zeros(len(units), np.bool_)
    found, nodes = [np.zeros(0, np.uint32)], offsets[:1]
    while len(nodes):
        if int(nodes.max()) >> 8 >= len(units) >> 8:  # a node's children lie in its block of 256
            raise ValueError("a node outside")
        nexts = []
        for start in range(0, len(nodes), 4096):
            children = nodes[start : start + 4096, None] ^ letters
            matching = (labels[children] == letters) & (letters > 0)
            nexts.append(np.unique(children[matching]))
        reached = np.unique(np.concatenate(nexts))
        reached = reached[~seen[reached]]
        seen[reached] = True
        nodes = reached ^ offsets[reached]
        values = nodes[leaf[reached] == 1]
        if len(values) and int(values.max()) >= len(units):
            raise ValueError("a leaf outside")
        found.append(units[values] & ((1 << 31) - 1))
    return np.concatenate(found)
