"""How much of each word came from each source: what Generation.source_attention says of tokens, said of words."""

from __future__ import annotations

from typing import Any

from ..errors import InputError, written
from ..generation.result import Generation
from .looking import steps_of_words
from .words import Decode


def read_several(generation: Generation, index: int = 0) -> bool:
    """Whether a sequence was written from more than one source; if not, all shares are that one's."""
    found = generation.source_attention
    return found is not None and int((found[index] > 0).any(axis=0).sum()) > 1


def shares_of_words(generation: Generation, decode: Decode, index: int = 0) -> list[dict[str, Any]]:
    """[{"text": "blue", "shares": {"image": 0.97, "hint": 0.03}}, ...] of one sequence: the mean over a word's tokens.

    decode: Model.decode; index: of the sequence, among B x num_return_sequences. Raises InputError for what a model
    with one source has said.
    """
    found = generation.source_attention
    if found is None:
        raise InputError("this generation is of a model with one source, so there are no shares of sources")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(found):
        raise InputError(f"index must be that of a sequence, from 0 to {len(found) - 1}, not {written(index)}")
    _, words = steps_of_words(generation, decode, index)
    return [
        {
            "text": word,
            "shares": {
                name: round(float(share), 4)
                for name, share in zip(generation.sources, found[index, steps].mean(axis=0), strict=True)
            },
        }
        for word, steps in words
    ]
