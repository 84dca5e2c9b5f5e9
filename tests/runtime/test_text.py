"""Text in pieces: joined they are the whole, none ends within a character or a word, whatever the tokenizer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from fuseline.outputs.pieces import TextPieces, text_of_token
from fuseline.tokens.hf.decoding import CLEAN_UP, add_steps, clean_up_steps, clip_steps
from fuseline.tokens.tokenizer import TextTokens

CORPUS = [
    "a dog runs on the beach, and another dog's ball isn't there.",
    "two men are riding bikes; they don't see the camera!",
    "naïve café-goers drink crème brûlée \U0001f600\U0001f601 under the trees",
    "黒い犬が海岸を走っています。 猫は眠る",
    "собака бежит по пляжу",
    "คนขี่จักรยาน",
]
KINDS = ("ByteLevel", "ByteFallback", "Metaspace", "WordPiece", "WordLevel", "BPE suffix")
__all__ = ["text_of_token"]


def tokens_of(tokenizer: Any) -> TextTokens:
    """Texts and tokens of a tokenizer of at most 1,000 tokens, for texts of at most 1,000 characters."""
    return TextTokens(tokenizer, 1000, 1000)


def tokenizer_of(kind: str) -> Any:
    """A small tokenizer of this kind, trained on the texts above; most texts become several tokens a word."""
    special = {"special_tokens": ["<unk>", "<s>"], "show_progress": False}
    if kind == "WordLevel":
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer: Any = trainers.WordLevelTrainer(**special)
    elif kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFC(), pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(cleanup=True)
        trainer = trainers.WordPieceTrainer(vocab_size=180, **special)
    else:
        more: dict[str, Any] = {"byte_fallback": True} if kind == "ByteFallback" else {}
        more |= {"end_of_word_suffix": "</w>"} if kind == "BPE suffix" else {}
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **more))
        if kind == "ByteLevel":
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
            special["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
        elif kind == "BPE suffix":
            tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.BPEDecoder()
            special["end_of_word_suffix"] = "</w>"
        else:
            tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
            if kind == "ByteFallback":
                tokenizer.decoder = decoders.Sequence(
                    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
                )
                special["special_tokens"] = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(vocab_size=520 if "Byte" in kind else 200, **special)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


TOKENIZERS = {kind: tokenizer_of(kind) for kind in KINDS}


def pieces_of(tokenizer: Any, tokens: list[int], steps: int = 1) -> list[str]:
    pieces = TextPieces(lambda ids: tokenizer.decode(ids, skip_special_tokens=True))
    given = [pieces.grown(tokens[:end]) for end in range(1, len(tokens), steps)]
    return [*given, pieces.whole(tokens)]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_pieces_joined_are_the_text(kind: str, data: Any) -> None:
    """Any tokens at all, also such as no text becomes: broken characters, words that begin in their middle."""
    tokenizer = TOKENIZERS[kind]
    ids = st.integers(0, tokenizer.get_vocab_size() - 1)
    tokens = data.draw(st.lists(ids, min_size=1, max_size=20))
    pieces = pieces_of(tokenizer, tokens, data.draw(st.integers(1, 4)))
    assert "".join(pieces) == tokenizer.decode(tokens, skip_special_tokens=True)


def cleaned_up(kind: str) -> Any:
    """A tokenizer whose texts are cleaned up of spaces, of tokens that make the most of it."""
    marks = [".", "?", "!", ",", "'", "n't", "'m", "'s", "'ve", "'re", "n", "'", "t", "m", "ve", "a", "dog", "字", " "]
    marks += ["é", "ª", "  ", "n'", "v", "e", "</w>"]
    if kind == "WordPiece":
        words = [*marks, *(f"##{mark}" for mark in marks), ""]
        decoder: Any = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    elif kind == "Metaspace":
        words = [*marks, *(f"▁{mark}" for mark in marks), "▁"]
        decoder = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    elif kind == "CLIP":
        words = [*marks, *(f"{mark}</w>" for mark in marks)]
        decoder = {"type": "Fuse"}
    else:
        words, decoder = marks, None
    words = list(dict.fromkeys(words))
    file: dict[str, Any] = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": []}
    file |= {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": decoder}
    vocab = {word: number for number, word in enumerate(words)}
    file["model"] = {"type": "WordLevel", "vocab": vocab, "unk_token": "a", "end_of_word_suffix": "</w>"}
    add_steps(file, [*(clip_steps(file) if kind == "CLIP" else []), *clean_up_steps()])
    del file["model"]["end_of_word_suffix"]
    return Tokenizer.from_str(json.dumps(file))


CLEANED_UP = {kind: cleaned_up(kind) for kind in ("WordPiece", "Metaspace", "CLIP", "no decoder")}


@pytest.mark.parametrize("kind", CLEANED_UP)
@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_pieces_joined_are_the_text_that_is_cleaned_up_of_spaces(kind: str, data: Any) -> None:
    tokenizer = CLEANED_UP[kind]
    ids = st.integers(0, tokenizer.get_vocab_size() - 1)
    tokens = data.draw(st.lists(ids, min_size=1, max_size=16))
    pieces = pieces_of(tokenizer, tokens, data.draw(st.integers(1, 4)))
    assert "".join(pieces) == tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("kind", ["CLIP", "no decoder"])
@given(text=st.text(" .?!,'ntmsvea字\u3000\x1f", max_size=12))
@settings(max_examples=300, deadline=None)
def test_the_steps_are_what_transformers_does_to_a_text(kind: str, text: str) -> None:
    """Over the whole text, whichever tokens it is made of."""
    decoder = CLEANED_UP[kind].decoder
    expected = text.strip() if kind == "CLIP" else text
    for before, after in CLEAN_UP:
        expected = expected.replace(before, after)
    assert decoder.decode([text]) == expected
    assert decoder.decode(list(text) if kind == "CLIP" else text.split(" ")) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", CORPUS)
def test_pieces_of_a_text_end_between_characters_and_words(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    tokens = tokenizer.encode(text).ids
    whole = tokenizer.decode(tokens)
    pieces = pieces_of(tokenizer, tokens)
    assert "".join(pieces) == whole
    position = 0
    for piece in pieces[:-1]:
        position += len(piece)
        assert "\ufffd" not in piece
        if piece and piece[-1].isascii():
            assert whole[position : position + 1] in ("", " "), f"{whole[:position]!r} ends within a word"


def test_a_word_comes_when_the_next_begins() -> None:
    tokenizer = TOKENIZERS["ByteLevel"]
    pieces = [piece for piece in pieces_of(tokenizer, tokenizer.encode("a dog runs on").ids) if piece]
    assert pieces == ["a", " dog", " runs on"]  # the last piece is all that is left


def test_letters_of_a_script_without_spaces_come_at_once() -> None:
    tokenizer = TOKENIZERS["ByteLevel"]
    pieces = [piece for piece in pieces_of(tokenizer, tokenizer.encode("黒い犬が海").ids) if piece]
    assert len(pieces) >= 2 and "".join(pieces) == "黒い犬が海"


@pytest.mark.parametrize(("kind", "text"), [("ByteLevel", " dog"), ("WordPiece", " dog"), ("WordLevel", " dog")])
def test_the_text_of_a_token_inside_a_text(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    [*_, token] = tokenizer.encode("the dog").ids
    assert text_of_token(tokens_of(tokenizer))(token) == text
