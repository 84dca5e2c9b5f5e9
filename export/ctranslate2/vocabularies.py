"""The vocabularies in a CTranslate2 folder, and tokenizers files for texts whose tokens are written apart.

Whoever uses such a folder splits texts into tokens before CTranslate2 sees them. What the folder does not say, how, is
taken as it is mostly done: where all tokens are single characters a text is its characters, else a text is tokens with
spaces between them ("▁Hel lo ▁wor ld").
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError, FolderError, shown
from fuseline.files.reading import open_regular
from fuseline.tokens.tokenizer import LARGEST_FILE, MOST_TOKENS

from ..checkpoints.checkpoint import Checkpoint

_ENDINGS = (".json", ".txt")  # in the order in which CTranslate2 looks for them


@dataclass(frozen=True)
class Vocabularies:
    """Tokens by their numbers."""

    source: Sequence[str]
    target: Sequence[str]


def read_vocabularies(checkpoint: Checkpoint, unk_token: str) -> Vocabularies:
    """Of the folder's shared_vocabulary, or source_vocabulary and target_vocabulary, .json or .txt.

    A vocabulary without unk_token gets it as its last, as CTranslate2 does. Raises ExportError where there is none, for
    what is no vocabulary, and for several inputs a token.
    """
    folder, shared = checkpoint.path, read_vocabulary(checkpoint, "shared_vocabulary", unk_token)
    if shared is not None:
        return Vocabularies(shared, shared)
    found = {name: read_vocabulary(checkpoint, f"{name}_vocabulary", unk_token) for name in ("source", "target")}
    if found["source"] is None and _file(checkpoint, "source_1_vocabulary") is not None:
        raise ExportError(f"{folder} has source_1_vocabulary: several inputs for each token are not known here")
    lost = [f"{name}_vocabulary.json" for name, tokens in found.items() if tokens is None]
    if lost:
        raise ExportError(f"{folder} has no shared_vocabulary.json (or .txt), and no {' and no '.join(lost)}")
    return Vocabularies(found["source"] or [], found["target"] or [])


def check_vocabulary(folder: Path, side: str, tokens: Sequence[str], rows: int) -> None:
    """Raises ExportError where a vocabulary is not that of a table of embeddings, or has a token twice.

    side: "source" or "target"; rows: of the table.
    """
    if len(tokens) != rows:
        raise ExportError(
            f"the {side} vocabulary in {folder} has {len(tokens)} tokens and the embeddings are of {rows}; copy the "
            "vocabulary of this model"
        )
    if len(set(tokens)) < len(tokens):
        twice = next(token for at, token in enumerate(tokens) if token in tokens[:at])
        raise ExportError(f"the {side} vocabulary in {folder} has {shown(twice)!r} twice, which is not known here")


def number_of(tokens: Sequence[str], token: object, role: str) -> int:
    """The number of a token that config.json names. role: its name there. Raises ExportError."""
    if not isinstance(token, str) or token not in tokens:
        raise ExportError(
            f"{role} of the CTranslate2 model is {shown(repr(token))}, which its vocabulary does not have; name a "
            "token of it in config.json"
        )
    return list(tokens).index(token)


def are_characters(tokens: Sequence[str], marks: Sequence[str]) -> bool:
    """Whether texts are characters: all tokens have one, but for marks and what is written as <mark>.

    Where "▁" is a token and a space is none, it stands for spaces by a rule that the folder does not tell.
    """
    plain = [token for token in tokens if token not in marks and not (token.startswith("<") and token.endswith(">"))]
    spaced = "▁" in plain and " " not in plain
    return bool(plain) and not spaced and all(len(token) == 1 for token in plain)


def split_texts(
    tokens: Sequence[str], unk_token: str, special: Sequence[str], before: Sequence[str], after: Sequence[str]
) -> dict[str, Any]:
    """The contents of a tokenizers file of such texts.

    special: what is no text, and is looked for in none; before, after: what every text gets on either side.
    """
    ids = {token: number for number, token in enumerate(tokens)}
    characters = are_characters(tokens, (unk_token, *special))
    model: dict[str, Any] = {"type": "WordLevel", "vocab": ids, "unk_token": unk_token}
    if characters:  # without merges a text is its characters
        model = {"type": "BPE", "vocab": ids, "merges": [], "unk_token": unk_token, "fuse_unk": False}
    spaces = {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": ids[token], "content": token, **flags} for token in sorted(special, key=ids.__getitem__)
        ],
        "normalizer": None,
        "pre_tokenizer": None if characters else spaces,
        "post_processor": _template(ids, before, after),
        "decoder": {"type": "Fuse"} if characters else None,
        "model": model,
    }


def _template(ids: Mapping[str, int], before: Sequence[str], after: Sequence[str]) -> dict[str, Any] | None:
    if not (before or after):
        return None

    def marks(tokens: Sequence[str]) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": token, "type_id": 0}} for token in tokens]

    text, second = ({"Sequence": {"id": name, "type_id": kind}} for name, kind in (("A", 0), ("B", 1)))
    return {
        "type": "TemplateProcessing",
        "single": [*marks(before), text, *marks(after)],
        "pair": [*marks(before), text, second, *marks(after)],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in dict.fromkeys([*before, *after])
        },
    }


def _file(checkpoint: Checkpoint, name: str) -> Path | None:
    return next((path for ending in _ENDINGS if (path := checkpoint.file(f"{name}{ending}"))), None)


def read_vocabulary(checkpoint: Checkpoint, name: str, unk_token: str) -> list[str] | None:
    """The tokens of name.json or name.txt, unk_token last where they are without; None where there is no such file."""
    path = _file(checkpoint, name)
    if path is None:
        return None
    try:
        with open_regular(path) as file:
            raw = file.read(LARGEST_FILE + 1)
    except (OSError, FolderError) as error:
        raise ExportError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > LARGEST_FILE:
        raise ExportError(f"{path} has more than {LARGEST_FILE} bytes; it is no vocabulary")
    try:
        tokens = json.loads(raw) if path.suffix == ".json" else _lines(raw.decode())
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} is no vocabulary: {error}") from error
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ExportError(f"{path} is no vocabulary: it must hold a JSON list of texts")
    if not 0 < len(tokens) <= MOST_TOKENS:
        raise ExportError(f"{path} has {len(tokens)} tokens and may have {MOST_TOKENS}")
    tokens = tokens if unk_token in tokens else [*tokens, unk_token]
    if any("\ud800" <= letter <= "\udfff" for letter in "".join(tokens)):
        raise ExportError(f"{path} has a token with half of a surrogate pair, which is no text")
    return tokens


def _lines(text: str) -> list[str]:
    """A token a line. Where all lines end with a carriage return, it belongs to the ends and not to the tokens."""
    lines = text.removesuffix("\n").split("\n")
    returns = all(line.endswith("\r") for line in lines)
    return [line[:-1] for line in lines] if returns else lines
