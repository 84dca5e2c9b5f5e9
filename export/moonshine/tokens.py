"""Moonshine's list of tokens (tokenizer.bin) as a tokenizers file.

The list has each token's bytes behind their number: one byte below 128, or two, of which the first is 128 more than
what is added to 128 times the second. Tokens are those of Llama: pieces with "▁" for spaces, whose order is that of the
merges, and after three marks one token for each byte. Pieces that look like <<ST_1>> are marks as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError
from fuseline.files.reading import open_regular

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
_MARKS = (UNKNOWN, START, END)
_BYTES = range(len(_MARKS), len(_MARKS) + 256)
_MARK = re.compile(r"<<\w+>>")
_LARGEST = 16 << 20
_TWO_BYTES = 128
_SPACE = "▁"


def read_tokens(path: Path) -> list[str]:
    """The tokens by their numbers; bytes are written <0x0A>. Raises ExportError for a list that is no such."""
    try:
        with open_regular(path) as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = list(_items(content))
        marks, alone = found[: len(_MARKS)], found[_BYTES.start : _BYTES.stop]
        if marks != [mark.encode() for mark in _MARKS] or alone != [bytes([each]) for each in range(256)]:
            raise ValueError("it does not begin with its marks and all bytes")
        pieces = [each.decode() for each in found[_BYTES.stop :]]
        if len(set(pieces)) < len(pieces):
            raise ValueError("it has a token twice")
    except (IndexError, ValueError) as error:
        raise ExportError(f"{path} is no list of tokens: {error}") from error
    return [*_MARKS, *(f"<0x{each:02X}>" for each in range(256)), *pieces]


def tokenizer_json(tokens: Sequence[str]) -> str:
    """The contents of the tokenizers file."""
    numbers = {token: number for number, token in enumerate(tokens)}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    marks = [token for token in tokens if token in _MARKS or _MARK.fullmatch(token)]
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    spaces = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    value: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": numbers[each], "content": each, **flags, "special": True} for each in marks],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": _SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": _starting(numbers[START]),
        "decoder": {"type": "Sequence", "decoders": [spaces, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": numbers,
            "merges": list(_merges(numbers)),
        },
    }
    return json.dumps(value, ensure_ascii=False)


def _items(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        size = content[at]
        at += 1
        if size >= _TWO_BYTES:
            size += _TWO_BYTES * content[at] - _TWO_BYTES
            at += 1
        if at + size > len(content):
            raise ValueError("it is cut short")
        yield content[at : at + size]
        at += size


def _merges(numbers: dict[str, int]) -> Iterator[list[str]]:
    """All pairs of tokens that make a token, in the order of what they make, as tokenizers has Llama's."""
    for token, number in numbers.items():
        if number < _BYTES.stop or _MARK.fullmatch(token):
            continue
        pairs = [(token[:at], token[at:]) for at in range(1, len(token))]
        known = [(one, other) for one, other in pairs if one in numbers and other in numbers]
        yield from (list(pair) for pair in sorted(known, key=lambda pair: (numbers[pair[0]], numbers[pair[1]])))


def _starting(start: int) -> dict[str, Any]:
    """A text that is read begins with START."""
    mark, text = {"SpecialToken": {"id": START, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = [{"SpecialToken": {"id": START, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    special = {START: {"id": START, "ids": [start], "tokens": [START]}}
    return {
        "type": "TemplateProcessing",
        "single": [mark, text],
        "pair": [mark, text, *second],
        "special_tokens": special,
    }
