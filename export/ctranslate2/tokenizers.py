"""The tokenizers files of a CTranslate2 folder: by a tokenizer that lies in it, or of tokens that are written apart.

Where Hugging Face's files lie beside the model they count, as tokens of theirs are given to CTranslate2 then; else a
SentencePiece model; else a text is its tokens, see vocabularies.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError, shown
from fuseline.files.reading import read_small
from fuseline.tokens.hf import ABOUT, TARGET, TOKENIZER, read_folder, read_target, without_states
from fuseline.tokens.hf.classes import TokenizerClass
from fuseline.tokens.hf.pieces import of_pieces
from fuseline.tokens.hf.sentencepiece import read_model
from fuseline.tokens.sentencepiece_texts import number as number_of
from fuseline.tokens.tokenizer import LARGEST_FILE, TokenizerFile, made_tokenizer, open_tokenizer

from ..checkpoints.checkpoint import Checkpoint
from .vocabularies import Vocabularies, are_characters, split_texts

_ENDINGS = (".spm", ".model")  # of SentencePiece models
APART = (
    "no tokenizer lies beside model.bin, so a text is its tokens with spaces between them, as '▁Hel lo ▁wor ld'; for "
    "plain texts put tokenizer.json or the SentencePiece model there"
)
WITHOUT_END = (
    "source texts get no end token, since config.json says so; where the model's texts have one, as those of "
    "transformers' Marian, set add_source_eos to true there"
)
CHARACTERS = "no tokenizer lies beside model.bin, and all tokens are characters, so a text is its characters"


def tokenizer_files(
    checkpoint: Checkpoint,
    vocabularies: Vocabularies,
    unk_token: str,
    special: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
) -> tuple[dict[str, Any], str]:
    """What writing.folder.write_to is told, tokenizer_json and tokenizer_files, and what is to be known of them.

    special: tokens that are no part of the texts that are written; before, after: those around what is read. Raises
    ExportError, FolderError where what lies in the folder does not fit the vocabularies, or is not known.
    """
    if any(checkpoint.file(name) for name in (TOKENIZER, ABOUT[0])):
        return _of_hugging_face(checkpoint, vocabularies, [*before, *after]), ""
    source, target = (_sentencepiece(checkpoint, side) for side in ("source", "target"))
    reads: Mapping[str, Any]
    remark = ""
    if source is None:
        remark = CHARACTERS if are_characters(vocabularies.source, [unk_token, *special]) else APART
        reads = split_texts(vocabularies.source, unk_token, [], before, after)
    else:
        remark = "" if after else WITHOUT_END
        reads = _pieces(source, vocabularies.source, unk_token, [], " ".join([*before, "$A", *after]))
    if target is None:
        writes: Mapping[str, Any] = split_texts(vocabularies.target, unk_token, special, [], [])
    else:
        writes = _pieces(target, vocabularies.target, unk_token, special, "$A")
    return {"tokenizer_json": _text(reads), "tokenizer_files": {TARGET: _text(writes)}}, remark


def _of_hugging_face(checkpoint: Checkpoint, vocabularies: Vocabularies, around: Sequence[str]) -> dict[str, Any]:
    """The folder's own tokenizer, which puts the tokens around a text."""
    if around:
        raise ExportError(
            f"config.json in {checkpoint.path} adds {', '.join(around)} to source texts, and so may the tokenizer "
            f"beside it; take add_source_bos and add_source_eos, or {TOKENIZER} and {ABOUT[0]}, out"
        )
    for path in checkpoint.path.iterdir():  # a link out is refused, whatever a tokenizer calls its files
        checkpoint.file(path.name)
    root = checkpoint.path.resolve()
    source, target = without_states(read_folder(root)), read_target(root)
    check_numbers(checkpoint, "source", vocabularies.source, source)
    check_numbers(checkpoint, "target", vocabularies.target, target or source)
    # What fills rows up is never read, and may be a token that CTranslate2's vocabulary leaves out, as Marian's.
    files = {ABOUT[0]: _text({**(checkpoint.json(ABOUT[0]) or {}), "pad_token": None})}
    if target is not None:
        files[TARGET] = target.raw.decode()
    return {"tokenizer_json": source.raw.decode(), "tokenizer_files": files}


def check_numbers(checkpoint: Checkpoint, side: str, tokens: Sequence[str], file: TokenizerFile) -> None:
    """Raises ExportError where a tokenizer numbers tokens otherwise than the vocabulary, or lacks most of them."""
    numbers = open_tokenizer(file, 0).tokenizer.get_vocab()
    found = [number_of(numbers.get, token) for token in tokens]
    for wanted, (number, token) in enumerate(zip(found, tokens, strict=True)):
        if number not in (None, wanted):
            raise ExportError(
                f"the tokenizer in {checkpoint.path} belongs to another model: {shown(token)!r} is token {number}, and "
                f"in the {side} vocabulary {wanted}; take it out, or copy the model's own"
            )
    if found.count(None) * 2 > len(tokens):
        raise ExportError(
            f"the tokenizer in {checkpoint.path} belongs to another model: it lacks most of the {side} vocabulary; "
            "take it out, or copy the model's own"
        )


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
