"""Words of tokens: one after the other they are the text that the tokenizer makes, in Python, and in a graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from fuseline.export.embedding.nodes import Nodes, Value
from fuseline.export.embedding.texts import texts
from fuseline.export.embedding.words import Words, words_of
from fuseline.export.graphs.weights_file import WeightsFile
from fuseline.tokens.clean_up import CLEAN_UP, replaced
from fuseline.tokens.tokenizer import TextTokens, made_tokenizer, open_tokenizer

LINES = [
    "a man in a black shirt isn't looking at the camera .",
    "zwei Hunde laufen über die Wiese, naïve Gäste schauen zu!",
    "世界 is a word, and 🙂 is not 🙃",
    "they 've seen it , haven't they ?",
] * 3
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def _trained(model: Any, trainer: Any, before: Any, decoder: Any) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer, tokenizer.decoder = before, decoder
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _byte_level(*steps: dict[str, str]) -> Tokenizer:
    """Pieces of bytes, of which some are parts of characters; steps: what its decoder does afterwards."""
    signs = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=signs, show_progress=False)
    before = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = _trained(models.BPE(), trainer, before, decoders.ByteLevel())
    made.add_tokens([AddedToken("é🙂", normalized=False)])
    if not steps:
        return made
    file = json.loads(made.to_str())
    file["decoder"] = {"type": "Sequence", "decoders": [file["decoder"], *steps]}
    return Tokenizer.from_str(json.dumps(file))


def _word_pieces(cleanup: bool) -> Tokenizer:
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    decoder = decoders.WordPiece(cleanup=cleanup)
    return _trained(models.WordPiece(unk_token="<unk>"), trainer, pre_tokenizers.Whitespace(), decoder)


def _metaspace() -> Tokenizer:
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    return _trained(models.Unigram(), trainer, pre_tokenizers.Metaspace(), decoders.Metaspace())


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "byte level": _byte_level,
    "byte level, cleaned up": lambda: _byte_level(*(replaced(text, by) for text, by in CLEAN_UP)),
    "word pieces": lambda: _word_pieces(cleanup=False),
    "word pieces, cleaned up": lambda: _word_pieces(cleanup=True),
    "metaspace": _metaspace,
}


def _opened(tokenizer: Tokenizer) -> tuple[TextTokens, int]:
    file = made_tokenizer(Path("tokenizer.json"), json.loads(tokenizer.to_str()))
    size = tokenizer.get_vocab_size() + 2  # a vocabulary that is filled up to a round size
    return open_tokenizer(file, size), size


def _found(tokens: TextTokens, size: int) -> Words | None:
    def decode(sequences: Sequence[Sequence[int]], **options: Any) -> list[str]:
        return [tokens.decode(each, **options) for each in sequences]

    return words_of(decode, tokens.tokenizer, size)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_words_one_after_the_other_are_the_text(name: str, tmp_path: Path) -> None:
    """Of sequences drawn by chance and of whole lines, with special tokens among them and parts of characters."""
    tokens, size = _opened(TOKENIZERS[name]())
    words = _found(tokens, size)
    assert words is not None
    assert (words.clean_up == CLEAN_UP) == (name == "byte level, cleaned up")
    draw = np.random.default_rng(1)
    sequences = [draw.integers(0, size, draw.integers(1, 14)).tolist() for _ in range(300)]
    sequences += [[1, *tokens.encode(line), 2, 0, 0] for line in LINES]
    for each in sequences:
        text = words.text(each).decode(errors="replace")
        assert text == tokens.decode(each, clean_up_tokenization_spaces=False)
        for spaced, close in words.clean_up:
            text = text.replace(spaced, close)
        assert text == tokens.decode(each)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_graph_makes_the_same_texts(name: str, tmp_path: Path) -> None:
    """Of lines of several lengths, filled up."""
    tokens, size = _opened(TOKENIZERS[name]())
    words = _found(tokens, size)
    assert words is not None
    rows = [[1, *tokens.encode(line), 2] for line in LINES]
    ids = np.array([row + [0] * (max(map(len, rows)) - len(row)) for row in rows])
    with WeightsFile(tmp_path / "weights") as outside:
        g = Nodes.new("texts", 20, outside)
        made = texts(g, g.input("sequences", TensorProto.INT64, ["n", "T"]), words)
        g.give(made, "text", Value(TensorProto.STRING, ["n"]))
    found = onnxruntime.InferenceSession(g.model.SerializeToString()).run(None, {"sequences": ids})[0]
    assert found.tolist() == [tokens.decode(row, clean_up_tokenization_spaces=False) for row in rows]


def _with_bytes() -> Tokenizer:
    """Words, and bytes for what there is no word for, as SentencePiece's models of BPE have them."""
    words = ["▁zwei", "▁Hunde", "▁and", "▁", "s", "\n"]
    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    model = models.BPE({name: place for place, name in enumerate(names)}, [], unk_token="<unk>", byte_fallback=True)
    made = Tokenizer(model)
    made.add_special_tokens(SPECIAL)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    return made


def test_characters_of_single_bytes() -> None:
    """Good ones are those of the tokenizer; of broken ones it is told that something is broken."""
    tokens, size = _opened(_with_bytes())
    words = _found(tokens, size)
    assert words is not None
    name = {tokens.tokenizer.id_to_token(token): token for token in range(size)}
    for line in LINES:
        pieces = [name["▁zwei"], *(name[f"<0x{byte:02X}>"] for byte in line.encode()), name["▁and"], name["s"]]
        assert words.text(pieces).decode() == tokens.decode(pieces) == f"zwei{line} ands"
    broken = [name["▁and"], name["<0xE2>"], name["<0x82>"], name["s"]]
    assert words.text(broken).decode(errors="replace") == "and\ufffds"
    assert tokens.decode(broken) == "and\ufffd\ufffds"


def test_the_record_has_parts_of_characters_as_bytes() -> None:
    """JSON holds no other."""
    tokens, size = _opened(_byte_level())
    words = _found(tokens, size)
    assert words is not None
    record = json.loads(json.dumps(words.record()))
    assert record["first"] is None
    assert any(isinstance(word, list) for word in record["later"])
    read = [bytes(word) if isinstance(word, list) else word.encode() for word in record["later"]]
    assert read == list(words.later)


def test_texts_that_are_no_words_have_none() -> None:
    """Where a word is read by the ones around it, nothing is promised."""
    file = json.loads(_word_pieces(cleanup=False).to_str())
    file["decoder"] = {"type": "Sequence", "decoders": [{"type": "Fuse"}, replaced("an", "AN")]}
    tokens, size = _opened(Tokenizer.from_str(json.dumps(file)))
    assert _found(tokens, size) is None
