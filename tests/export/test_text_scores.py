"""Scores of texts. References: sacrebleu's own corpus scores, rouge-score, and Levenshtein's recurrence."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from fuseline.export.quality.bootstrap import differences
from fuseline.export.quality.scores import edit_distance
from fuseline.export.quality.text_scores import TOKENIZERS, TextScores

WORDS = [
    "a",
    "man",
    "dog",
    "woman",
    "red",
    "runs",
    "jumps",
    "plays",
    "in",
    "the",
    "grass",
    "ball",
    "Haus,",
    "Straße",
    "-",
]


def corpus(count: int, seed: int = 0) -> tuple[list[list[str]], list[str]]:
    """References, one to three a text, and texts that have n-grams in common."""
    drawn = random.Random(seed)
    references = [
        [" ".join(drawn.choices(WORDS, k=drawn.randint(3, 12))) for _ in range(1 + i % 3)] for i in range(count)
    ]
    texts = [" ".join([*each[0].split()[: drawn.randint(1, 9)], drawn.choice(WORDS)]) for each in references]
    texts[2] = ""  # a model may say nothing
    return references, texts


def streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """As sacrebleu takes references: the first of each text, the second of each, and so on."""
    return [[each[number] if number < len(each) else None for each in references] for number in range(3)]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_bleu_and_chrf_are_sacrebleus(tokenizer: str) -> None:
    references, texts = corpus(40)
    scores = TextScores(references, tokenizer)
    found = scores.metrics(texts)
    bleu = sacrebleu.BLEU(tokenize=tokenizer)
    assert found["BLEU"].value() == pytest.approx(bleu.corpus_score(texts, streams(references)).score, rel=1e-12)
    assert scores.signatures["BLEU signature"] == bleu.get_signature().format()
    expected = sacrebleu.corpus_chrf(texts, streams(references)).score
    assert found["chrF"].value() == pytest.approx(expected, rel=1e-12)


def test_rouge_is_that_of_rouge_score_against_the_best_reference() -> None:
    references, texts = corpus(20)
    scorer, found = RougeScorer(["rouge1", "rouge2", "rougeL"]), TextScores(references).metrics(texts)
    for name, key in (("ROUGE-1", "rouge1"), ("ROUGE-2", "rouge2"), ("ROUGE-L", "rougeL")):
        pairs = zip(references, texts, strict=True)
        best = [max(scorer.score(wanted, text)[key].fmeasure for wanted in of) for of, text in pairs]
        assert found[name].value() == pytest.approx(np.mean(best), rel=1e-12)


def test_rouge_is_left_out_where_it_knows_no_word() -> None:
    scores = TextScores([["good morning"], ["доброе утро"]])
    assert not scores.has_rouge
    assert list(scores.metrics(["good morning", "доброе утро"])) == [
        *("BLEU", "chrF", "exact match", "word error rate", "character error rate")
    ]


def test_matches_and_errors() -> None:
    found = TextScores([["a dog", "the dog"], ["a cat"], ["x y z w"]]).metrics(["the dog ", "A cat", "x y z"])
    assert found["exact match"].value() == pytest.approx(1 / 3)
    assert found["word error rate"].value() == pytest.approx((0 + 1 + 1) / (2 + 2 + 4))


def test_weights_are_texts_said_as_often() -> None:
    """Every figure of a drawn corpus is that of the corpus with the texts repeated."""
    references, texts = corpus(12)
    drawn = np.random.default_rng(1).integers(0, 12, 12)
    weights = np.bincount(drawn, minlength=12).astype(np.float64)[None]
    repeated = TextScores([references[i] for i in drawn]).metrics([texts[i] for i in drawn])
    for name, metric in TextScores(references).metrics(texts).items():
        assert metric.values(weights)[0] == pytest.approx(repeated[name].value(), rel=1e-9), name


def test_differences_have_intervals() -> None:
    references, texts = corpus(30)
    scores = TextScores(references)
    base = scores.metrics([each[0] for each in references])
    found = differences(scores.metrics(texts), base)
    assert found["chrF"].low < found["chrF"].value < found["chrF"].high < 0
    assert found["word error rate"].low > 0
    same = differences(base, base)["BLEU"]
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_the_edit_distance_is_levenshteins() -> None:
    def plain(wanted: str, got: str) -> int:
        row = list(range(len(got) + 1))
        for i, one in enumerate(wanted, start=1):
            before, row[0] = row[0], i
            for j, other in enumerate(got, start=1):
                before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
        return row[-1]

    drawn = random.Random(0)
    texts = ["", "a", *("".join(drawn.choices("abcd", k=drawn.randint(1, 12))) for _ in range(40))]
    assert all(edit_distance(one, other) == plain(one, other) for one in texts for other in texts)
