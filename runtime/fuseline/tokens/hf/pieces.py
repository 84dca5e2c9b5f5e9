"""The contents of a tokenizers file where a SentencePiece model splits texts and vocab.json numbers the pieces.

MarianTokenizer and M2M100Tokenizer have no fast form: transformers asks the sentencepiece package for pieces, and
vocab.json for their numbers. One file says both. A token is in it as it is where the model can make it as a piece; a
token that it cannot make ends with `UNMADE`, which no text has, and the decoder takes it off again; one that becomes no
text begins with it. Pieces that vocab.json lacks follow the vocabulary, after a token that is `UNMADE` alone: their
numbers stand for the unknown token. Last come tokens whose number an added token has too (as <pad> of a source whose
target has a vocabulary of its own): the text, `UNMADE`, and the number; and pieces that the user defined, after two
`UNMADE`.
tokens/sentencepiece_texts.py splits texts by such a file as sentencepiece does, where tokenizers' own rules differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import FolderError, shown
from ..clean_up import replaced
from ..sentencepiece_texts import CODES, UNMADE
from .classes import TokenizerClass
from .decoding import APART, apart_steps, strip_steps
from .sentencepiece import (
    BPE,
    CONTROL,
    NORMAL,
    SPACE,
    UNIGRAM,
    UNUSED,
    USER,
    SentencePieceModel,
    merged,
    metaspace,
    normalizer,
)
from .vocabularies import file_of, template

_MOST_ADDED = 64
_MOST_GAP = 1 << 16


def of_pieces(
    model: SentencePieceModel,
    vocab: Mapping[str, int],
    added: Sequence[Mapping[str, Any]],
    size: int,
    kind: TokenizerClass,
    where: object,
) -> dict[str, Any]:
    """The file for texts of one side. vocab: vocab.json with the languages; added: the added tokens with their ids;
    size: how many tokens the network has at least; where: the SentencePiece file. Raises FolderError.
    """
    _check(model, where)
    if UNMADE in "".join(vocab) or APART in "".join(vocab):
        raise FolderError(f"{where}: its vocabulary has U+FDD0 or U+FDD1, which stand for no letter")
    unk = kind.specials["unk_token"]
    if unk not in vocab:
        raise FolderError(f"{where}: its vocabulary lacks {unk!r}, for what is not in it")
    merges = {text: score for text, score, sort in model.pieces if sort == NORMAL}
    lowest = min(merges.values(), default=0.0)
    users = [text for text, _, sort in model.pieces if sort == USER and text]
    made = merges | dict.fromkeys(users, lowest)
    silent = {text for text, _, sort in model.pieces if sort == CONTROL}
    own = {str(each["content"]): int(each["id"]) for each in added}
    own.setdefault(unk, vocab[unk])
    texts = {token: text for text, token in vocab.items()} | {token: text for text, token in own.items()}
    size = max(size, *(token + 1 for token in texts))
    if size - len(texts) > _MOST_GAP:
        raise FolderError(f"{where}: its vocabulary has {len(texts)} tokens with numbers up to {size - 1}")
    pieces = []
    for token in range(size):
        text = texts.get(token, "")
        if own.get(text, token) != token or (text in silent and text not in own):
            pieces.append((f"{UNMADE}{text}", lowest))
        elif text and (text in made or text in own):
            pieces.append((text, made.get(text, lowest)))
        else:
            pieces.append((f"{text}{UNMADE}" if text else f"{UNMADE}{token}", lowest))
    pieces.append((UNMADE, lowest))
    twice = [text for text, token in vocab.items() if texts[token] != text and text not in own]
    pieces += [(text, score) for text, score in made.items() if text not in vocab or text in twice]
    pieces += [(f"{text}{UNMADE}{vocab[text]}", lowest) for text in twice]
    pieces += [(f"{UNMADE}{UNMADE}{text}", lowest) for text in users]
    file = file_of(
        _split(model, pieces, merges, vocab[unk], where),
        normalizer=normalizer(model.charsmap, model.stripped),
        pre_tokenizer=_words(model, kind),
        post_processor=template(kind.template or "$A", {text: token for token, text in texts.items()}),
        decoder={"type": "Sequence", "decoders": _steps(added, len(vocab) - len(kind.codes), kind, where)},
    )
    file["added_tokens"] = [dict(each) for each in added]
    return file


def _check(model: SentencePieceModel, where: object) -> None:
    """Raises FolderError for a model that is read by rules that are not known here."""
    for text, _, sort in model.pieces:
        if sort == UNUSED and model.model_type == BPE:
            raise FolderError(
                f"{where} has the piece {shown(text)!r}, which is not in use; such pieces are not known here where a "
                "tokenizer has no fast form"
            )
    if model.byte_fallback:
        raise FolderError(
            f"{where} makes pieces of the bytes of unknown letters, which is not known here where a tokenizer has no "
            "fast form"
        )
    if model.suffix or not model.escaped:
        raise FolderError(f"{where} puts spaces otherwise than before words, which is not known here")
    if UNMADE in "".join(text for text, _, _ in model.pieces):
        raise FolderError(f"{where} has a piece with U+FDD0, which stands for no letter")


def _split(
    model: SentencePieceModel, pieces: list[tuple[str, float]], made: Mapping[str, float], unk: int, where: object
) -> dict[str, Any]:
    if model.model_type == UNIGRAM:
        vocab = [list(each) for each in pieces]
        return {"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": False}
    if model.model_type != BPE:
        raise FolderError(f"{where} is a SentencePiece model of words or characters, which is not known here")
    inner = merged(model, list(made.items()), {text: at for at, text in enumerate(made)}, where)
    inner["vocab"] = {text: at for at, (text, _) in enumerate(pieces)}
    return inner | {"unk_token": pieces[unk][0]}


def _words(model: SentencePieceModel, kind: TokenizerClass) -> dict[str, Any]:
    """Metaspace, and before it what keeps Marian's >>fr<< at the beginning of a text one token."""
    spaces = metaspace("always" if model.prefixed else "never")
    if kind.name != "MarianTokenizer":
        return spaces
    return {"type": "Sequence", "pretokenizers": [CODES, spaces]}


def _steps(added: Sequence[Mapping[str, Any]], known: int, kind: TokenizerClass, where: object) -> list[dict[str, Any]]:
    """How tokens become a text. known: tokens of vocab.json; added ones beyond have a space on either side."""
    special = [str(each["content"]) for each in added if each["special"] and each["id"] < known]
    apart = [str(each["content"]) for each in added if not each["special"] or each["id"] >= known]
    if len(special) > _MOST_ADDED or len(apart) - len(kind.codes) > _MOST_ADDED:
        raise FolderError(
            f"{where}: more than {_MOST_ADDED} tokens are added to its vocabulary, which is not known here"
        )
    after = " " if kind.name == "MarianTokenizer" else ""
    alone, joined = apart_steps(apart, " ")
    steps = [replaced(rf"{UNMADE}[\s\S]*", "", "Regex"), *alone]
    steps += [replaced(rf"\A{re.escape(text)}\z", text + after, "Regex") for text in special if after]
    ends = [re.escape(text + after) for text in special] + [APART]
    steps += [{"type": "Fuse"}, *joined[:1], replaced(f"(?<={'|'.join(ends)}){SPACE}+", "", "Regex")]
    return [*steps, replaced(SPACE + APART, APART), *joined[1:], replaced(SPACE, " "), *strip_steps()]
