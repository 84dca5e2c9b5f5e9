"""What no option of generation shows alone: sequences against beams, groups of beams, tokens against the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError

# The tokens that a text begins with, ends with and is padded with.
TOKENS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
_WITH_TOKENS = (*TOKENS, "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id")


def check_together(values: Mapping[str, Any], vocab_size: int | None) -> None:
    """Raise InputError for options that do not go together, or a token outside the vocabulary (None: unknown)."""
    beams, returned = values["num_beams"], values["num_return_sequences"]
    if returned > beams and not (values["do_sample"] and beams == 1):
        raise InputError(
            f"num_return_sequences={returned} is more than num_beams={beams}; there is one sequence a beam at most"
        )
    if values["num_beam_groups"] > 1 or values["diversity_penalty"] != 0:
        _check_groups(values)
    if vocab_size is None:
        return
    for name, tokens in _all_tokens(values).items():
        for token in tokens:
            if token >= vocab_size:
                raise InputError(f"{name}={token} is outside the vocabulary, whose ids are 0 to {vocab_size - 1}")


def _check_groups(values: Mapping[str, Any]) -> None:
    """What groups of beams need, and what does not go together with them."""
    beams, groups = values["num_beams"], values["num_beam_groups"]
    if groups == 1:
        raise InputError("diversity_penalty keeps groups of beams apart; give num_beam_groups too, or leave it at 0.0")
    if beams % groups:
        raise InputError(f"num_beams={beams} cannot be divided into num_beam_groups={groups} of equal size")
    if values["diversity_penalty"] <= 0:
        raise InputError(
            f"with num_beam_groups={groups} the groups would all be the same; give a diversity_penalty above 0"
        )
    for name in ("do_sample", "stop_strings", "stopping_criteria"):
        if values[name]:
            raise InputError(f"{name} does not go together with num_beam_groups; leave one of them out")


def _all_tokens(values: Mapping[str, Any]) -> dict[str, list[int]]:
    """Every token id that the options name."""
    found = {}
    for name in _WITH_TOKENS:
        value = values[name]
        found[name] = [] if value is None else list(value) if isinstance(value, tuple) else [value]
    found["timestamps"] = [] if values["timestamps"] is None else [values["timestamps"].first]
    found["bad_words_ids"] = [token for word in values["bad_words_ids"] or () for token in word]
    found["sequence_bias"] = [token for word, _ in values["sequence_bias"] or () for token in word]
    return found
