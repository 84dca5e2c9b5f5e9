"""The tokenizers files of a CTranslate2 folder: by a tokenizer that lies in it, or of tokens that are written apart.

Where a tokenizer.json lies beside the model it counts, as Hugging Face's tokens are given to CTranslate2; else a
SentencePiece model; else a text is its tokens, see vocabularies.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError, shown
from fuseline.files.reading import read_small
from fuseline.tokens.hf import ABOUT, TARGET, TOKENIZER, read_folder, without_states
from fuseline.tokens.hf.classes import TokenizerClass
from fuseline.tokens.hf.pieces import of_pieces
from fuseline.tokens.hf.sentencepiece import read_model
from fuseline.tokens.tokenizer import LARGEST_FILE, made_tokenizer, open_tokenizer

from ..checkpoints.checkpoint import Checkpoint
from .vocabularies import Vocabularies, split_texts

_ENDINGS = (".spm", ".model")  # of SentencePiece models


def tokenizer_files(
    checkpoint: Checkpoint,
    vocabularies: Vocabularies,
    unk_token: str,
    special: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
) -> dict[str, Any]:
    """What writing.folder.write_to is told: tokenizer_json and tokenizer_files.

    special: tokens that are no part of the texts that are written; before, after: those around what is read. Raises
    ExportError, FolderError where what lies in the folder does not fit the vocabularies, or is not known.
    """
    if checkpoint.file(TOKENIZER) is not None:
        return _of_hugging_face(checkpoint, vocabularies, [*before, *after])
    source, target = (_sentencepiece(checkpoint, side) for side in ("source", "target"))
    reads: Mapping[str, Any]
    if source is None:
        reads = split_texts(vocabularies.source, unk_token, [], before, after)
    else:
        reads = _pieces(source, vocabularies.source, unk_token, [], " ".join([*before, "$A", *after]))
    if target is None:
        writes: Mapping[str, Any] = split_texts(vocabularies.target, unk_token, special, [], [])
    else:
        writes = _pieces(target, vocabularies.target, unk_token, special, "$A")
    return {"tokenizer_json": _text(reads), "tokenizer_files": {TARGET: _text(writes)}}


def _of_hugging_face(checkpoint: Checkpoint, vocabularies: Vocabularies, around: Sequence[str]) -> dict[str, Any]:
    """The folder's own tokenizer.json, which puts the tokens around a text."""
    if around:
        raise ExportError(
            f"config.json in {checkpoint.path} adds {', '.join(around)} to source texts, and so may {TOKENIZER}; take "
            "add_source_bos and add_source_eos, or the tokenizer, out"
        )
    for name in ABOUT:
        checkpoint.file(name)  # a link out is refused
    file = without_states(read_folder(checkpoint.path.resolve()))
    vocab = open_tokenizer(file, 0).tokenizer.get_vocab()
    for side, tokens in (("source", vocabularies.source), ("target", vocabularies.target)):
        for number, token in enumerate(tokens):
            if vocab.get(token, number) != number:
                raise ExportError(
                    f"{TOKENIZER} in {checkpoint.path} belongs to another model: {shown(token)!r} is token "
                    f"{vocab[token]}, and in the {side} vocabulary {number}; take it out, or copy the model's own"
                )
        if sum(token in vocab for token in tokens) * 2 < len(tokens):
            raise ExportError(
                f"{TOKENIZER} in {checkpoint.path} belongs to another model: it lacks most of the {side} vocabulary; "
                "take it out, or copy the model's own"
            )
    about = checkpoint.file(ABOUT[0])
    return {"tokenizer_json": file.raw.decode(), "tokenizer_files": {} if about is None else {ABOUT[0]: about}}


def _sentencepiece(checkpoint: Checkpoint, side: str) -> Path | None:
    """The SentencePiece model that splits texts of a side: source.spm or target.spm, or else the only one."""
    own = [path for ending in _ENDINGS if (path := checkpoint.file(f"{side}{ending}"))]
    if own:
        return own[0]
    found = sorted(path.name for path in checkpoint.path.iterdir() if path.suffix in _ENDINGS)
    if len(found) > 1:
        raise ExportError(
            f"{checkpoint.path} has several SentencePiece models, {', '.join(map(shown, found))}; call them source.spm "
            "and target.spm"
        )
    return checkpoint.file(found[0]) if found else None


def _pieces(path: Path, tokens: Sequence[str], unk_token: str, special: Sequence[str], form: str) -> Mapping[str, Any]:
    """The contents of a tokenizers file: the model splits texts, and the vocabulary numbers the pieces."""
    vocab = {token: number for number, token in enumerate(tokens)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": vocab[token], "content": token, **flags} for token in special]
    kind = TokenizerClass("CTranslate2", "pieces", specials={"unk_token": unk_token}, template=form)
    model = read_model(read_small(path.parent, path.name, LARGEST_FILE)[0], path)
    return made_tokenizer(path, of_pieces(model, vocab, added, len(tokens), kind, path)).value


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
