"""How good texts made of texts are: BLEU and chrF of sacrebleu, ROUGE of rouge-score, exact matches, error rates.

Dimensions as in scores.py, of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from .scores import Floats, Metric, mean_of, ocr_metrics

# sacrebleu's own names for how BLEU cuts words, of those that need no download and no other package.
TOKENIZERS = ("13a", "intl", "zh", "char", "none")
_ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}


class TextScores:
    """Scores of several variants' texts against the same references.

    BLEU (Papineni et al. 2002) and chrF (Popović 2015) are of the corpus, from 0 to 100; all others from 0 to 1.
    ROUGE (Lin 2004) is the mean F-measure without stemming, against the best reference; its words are those of a-z and
    digits, so it is left out where a reference has none. An exact match is one of the references to the letter, but for
    white space at the ends.
    """

    def __init__(self, references: Sequence[Sequence[str]], tokenizer: str = "13a") -> None:
        """references: of each text one or more; tokenizer: one of TOKENIZERS, for BLEU."""
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        self._references = references
        streams: Any = list(zip_longest(*references))  # sacrebleu takes None for a reference that a text has not
        self._corpus = {
            "BLEU": BLEU(tokenize=tokenizer, force=True, references=streams),
            "chrF": CHRF(references=streams),
        }
        self._rouge = RougeScorer(list(_ROUGE.values()))
        tokenize = self._rouge._tokenizer.tokenize
        self.has_rouge = all(tokenize(text) for texts in references for text in texts)

    @property
    def signatures(self) -> dict[str, str]:
        """Of BLEU and chrF, as sacrebleu writes them, so that others can compute the same."""
        return {f"{name} signature": metric.get_signature().format() for name, metric in self._corpus.items()}

    def metrics(self, texts: Sequence[str]) -> dict[str, Metric]:
        """Of one text an item."""
        found = {name: _of_corpus(metric, texts) for name, metric in self._corpus.items()}
        if self.has_rouge:
            pairs = zip(self._references, texts, strict=True)
            rows = [self._rouge.score_multi(references, text) for references, text in pairs]
            found |= {name: mean_of([row[key].fmeasure for row in rows]) for name, key in _ROUGE.items()}
        return {**found, "exact match": self._matches(texts), **ocr_metrics(self._references, texts)}

    def _matches(self, texts: Sequence[str]) -> Metric:
        pairs = zip(self._references, texts, strict=True)
        return mean_of([float(text.strip() in {each.strip() for each in wanted}) for wanted, text in pairs])


def _of_corpus(metric: Any, texts: Sequence[str]) -> Metric:
    """A metric of sacrebleu: a function of sums of counts, from which it computes intervals of its own, too."""
    parts = np.array(metric._extract_corpus_statistics(texts, None), np.float64)

    def of_sums(sums: Floats) -> Floats:
        return np.array([metric._compute_score_from_stats(row.tolist()).score for row in sums])

    return Metric(parts, of_sums)
