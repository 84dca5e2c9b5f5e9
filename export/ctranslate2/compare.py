"""CTranslate2 as what a written folder is compared with, where its package is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.folders.tensors import ATTENTION_MASK, INPUT_IDS

from ..check import BEAMS, MAX_LENGTH, Answers, Inputs
from ..checkpoints.generated import generated_texts
from .folder import Source

NAME = "CTranslate2"
Array = npt.NDArray[Any]


def is_installed() -> bool:
    """Whether there is anything to compare with."""
    return find_spec("ctranslate2") is not None


class Reference:
    """A folder as CTranslate2 runs it, in float32 whatever its weights are stored in."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._translator: Any = import_module("ctranslate2").Translator(
            str(source.path), device="cpu", compute_type="float32"
        )

    def ask(self, max_positions: int) -> Answers:
        """What it says of texts made here, greedily and with beams. max_positions: of the exported decoder."""
        texts, max_length = self._texts(), min(MAX_LENGTH, max_positions + 1)
        sequences = {}
        for beams in (1, BEAMS):
            found = self._said(texts, beam_size=beams, max_decoding_length=max_length - 1)
            sequences[beams] = [self._numbers(each.hypotheses[0]) for each in found]
        inputs = self._inputs(texts)
        rows = [{name: array[at : at + 1] for name, array in inputs.items()} for at in range(len(texts))]
        logits = [self.logits(row, said[None, :-1])[0] for row, said in zip(rows, sequences[1], strict=True)]
        return Answers(inputs, max_length, sequences, logits, NAME)

    def logits(self, inputs: Inputs, tokens: Array) -> Array:
        """float32[1, T, V] after every one of the tokens int64[1, T]. inputs: of one text, as the encoder reads it."""
        source, target = self._source.vocabularies.source, self._source.vocabularies.target
        length = int(inputs[ATTENTION_MASK].sum())
        around = len(self._source.before), len(self._source.after)
        text = [source[token] for token in inputs[INPUT_IDS][0, around[0] : length - around[1]]]
        prefix = [[target[token] for token in tokens[0, 1:]]]
        [found] = self._said(
            [text],
            target_prefix=prefix,
            beam_size=1,
            max_decoding_length=tokens.shape[1],
            min_decoding_length=0,
            return_logits_vocab=True,
        )
        return np.stack([np.array(each) for each in found.logits[0]])[None]

    def _said(self, texts: list[list[str]], **options: Any) -> Any:
        return self._translator.translate_batch(texts, return_end_token=True, **options)

    def _texts(self) -> list[list[str]]:
        """Tokens without those that only mark something."""
        source, options = self._source, self._source.model.options
        marks = {options[f"{name}_token"] for name in ("unk", "bos", "eos")}
        plain = [token for token in source.vocabularies.source if token not in marks]
        positions = source.model.encoder["positions"]
        longest = None if positions is None else positions - len(source.before) - len(source.after)
        return [[plain[number] for number in row] for row in generated_texts(len(plain), longest, None)]

    def _inputs(self, texts: list[list[str]]) -> Inputs:
        rows = [self._source.numbers(text) for text in texts]
        lengths = np.array([[len(row)] for row in rows])
        ids = np.zeros((len(rows), lengths.max()), np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
        return {INPUT_IDS: ids, ATTENTION_MASK: (np.arange(ids.shape[1]) < lengths).astype(np.int64)}

    def _numbers(self, tokens: list[str]) -> Array:
        numbers = {token: number for number, token in enumerate(self._source.vocabularies.target)}
        return np.array([self._source.start, *(numbers[token] for token in tokens)])
