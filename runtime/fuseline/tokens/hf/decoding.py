"""What transformers does to a decoded text in Python, as decoder steps of tokenizers: the same text, from one file."""

from __future__ import annotations

from typing import Any

from ..tokenizer import NO_TEXTS

# Of transformers' clean_up_tokenization, one after the other over the whole text.
CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
# No token begins with this.
NOTHING = NO_TEXTS["prepend"]
# What Python's str.strip takes away; an expression's own \s lacks the last four control characters before the space.
_SPACES = r"[\s\x1c-\x1f]"
STRIP = (rf"\A{_SPACES}+", rf"(?<!{_SPACES}){_SPACES}++\z")


def replaced(text: str, by: str, kind: str = "String") -> dict[str, Any]:
    """A decoder step that replaces a text, or what an expression (kind "Regex") finds."""
    return {"type": "Replace", "pattern": {kind: text}, "content": by}


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


def clip_steps(file: dict[str, Any]) -> list[dict[str, Any]]:
    """CLIPTokenizerFast's: the end of a word becomes a space, and the text is stripped."""
    suffix = file["model"].get("end_of_word_suffix")
    return [replaced(suffix, " "), *strip_steps()] if isinstance(suffix, str) and suffix else strip_steps()
