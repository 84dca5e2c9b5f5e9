"""transformers' clean_up_tokenization_spaces: decoder steps of a tokenizers file, and a text with them or without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

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


def replaced(text: str, by: str, kind: str = "String") -> dict[str, Any]:
    """A decoder step that replaces a text, or what an expression (kind "Regex") finds."""
    return {"type": "Replace", "pattern": {kind: text}, "content": by}


class CleanUp:
    """Texts of tokens with the clean-up of spaces or without it, whatever the tokenizer's own decoder does."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def decode(self, tokens: Sequence[int], skip_special_tokens: bool, clean_up: bool) -> str:
        """The text of tokens."""
        if self._without is None:
            text: str = self._tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)
        else:
            special = self._special if skip_special_tokens else frozenset()
            found = (self._tokenizer.id_to_token(token) for token in tokens if token not in special)
            text = self._without.decode([token for token in found if token is not None])
        if clean_up:
            for spaced, close in CLEAN_UP:
                text = text.replace(spaced, close)
        return text

    @property
    def is_done(self) -> bool:
        """Whether the tokenizer's own decoder cleans up."""
        return self._without is not None

    @cached_property
    def _without(self) -> Any:
        """The decoder without the steps of the clean-up; None where it has none."""
        decoder = self._tokenizer.decoder
        if decoder is None:
            return None
        steps = json.loads(decoder.__getstate__()).get("decoders", [])
        clean_up = [replaced(text, by) for text, by in CLEAN_UP]
        count = len(clean_up)
        places = [at for at in range(len(steps)) if steps[at : at + count] == clean_up]
        if not places:
            return None
        left = [*steps[: places[0]], *steps[places[0] + count :]]

        from tokenizers import Tokenizer

        nothing = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
        return Tokenizer.from_str(
            json.dumps({"model": nothing, "decoder": {"type": "Sequence", "decoders": left}})
        ).decoder

    @cached_property
    def _special(self) -> frozenset[int]:
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(token for token, entry in added.items() if entry.special)
