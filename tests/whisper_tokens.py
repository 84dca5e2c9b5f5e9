"""A small tokenizer of Whisper's kind: bytes, a few merges, all its special tokens, as transformers writes it."""

# ruff: noqa: RUF001 - marks of other scripts are what is tested

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import WhisperTokenizerFast

from fuseline.speech.chunks import Marks
from fuseline.tokens.tokenizer import TextTokens, open_tokenizer, read_tokenizer

LANGUAGES = {"en": "english", "de": "german", "zh": "chinese", "ja": "japanese"}
TEXTS = {
    "english": " He said: \"we've been 12 times to St. John's (in 2024), it isn't far-away...\" Well — 3.5% more!",
    "german": " Der Bürgermeister sagte: „Wir fahren übermorgen nach Köln“, und 'später' kam die Straßenbahn; nicht?",
    "chinese": "今天天气很好，我们去公园散步吧。“你好吗？”她问：「明天见」！",
    "japanese": "おはようございます。今日は東京へ行きます、そして「コーヒー」を飲みましょう！",
}
_FIRST = ["<|endoftext|>", "<|startoftranscript|>"]
_TASKS = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
_MERGES = 150  # so that many characters stay apart in bytes, as rare ones do in the real one


@cache
def vocabulary() -> tuple[tuple[str, ...], str]:
    """The special tokens, and tokenizer.json without them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(  # type: ignore[call-arg]
        vocab_size=len(alphabet) + _MERGES, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text for text in TEXTS.values() for _ in range(5)], trainer)
    specials = (*_FIRST, *(f"<|{code}|>" for code in LANGUAGES), *_TASKS)
    return specials, tokenizer.to_str()


def save(folder: Path) -> Any:
    """Write it, and give transformers' WhisperTokenizerFast of it."""
    specials, plain = vocabulary()
    tokenizer = Tokenizer.from_str(plain)
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in specials])
    tokenizer.add_tokens([AddedToken(f"<|{number * 0.02:.2f}|>", special=False) for number in range(1501)])
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    theirs: Any = WhisperTokenizerFast(
        tokenizer_file=str(path), additional_special_tokens=list(specials[1:]), pad_token=specials[0]
    )
    theirs.save_pretrained(str(folder))
    return theirs


def opened(folder: Path) -> TextTokens:
    """The same as fuseline reads it."""
    file = read_tokenizer(folder / "tokenizer.json")
    return open_tokenizer(file, len(file.value["model"]["vocab"]))


def marks_of(theirs: Any) -> Marks:
    """What a tokenizer of transformers says of its own tokens."""
    ids = theirs.convert_tokens_to_ids
    return Marks(
        special=frozenset(theirs.all_special_ids),
        languages={ids(f"<|{code}|>"): name for code, name in LANGUAGES.items()},
        timestamps=ids("<|notimestamps|>") + 1,
        prompt=ids("<|startofprev|>"),
        start=ids("<|startoftranscript|>"),
    )
