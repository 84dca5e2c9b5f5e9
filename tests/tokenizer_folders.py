"""Small tokenizer folders of every kind that checkpoints have, written as their files are; needs transformers.

No package but those that transformers needs takes part: a SentencePiece model is written with protobuf's classes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, trainers

from tests.tokenizer_damage import charsmap

CORPUS = [
    "the man's hat isn't red, and the dogs don't run .",
    "two men are riding bikes; they've seen the camera! we're here ?",
    "i'm sure that a dog runs on the beach, 12 times in 2024",
    "naïve café-goers drink crème brûlée under the trees",
]
TEXTS = [
    "the man ' s hat isn ' t red .",
    "Hello DOGS, don't we've run ?",
    "naïve café ½ ﬁ",
    "  two  dogs <mask> run <s> </s> ",
    "[CLS] dogs [MASK] <|endoftext|> <s_cord> newword",
    "黒い犬 \U0001f600",
    "",
]


@cache
def _words(count: int = 160) -> tuple[str, ...]:
    """Of BERT's kind, among them what a clean-up of spaces is about."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=count, special_tokens=special))
    vocab = tokenizer.get_vocab()
    return (*sorted(vocab, key=lambda word: vocab[word]), "n't", "'s", "'ve", "'m", "'re", "!", "日", "##本")


def vocab_txt(folder: Path) -> None:
    """BERT's vocab.txt."""
    (folder / "vocab.txt").write_text("\n".join(_words()) + "\n", encoding="utf-8")


def vocab_and_merges(folder: Path) -> None:
    """vocab.json and merges.txt of RoBERTa's kind, with GPT-2's special token too."""
    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    tokenizer.train_from_iterator(CORPUS, vocab_size=330, min_frequency=1, special_tokens=special)
    tokenizer.save_model(str(folder))


def clip_files(folder: Path) -> None:
    """vocab.json and merges.txt of CLIP's kind: </w> ends a word."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("d", "o"), ("do", "g</w>"), ("t", "h"), ("th", "e</w>"), ("r", "u"), ("ru", "n</w>")]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n")


@cache
def sentencepiece_model(bpe: bool = False) -> bytes:
    """A SentencePiece model as its package writes it: unknown, control, user-defined and ordinary pieces."""
    from transformers.convert_slow_tokenizer import import_protobuf

    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=90, special_tokens=[]))
    proto: Any = import_protobuf()
    model = proto.ModelProto()
    for text, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3)):
        model.pieces.add(piece=text, score=0.0, type=kind)
    for text, score in json.loads(trained.to_str())["model"]["vocab"]:
        model.pieces.add(piece=text, score=score)
    model.pieces.add(piece="<user>", score=0.0, type=4)
    model.trainer_spec.model_type = 2 if bpe else 1
    model.trainer_spec.unk_id = 0
    model.normalizer_spec.name = "nmt_nfkc"
    model.normalizer_spec.precompiled_charsmap = charsmap({"ﬁ": "fi", "½": "1/2"})
    content: bytes = model.SerializeToString()
    return content


def sentencepiece(name: str) -> Any:
    """Writes the model under this name."""
    return lambda folder: (folder / name).write_bytes(sentencepiece_model())


def write_json(folder: Path, **files: Mapping[str, Any] | None) -> None:
    """JSON files by their names without .json."""
    for name, value in files.items():
        if value is not None:
            (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")


def saved(folder: Path, out: Path) -> Path:
    """The folder's tokenizer as transformers saves it, with added tokens, and without its own vocabulary's files."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<s_cord>", "</s_cord>"]})
    tokenizer.add_tokens(["newword", "##odd"])
    tokenizer.save_pretrained(out)
    for name in ("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model"):
        (out / name).unlink(missing_ok=True)
    return out


def rows(ids: set[int], seed: int = 0) -> Iterator[list[int]]:
    """Rows in which each of the ids occurs, and rows of any."""
    chance, order = random.Random(seed), sorted(ids)
    chance.shuffle(order)
    yield from (order[start : start + 12] for start in range(0, len(order), 12))
    yield from (chance.choices(order, k=12) for _ in range(150))
