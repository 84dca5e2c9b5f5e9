"""Sentences that name Python's arguments, as somebody reads them who typed a command's options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What sentences call an option that has another name in Python, by argparse's name for it.
_ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "max_length": {"max_length or max_new_tokens": "--max-length", "max_new_tokens": "--max-length"},
    "truncate": {"truncation=True": "--truncate", "leave truncation out": "leave --truncate out"},
    "allow_downloads": {"allow_downloads=True": "--allow-downloads"},
    "batch": {"batch_size": "--batch"},
    "target": {"src_lang": "--from", "tgt_lang": "--to"},
    "tgt_lang": {"src_lang": "--from", "tgt_lang": "--to"},
}
# Options of one word, which sentences may also have as a word of English.
_WORDS = (
    "batch", "calibrate", "default", "device", "half", "hotwords", "language", "limit", "prefix", "prompt",
    "references", "split", "static", "task", "threads", "variant", "variants",
)  # fmt: skip
_KINDS: Mapping[str, str] = {"int": "whole number", "float": "number"}  # what argparse calls by Python's names
_INVALID = re.compile(r"^argument (--[\w-]+): invalid (int|float) value: (.*)", re.DOTALL)
_VALUE = r"=(?P<{}>'[^']*'|[^\s,;()]+)"
_OR_NONE = re.compile(r",? or None(?=[,;]|$)")


def as_typed(sentence: str, options: Mapping[str, Any]) -> str:
    """The sentence with the command's options in the place of arguments: "--num-beams" where it says num_beams.

    options: those of the command, by argparse's names (vars of its namespace). Of words that are English too only
    those are meant that begin the sentence or that are to be left out.
    """
    names = {name: "--" + name.replace("_", "-") for name in options if "_" in name}
    for name in options:
        names |= _ELSEWHERE.get(name, {})
    words = [name for name in _WORDS if name in options]
    if not names and not words:
        return sentence
    found = _pattern(names, words).sub(lambda match: _typed(match, names), sentence)
    return _OR_NONE.sub("", found) if found.startswith("--") and found != sentence else found


def in_numbers(message: str) -> str:
    """What argparse says of a value that is no number, in our words."""
    return _INVALID.sub(lambda match: f"{match[1]} must be a {_KINDS[match[2]]}, not {match[3]}", message)


def _pattern(names: Mapping[str, str], words: list[str]) -> re.Pattern[str]:
    """What is replaced: nothing that may be a part of a path or of a longer name."""
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)"
    plain = rf"(?<![\w./\\'\"-])(?P<name>{longest_first})(?:{_VALUE.format('value')}|(?![\w./\\'\"-]))"
    word = "|".join(words) or r"(?!)"
    begins = rf"^(?P<first>{word})(?:{_VALUE.format('given')}|(?= must| is| are| has))"
    left_out = rf"(?<=leave )(?P<left>{word})(?= out)"
    return re.compile(f"{plain}|{begins}|{left_out}")


def _typed(match: re.Match[str], names: Mapping[str, str]) -> str:
    name, value = match["name"], match["value"] or match["given"]
    option = names[name] if name is not None else f"--{match['first'] or match['left']}"
    return option if value is None else f"{option} {value.strip(chr(39))}"
