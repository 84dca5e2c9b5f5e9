"""A tokenizers file of a vocabulary alone: byte pairs whose merges follow from the order of the tokens.

In such a vocabulary (GPT-2's, and OpenAI's after it) a token's number is the rank of the merge that makes it. So a
token's pair is what is left of its bytes when all merges of lower rank are done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from fuseline.tokens.tokenizer import TokenizerFile, made_tokenizer


def byte_pairs(where: Path, tokens: Sequence[str]) -> TokenizerFile:
    """The file of tokens by their numbers, in GPT-2's letters for bytes; what is written <|so|> is no text."""
    marks = [token for token in tokens if token.startswith("<|") and token.endswith("|>")]
    plain = {token: number for number, token in enumerate(tokens) if token not in set(marks)}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    numbers = {token: number for number, token in enumerate(tokens)}
    added = [{"id": numbers[token], "content": token, **flags, "special": True} for token in marks]
    bytes_alone = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    value: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": bytes_alone,
        "post_processor": None,
        "decoder": bytes_alone,
        "model": {"type": "BPE", "vocab": plain, "merges": _merges(plain)},
    }
    return made_tokenizer(where, value)


def _merges(numbers: Mapping[str, int]) -> list[list[str]]:
    """The pair of every token that is made of one, in their order."""
    merges = []
    for token, rank in sorted(numbers.items(), key=lambda item: item[1]):
        parts = _parts(token, rank, numbers)
        if len(parts) == 2:
            merges.append(parts)
    return merges


def _parts(token: str, rank: int, numbers: Mapping[str, int]) -> list[str]:
    """The token's letters, merged by all ranks below its own."""
    parts = list(token)
    while len(parts) > 2:
        ranks = [numbers.get(one + other, rank) for one, other in pairwise(parts)]
        best = min(ranks)
        if best >= rank:
            break
        at = ranks.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
