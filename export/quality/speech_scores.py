"""How well speech was heard: error rates of words and characters by jiwer, after Whisper's normalisation of texts.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), appendix C: how numbers,
contractions and punctuation are written is no error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from .scores import Metric, error_rate

ENGLISH, BASIC = NORMALIZERS = ("english", "basic")
WORDS = "word error rate"
_MARKS_AND_SYMBOLS = "MSP"  # first letters of Unicode's categories


class SpeechScores:
    """Error rates of several variants' texts against the same references: edits over the reference's length, in all
    clips together. Of several references the one counts that takes fewest edits."""

    def __init__(self, references: Sequence[Sequence[str]], normalizer: str) -> None:
        """references: of each clip one or more; normalizer: one of NORMALIZERS, see normalized."""
        self._name, self._clean = normalizer, normalized(normalizer)
        self._references = [[self._clean(reference) for reference in each] for each in references]

    @property
    def about(self) -> dict[str, Any]:
        """What the scores are of: how many words, of each clip's first reference, and whose English it is."""
        words = {"words": sum(len(first.split()) for first, *_ in self._references)}
        if self._name != ENGLISH:
            return words
        return {**words, "normalizer signature": f"transformers {metadata.version('transformers')}"}

    def metrics(self, texts: Sequence[str]) -> dict[str, Metric]:
        """Of one text a clip."""
        from jiwer import process_characters, process_words

        heard = [self._clean(text) for text in texts]
        return {
            WORDS: error_rate(self._edits(process_words, str.split, heard)),
            "character error rate": error_rate(self._edits(process_characters, list, heard)),
        }

    def _edits(
        self, process: Callable[[str, str], Any], units: Callable[[str], Sequence[str]], heard: Sequence[str]
    ) -> list[tuple[int, int]]:
        """Of each clip the edits and the reference's length."""
        pairs = zip(self._references, heard, strict=True)
        return [min(_edits(process, units, reference, text) for reference in wanted) for wanted, text in pairs]


def _edits(
    process: Callable[[str, str], Any], units: Callable[[str], Sequence[str]], reference: str, text: str
) -> tuple[int, int]:
    if not reference:  # nothing but noises: jiwer refuses it, and all that was heard is too much
        return len(units(text)), 0
    found = process(reference, text)
    return found.substitutions + found.deletions + found.insertions, len(units(reference))


def normalized(name: str) -> Callable[[str], str]:
    """The normalisation of that name: "english" as transformers has it (models/whisper/english_normalizer.py), without
    the list of British spellings that lies in some checkpoints; "basic" for all other languages."""
    if name == BASIC:
        return basic
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    english: Callable[[str], str] = EnglishTextNormalizer({})  # type: ignore[no-untyped-call]
    return lambda text: english(text).strip()


def basic(text: str) -> str:
    """Lower case, without what stands in brackets, and with a blank for each mark, symbol and punctuation."""
    said = re.sub(r"[<\[][^>\]]*[>\]]", "", text.lower())
    said = unicodedata.normalize("NFKC", re.sub(r"\([^)]+\)", "", said))
    plain = (" " if unicodedata.category(each)[0] in _MARKS_AND_SYMBOLS else each for each in said)
    return " ".join("".join(plain).lower().split())
