"""Texts that tokenizers differ about, and SentencePiece models that are trained in a moment; needs sentencepiece."""
# ruff: noqa: RUF001 - letters that look like others are what this is about

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from functools import cache

import sentencepiece

from tests.tokenizer_folders import CORPUS

TEXTS = {
    "plain": "The quick brown fox jumps over the lazy dog.",
    "empty": "",
    "a space": " ",
    "spaces alone": " \t\n  ",
    "leading": "  two dogs",
    "trailing": "two dogs   ",
    "several": "two   dogs    run",
    "tabs and newlines": "two\tdogs\r\nrun\n\non the\x0bbeach\x0c!",
    "odd spaces": "two\u00a0dogs\u2003run\u3000on\u200bthe\u2028beach\u1680!\u2009?",
    "emoji": "I \u2764\ufe0f dogs \U0001f415 \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 "
    "\U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea!",
    "Chinese and Japanese": "黒い犬が海辺で走る。你好，世界！ｶﾞｷﾞ ゔ か\u3099",
    "Korean": "한국어 텍스트 \u1112\u1161\u11ab\u1100\u116e\u11a8",
    "Arabic": "السَّلَامُ عَلَيْكُمْ، كَيْفَ حَالُكَ؟ ا\u0654\u064e ﷺ ﻻ",
    "Hindi and Thai": "नमस्ते दुनिया क\u094d\u200dष  สวัสดีครับ ก\u0e33",
    "Hebrew and Greek": "שָׁלוֹם עוֹלָם Ὀδυσσεύς ΐ ΰ",
    "accents apart": "cafe\u0301 nai\u0308ve e\u0301\u0323 a\u030a\u0301 \u0301x",
    "compatibility": "ﬁ ﬂ ½ ¼ Ａｂｃ１２３ ① ² ™ … ㎏ Ⅷ ℃ ¨ ´ ˘",
    "wide letters of a token": "＜/s＞ ＜unk＞",
    "control": "a\x00b\x01c\x07d\x1be\x7ff\x85g\x9fh\ufeffi\ufffdj\u00adk",
    "private and none": "\ue000 \ufdd0 \uffff \U0010ffff \ufdd1x",
    "unknown letters": "\u10a0\u10a1 dogs \U00012345 \u1f6d\u1680\u0d9c",
    "special": "<s> two </s> dogs <unk> run <pad> <mask>",
    "special together": "a</s>b<s></s><pad>c",
    "special of others": "[CLS] [SEP] <extra_id_0> <mask_1> <mask_2><unk_2> >>fr<< en_XX __en__ eng_Latn <|endoftext|>",
    "the end already": "two dogs</s>",
    "numbers": "1 12 123 1,234.50 1e-9 0x1F 2024-01-01 12:30 3/4 −5 １２３",
    "a run": "Well...... no!!!!!! ---------- aaaaaaaaaaa 0000000 ...........",
    "a code": ">>fr<< hello >>de<< world",
    "a code alone": ">>fr<<",
    "no code": ">> hello << world >>fr",
    "an odd code": " >>fr<< x",
    "an unknown code": ">>xx<<hello",
    "metaspace": "▁two▁dogs ▁ ▁▁",
    "quotes": "«dogs» “run” ‘x’ „y‟ `z` '' \"",
    "markup": '<b>dogs</b> &amp; {"a": [1, 2]} \\n \\frac{1}{2} http://a.b/c?d=e#f a@b.c',
    "pieces of a user": "<user>the dog ab abab <user> a½b the  dog <user",
    "long": "the dogs don't run on the beach, 12 times; " * 233,
    "a long word": "dogs" * 2500,
}
_LETTERS = [
    *"aaabdeegnorstu.-=0011 ,'  \t\n<>/", "é", "e\u0301", "ا", "\u064b", "\u0651", "\u200d", "\U0001f468", "日", "本",
    "ｱ", "ﾞ", "½", "ﬁ", "Ａ", "\u0301", "\u0653", "\x00", "\x07", "\ufeff", "▁", "ก", "\u0e33", "</s>", "<unk>",
    "<pad>", ">>", "<<", "dog", "the ", "...",
]  # fmt: skip


def random_texts(count: int, seed: int = 0) -> Iterator[str]:
    """Texts of letters that rules treat differently, and of runs of one."""
    chance = random.Random(seed)
    for number in range(count):
        times = 12 if number % 3 == 0 else 1
        letters = (chance.choice(_LETTERS) * chance.randint(1, times) for _ in range(chance.randint(1, 25)))
        yield "".join(letters)


@cache
def trained(kind: str = "unigram", rule: str = "nmt_nfkc", size: int = 220, **options: bool | int | str) -> bytes:
    """A SentencePiece model as its package trains it. kind: "unigram" or "bpe"; rule: of the normalizer."""
    model = io.BytesIO()
    size += 256 * bool(options.get("byte_fallback"))
    more = " ".join(text for name, text in TEXTS.items() if name in ("compatibility", "Korean", "a run", "numbers"))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20 + [more] * 3), model_writer=model, model_type=kind, vocab_size=size,
        normalization_rule_name=rule, character_coverage=0.98, hard_vocab_limit=False, minloglevel=2, num_threads=1,
        **options,
    )  # fmt: skip
    return model.getvalue()
