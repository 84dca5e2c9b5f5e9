"""The tokenizers file of a model that writes what is said: with all tokens that stand for times.

Old checkpoints of Whisper have tokenizers files without the 1,501 tokens <|0.00|> to <|30.00|>, which the model writes
all the same. They are added here. They are special, so that texts are without them, as transformers' tokenizer leaves
them out.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError
from fuseline.tokens.tokenizer import TokenizerFile, made_tokenizer

from .checkpoint import Checkpoint
from .tokenizer import both, compared, content

NO_TIMESTAMPS = "<|notimestamps|>"
TIMES = tuple(f"<|{step * 0.02:.2f}|>" for step in range(1501))


def speech_tokenizer_json(checkpoint: Checkpoint) -> Path | str:
    """The checkpoint's tokenizer.json where it says everything, else the text of one that does.

    Raises ExportError where there is none, none can be made, and where it differs from transformers' tokenizer.
    """
    ours, theirs = both(checkpoint)
    made = with_times(ours)
    if made is ours:
        compared(ours, theirs, checkpoint.path)
    else:  # their own texts leave times out
        first = _first_time(made.value)
        compared(made, theirs, checkpoint.path, below=first)
    return content(made, checkpoint)


def with_times(file: TokenizerFile) -> TokenizerFile:
    """The same with the tokens of times, which follow <|notimestamps|>; itself where it has no such token."""
    value = copy.deepcopy(dict(file.value))
    first = _first_time(value)
    if first is None:
        return file
    added = {entry["content"]: entry for entry in value["added_tokens"]}
    others = {token: at for token, at in value["model"]["vocab"].items() if token not in added and at >= first}
    wrong = [token for number, token in enumerate(TIMES) if others.get(token, first + number) != first + number]
    wrong += [token for token in others if token not in TIMES]
    wrong += [t for n, t in enumerate(TIMES) if t in added and added[t]["id"] != first + n]
    wrong += [t for t, entry in added.items() if entry["id"] >= first and t not in TIMES]
    if wrong:
        raise ExportError(f"{file.where}: {wrong[0]} stands where the tokens of times are, behind {NO_TIMESTAMPS}")
    kept = [entry for entry in value["added_tokens"] if entry["content"] not in TIMES]
    value["added_tokens"] = kept + [_time(token, first + number) for number, token in enumerate(TIMES)]
    return made_tokenizer(file.where, value)


def _time(token: str, number: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, **flags, "special": True}


def _first_time(value: Any) -> int | None:
    """The number of <|0.00|>, None of a tokenizer without <|notimestamps|>."""
    found = next((entry["id"] for entry in value["added_tokens"] if entry["content"] == NO_TIMESTAMPS), None)
    if found is None:
        found = value["model"]["vocab"].get(NO_TIMESTAMPS) if isinstance(value["model"]["vocab"], dict) else None
    return None if found is None else int(found) + 1
