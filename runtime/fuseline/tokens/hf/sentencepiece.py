"""The contents of a tokenizers file made of a SentencePiece model, read without the sentencepiece package.

The file is a message of protobuf; its fields by number are those of sentencepiece_model.proto:
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import FolderError
from ...files.wire import FIXED, Fields, Malformed, Span, Wire, of
from ..tokenizer import MOST_TOKENS
from .classes import TokenizerClass
from .vocabularies import file_of, template

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # of the model
_TEXT, _SCORE, _KIND = 1, 2, 3  # of a piece
_MODEL_TYPE, _SUFFIX, _BYTES, _UNK_ID, _UNK_PIECE = 3, 24, 35, 40, 45  # of the trainer's specification
_CHARSMAP, _PREFIXED, _STRIPPED, _ESCAPED = 2, 3, 4, 5  # of the normalizer's
UNIGRAM, BPE = 1, 2
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "▁"
T5 = ("T5Tokenizer", "MT5Tokenizer")
_MOST_SQUARES = 10**9  # of the pieces' lengths, where all their halves are looked up; in use are a few millions


@dataclass(frozen=True)
class SentencePieceModel:
    """What a SentencePiece model holds. pieces: text, score and kind of each.

    suffix: spaces belong to the word before them. byte_fallback: unknown letters become the pieces of their bytes.
    prefixed, stripped, escaped: a space is put before a text, spaces too many are taken away, and spaces become SPACE.
    """

    pieces: Sequence[tuple[str, float, int]]
    model_type: int
    unk_id: int
    unk_piece: str
    charsmap: bytes
    suffix: bool = False
    byte_fallback: bool = False
    prefixed: bool = True
    stripped: bool = True
    escaped: bool = True


def read_model(content: bytes, where: object) -> SentencePieceModel:
    """Raises FolderError for what is no SentencePiece model."""
    wire = Wire(content)
    try:
        whole = wire.fields([(0, len(content))])
        spans = of(whole, _PIECES)
        if not 0 < len(spans) <= MOST_TOKENS:
            raise Malformed(f"has {len(spans)} pieces and must have 1 to {MOST_TOKENS}")
        pieces = [_piece(wire, span) for span in spans]
        trainer, normalizer = wire.fields(of(whole, _TRAINER)), wire.fields(of(whole, _NORMALIZER))
        unk_piece = of(trainer, _UNK_PIECE)
        charsmap = of(normalizer, _CHARSMAP)
        return SentencePieceModel(
            pieces,
            _number(wire, trainer, _MODEL_TYPE, UNIGRAM),
            _number(wire, trainer, _UNK_ID, 0),
            wire.text(unk_piece[-1]).decode() if unk_piece else "<unk>",
            wire.text(charsmap[-1]) if charsmap else b"",
            suffix=bool(_number(wire, trainer, _SUFFIX, 0)),
            byte_fallback=bool(_number(wire, trainer, _BYTES, 0)),
            prefixed=bool(_number(wire, normalizer, _PREFIXED, 1)),
            stripped=bool(_number(wire, normalizer, _STRIPPED, 1)),
            escaped=bool(_number(wire, normalizer, _ESCAPED, 1)),
        )
    except (Malformed, UnicodeDecodeError, struct.error, IndexError) as error:
        raise FolderError(f"{where} is not a SentencePiece model that can be read: it {error}") from error


def of_sentencepiece(
    model: SentencePieceModel, kind: TokenizerClass, config: Mapping[str, Any], where: object
) -> dict[str, Any]:
    """The contents of a tokenizers file for a class, as transformers converts it. config: tokenizer_config.json.

    Raises FolderError for a model of another kind than it reads.
    """
    pieces = [*kind.first, *((text, score) for text, score, _ in model.pieces[kind.skipped :])]
    pieces += [(text, 0.0) for text in kind.last]
    unk_id = next((at for at, (text, _) in enumerate(kind.first) if text == "<unk>"), None)
    if unk_id is None:
        unk_id = model.unk_id + len(kind.first) - kind.skipped
    if model.model_type == UNIGRAM:
        if not 0 <= unk_id < len(pieces):
            raise FolderError(f"{where} has the unknown piece {unk_id}, and {len(pieces)} pieces")
        inner: dict[str, Any] = {"type": "Unigram", "unk_id": unk_id, "vocab": [list(each) for each in pieces]}
        inner["byte_fallback"] = False
    elif model.model_type == BPE:
        inner = merged(model, pieces, {text: at for at, (text, _, _) in enumerate(model.pieces)}, where)
    else:
        raise FolderError(f"{where} is a SentencePiece model of words or characters, of which transformers reads none")
    ids = {text: at for at, (text, _) in reversed(list(enumerate(pieces)))}
    assert kind.template is not None  # all that have SentencePiece models have one
    spaces = metaspace(_scheme(kind, config))
    file = file_of(
        inner,
        normalizer=normalizer(model.charsmap),
        pre_tokenizer=_words(kind, spaces),
        post_processor=template(kind.template, ids),
        decoder=spaces,
    )
    file["added_tokens"] = _added(model, ids)
    return file


def _piece(wire: Wire, span: Span) -> tuple[str, float, int]:
    fields = wire.fields([span])
    text = wire.text(of(fields, _TEXT)[-1]).decode()
    scores = fields.get(_SCORE)
    score = 0.0
    if scores:
        at, end = scores[-1]
        if end != FIXED:
            raise Malformed("has a piece whose score is no float")
        (score,) = struct.unpack_from("<f", wire.buffer, at)
    return text, score, _number(wire, fields, _KIND, NORMAL)


def _number(wire: Wire, fields: Fields, number: int, default: int) -> int:
    values = wire.varints(fields, number)
    return values[-1] if values else default


def merged(
    model: SentencePieceModel, pieces: Sequence[tuple[str, float]], known: Mapping[str, int], where: object
) -> dict[str, Any]:
    """The model of pieces that are merged: all pairs of known pieces that are one together, highest scores first.

    known: the pieces that can be halves, in their order. Raises FolderError for pieces that would take too long.
    """
    if sum(len(text) ** 2 for text, _ in pieces) > _MOST_SQUARES:
        raise FolderError(f"{where} has pieces that are too long to be merged; it is not a tokenizer for texts")
    merges = []
    for whole, score in dict(pieces).items():
        halves = ((whole[:end], whole[end:]) for end in range(1, len(whole)))
        pairs = [(left, right) for left, right in halves if left in known and right in known]
        merges += [(*pair, score) for pair in sorted(pairs, key=lambda pair: (known[pair[0]], known[pair[1]]))]
    merges.sort(key=lambda merge: (merge[2], len(merge[0]), len(merge[1])), reverse=True)
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.unk_piece,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {text: at for at, (text, _) in enumerate(pieces)},
        "merges": [[left, right] for left, right, _ in merges],
    }


def normalizer(charsmap: bytes, stripped: bool = True) -> dict[str, Any]:
    """The rules before a text is split."""
    rules: list[dict[str, Any]] = []
    if charsmap:
        rules.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()})
    if stripped:
        rules.append({"type": "Strip", "strip_left": False, "strip_right": True})
        rules.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": SPACE})
    return {"type": "Sequence", "normalizers": rules}


def metaspace(scheme: str) -> dict[str, Any]:
    """The rule that makes spaces a letter, and the other way round. scheme: whether one is put before a text."""
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": True}


def _scheme(kind: TokenizerClass, config: Mapping[str, Any]) -> str:
    """Whether a space is put before a text, each part between special tokens ("always"), or the first alone."""
    if kind.name not in T5:
        return "always"
    if not config.get("add_prefix_space", True):
        return "never"
    legacy = config.get("legacy")
    return "always" if legacy is None or legacy else "first"


def _words(kind: TokenizerClass, spaces: dict[str, Any]) -> dict[str, Any]:
    if kind.name != "PegasusTokenizer":
        return spaces
    return {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, spaces]}


def _added(model: SentencePieceModel, ids: dict[str, int]) -> list[dict[str, Any]]:
    """Control pieces are special tokens, and those of the user are added tokens."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    found: dict[str, dict[str, Any]] = {}
    following = max(ids.values()) + 1
    for text, _, kind in model.pieces:
        if kind in (CONTROL, USER) and text:
            number = ids.get(text)
            if number is None:
                number, following = following, following + 1
            found[text] = {"id": number, "content": text, **flags, "special": kind == CONTROL}
    return sorted(found.values(), key=lambda entry: int(entry["id"]))
