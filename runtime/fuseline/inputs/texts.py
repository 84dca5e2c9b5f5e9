"""Texts as what an encoder reads: int64 `input_ids` and `attention_mask` of a batch, with the tokens around each text.

All of it comes from two files of the folder. tokenizer.json: how texts are split, and in its post_processor the tokens
before and after a text (T5 `$A </s>`, BART `<s> $A </s>`, BERT `[CLS] $A [SEP]`, mBART `$A </s> en_XX`, mBART-50, NLLB
and M2M100 `eng_Latn $A </s>`). tokenizer_config.json, in Hugging Face's words: `tokenizer_class`, which tells how a
language is written (`en_XX`, `eng_Latn`, or `en` for M2M100's token `__en__`); `pad_token`; `model_max_length` and
`truncation_side`, for texts that are cut. The language in post_processor is that of texts of which a call says nothing
(`src_lang`); another one's token takes its place.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FolderError, InputError, counted, written
from ..tokens.hf.classes import TokenizerClass, class_of, with_languages
from ..tokens.sentencepiece_texts import number
from ..tokens.tokenizer import TextTokens, TokenizerFile

Ids = npt.NDArray[np.int64]
_NO_BOUND = 1 << 40  # transformers writes 1e30 where a tokenizer has no longest text


class SourceTokenizer:
    """Source texts as input_ids and attention_mask.

    languages: by each language as a call names it, its token; empty where the model has none. longest: tokens that
    `truncation` cuts to where a call does not say, or None. pad_token_id: what rows are filled up with.
    """

    def __init__(self, tokens: TextTokens, file: TokenizerFile, config: Mapping[str, Any]) -> None:
        """tokens, file: of tokenizer.json; config: tokenizer_config.json, or empty. Raises FolderError."""
        kind = class_of(config, {})
        self.languages = _languages(with_languages(kind, config), tokens)
        self.pad_token_id = _pad(tokens, config, kind.specials.get("pad_token"))
        longest = config.get("model_max_length")
        self.longest = int(longest) if isinstance(longest, int | float) and 0 < longest < _NO_BOUND else None
        self._tokens = tokens
        self._before, self._after = around_text(file)
        self._cut_left = config.get("truncation_side") == "left"
        self._ends_once = kind.ends_once

    def encode(
        self,
        texts: Sequence[str],
        *,
        src_lang: str | None = None,
        truncation: bool = False,
        max_length: int | None = None,
        names: Sequence[str] | None = None,
    ) -> dict[str, Ids]:
        """{"input_ids": int64[B, S], "attention_mask": int64[B, S]}, filled up on the right.

        src_lang: the language of the texts, where the model has languages. max_length: most tokens of a text, those
        around it included; without it truncation cuts to `longest`, where one is known. names: of the texts, for
        messages; without them "text 1" and so on. Raises InputError for a text that cannot be encoded, for one of more
        tokens unless truncation, and for a language that is not known.
        """
        before, after = self._around(src_lang)
        most = max_length if max_length is not None else self.longest if truncation else None
        around = len(before) + len(after)
        if most is not None and (type(most) is not int or most < around):
            raise InputError(
                f"max_length must be at least the {counted(around, 'token')} around a text, not {written(most)}"
            )
        rows = self._tokens.encode_batch(texts, names)
        if most is not None:
            names = names or [f"text {number}" for number in range(1, len(rows) + 1)]
            rows = [self._cut(row, name, most, around, truncation) for row, name in zip(rows, names, strict=True)]
        rows = [[*before, *row, *self._end(row, after)] for row in rows]
        width = max(map(len, rows), default=0)
        ids, mask = np.full((len(rows), width), self.pad_token_id, np.int64), np.zeros((len(rows), width), np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)], mask[at, : len(row)] = row, 1
        return {"input_ids": ids, "attention_mask": mask}

    @property
    def around(self) -> int:
        """How many tokens stand around every text."""
        return len(self._before) + len(self._after)

    def language_token(self, language: str) -> int:
        """The token with which a text of the language begins. Raises InputError, which names those that are known."""
        if not self.languages:
            raise InputError(
                f"this model has no tokens for languages, so {written(language)} cannot be chosen; leave it out"
            )
        token = self.languages.get(language) if isinstance(language, str) else None
        if token is None:
            asked = language[:20] if isinstance(language, str) else ""
            near = _like(asked, self.languages)
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            known = ", ".join(sorted(self.languages))
            raise InputError(f"{written(language)} is no language of this model; {meant}it knows {known}")
        return token

    def _around(self, src_lang: str | None) -> tuple[list[int], list[int]]:
        """The tokens before and after a text of a language."""
        if src_lang is None:
            return self._before, self._after
        language, known = self.language_token(src_lang), set(self.languages.values())
        before, after = ([language if each in known else each for each in side] for side in (self._before, self._after))
        return before, after

    def _cut(self, row: list[int], name: str, most: int, around: int, truncation: bool) -> list[int]:
        """A text's tokens, of which so many fit."""
        if len(row) + around <= most:
            return row
        if not truncation:
            raise InputError(
                f"{too_many(name, len(row), around, most)}; cut it into shorter ones, or let truncation=True cut it"
            )
        return row[len(row) + around - most :] if self._cut_left else row[: most - around]

    def _end(self, row: list[int], after: list[int]) -> list[int]:
        return [] if self._ends_once and row and row[-1:] == after else after


def too_many(name: str, tokens: int, around: int, most: int) -> str:
    """What is said of a text of more tokens than fit. around: how many the model puts around every text."""
    own = f", {around} of them the model's own," if around else ","
    return f"{name} has {tokens + around} tokens{own} and {most} fit"


def _like(asked: str, languages: Iterable[str]) -> list[str]:
    """Which of the languages may be meant: those whose codes begin alike ("en", "eng_Latn", "en_XX"), else any that
    look alike."""
    begin = asked[:2].lower()
    alike = [each for each in languages if len(begin) == 2 and each.lower().startswith(begin)]
    return difflib.get_close_matches(asked, alike, 3, cutoff=0.0) or difflib.get_close_matches(asked, languages, 3)


def around_text(file: TokenizerFile) -> tuple[list[int], list[int]]:
    """The tokens that the file's post_processor puts before and after a text. Raises FolderError for a damaged one."""
    try:
        return _around(file.value.get("post_processor"))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise FolderError(f"{file.where}: 'post_processor' must be as tokenizers writes it") from None


def _around(rule: Mapping[str, Any] | None) -> tuple[list[int], list[int]]:
    before: list[int] = []
    after: list[int] = []
    if rule is None or rule["type"] == "ByteLevel":
        return before, after
    if rule["type"] == "Sequence":
        for each in rule["processors"]:
            first, last = _around(each)
            before, after = first + before, after + last
        return before, after
    if rule["type"] in ("BertProcessing", "RobertaProcessing"):
        return [int(rule["cls"][1])], [int(rule["sep"][1])]
    texts = 0
    for piece in rule["single"]:
        if "Sequence" in piece:
            texts += 1
        else:
            ids = rule["special_tokens"][piece["SpecialToken"]["id"]]["ids"]
            (after if texts else before).extend(map(int, ids))
    if texts != 1:
        raise ValueError
    return before, after


def _languages(kind: TokenizerClass, tokens: TextTokens) -> dict[str, int]:
    """The languages that the vocabulary has tokens for."""
    found = ((code, number(tokens.tokenizer.token_to_id, kind.language_form.format(code))) for code in kind.codes)
    return {code: token for code, token in found if token is not None}


def _pad(tokens: TextTokens, config: Mapping[str, Any], default: str | None) -> int:
    """The token that fills up rows, which no encoder reads; 0 where the tokenizer has none."""
    given = config.get("pad_token", default)
    text = given.get("content") if isinstance(given, Mapping) else given
    token = tokens.tokenizer.token_to_id(text) if isinstance(text, str) else None
    return 0 if token is None else int(token)
