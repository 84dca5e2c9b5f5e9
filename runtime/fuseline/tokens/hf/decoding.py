"""What transformers does to a decoded text in Python, as decoder steps of tokenizers: the same text, from one file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..clean_up import CLEAN_UP, replaced
from ..tokenizer import NO_TEXTS

# No token begins with this.
NOTHING = NO_TEXTS["prepend"]
# Stands around a token between which and its neighbours is a space; no token has it.
APART = "\ufdd1"
# What Python's str.strip takes away; an expression's own \s lacks the last four control characters before the space.
_SPACES = r"[\s\x1c-\x1f]"
STRIP = (rf"\A{_SPACES}+", rf"(?<!{_SPACES}){_SPACES}++\z")


def add_steps(file: dict[str, Any], steps: list[dict[str, Any]]) -> bool:
    """Let steps follow the decoder, on the whole text; whether this changed anything.

    A file without a decoder puts spaces between its tokens, which becomes a step too.
    """
    if not steps:
        return False
    before = file.get("decoder") or joined_by_spaces(NOTHING)
    steps = [{"type": "Fuse"}, *steps]
    if before.get("type") == "Sequence" and isinstance(before.get("decoders"), list):
        file["decoder"] = {**before, "decoders": [*before["decoders"], *steps]}
    else:
        file["decoder"] = {"type": "Sequence", "decoders": [before, *steps]}
    return True


def joined_by_spaces(prefix: str) -> dict[str, Any]:
    """The decoder that puts a space before each token but the first, and but those that begin with the prefix."""
    return {"type": "WordPiece", "prefix": prefix, "cleanup": False}


def clean_up_steps() -> list[dict[str, Any]]:
    """clean_up_tokenization_spaces."""
    return [replaced(text, by) for text, by in CLEAN_UP]


def strip_steps() -> list[dict[str, Any]]:
    """str.strip of the whole text."""
    return [replaced(expression, "", "Regex") for expression in STRIP]


def apart_steps(tokens: Iterable[str], space: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Steps before and after the tokens are joined that put a space between some tokens and their neighbours.

    So do transformers' tokenizers in Python with added tokens. Tokens that differ in their number or in the code of
    their language alone are found by one expression.
    """
    forms = sorted({_form(token) for token in tokens})
    if not forms:
        return [], []
    first = replaced(rf"\A(?=(?:{'|'.join(forms)})\z)", APART, "Regex")
    behind = "|".join(f"{APART}{form}" for form in forms)
    after = [
        replaced(f"(?<={behind})", APART, "Regex"),
        replaced(rf"\A{APART}+", "", "Regex"),
        replaced(rf"{APART}++\z", "", "Regex"),
        replaced(f"{APART}+", space, "Regex"),
    ]
    return [first], after


def _form(token: str) -> str:
    """An expression of fixed length for a token: <extra_id_7> for all with one digit, __en__ for all of two letters."""
    escaped = re.escape(token)
    language = re.fullmatch(r"__([a-z]{2,3})__", token)
    if language:
        return f"__[a-z]{{{len(language[1])}}}__"
    return re.sub(r"[0-9]+", lambda digits: f"[0-9]{{{len(digits[0])}}}", escaped)


def clip_steps(file: dict[str, Any]) -> list[dict[str, Any]]:
    """CLIPTokenizerFast's: the end of a word becomes a space, and the text is stripped."""
    suffix = file["model"].get("end_of_word_suffix")
    return [replaced(suffix, " "), *strip_steps()] if isinstance(suffix, str) and suffix else strip_steps()
