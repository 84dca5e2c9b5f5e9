"""Scores and intervals. References: pycocoevalcap's own corpus scores, and worked examples."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from fuseline.export.quality.bootstrap import RESAMPLES, differences
from fuseline.export.quality.scores import (
    caption_metrics,
    edit_distance,
    java_is_here,
    ocr_metrics,
    same_share,
    words_of,
)

WORDS = ["a", "man", "dog", "woman", "child", "red", "runs", "jumps", "plays", "sits", "in", "the", "grass", "ball"]


def corpus(photos: int, seed: int = 0) -> tuple[list[list[str]], list[str]]:
    """References and texts that have n-grams in common."""
    random = np.random.default_rng(seed)
    references = [[" ".join(random.choice(WORDS, random.integers(3, 9))) for _ in range(5)] for _ in range(photos)]
    texts = [" ".join([*each[0].split()[: random.integers(1, 7)], random.choice(WORDS)]) for each in references]
    return references, texts


def test_the_sums_give_what_pycocoevalcap_gives() -> None:
    references, texts = corpus(60)
    texts[7] = ""  # a model may say nothing
    wanted, got = dict(enumerate(references)), {photo: [text] for photo, text in enumerate(texts)}
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, _ = Bleu(4).compute_score(wanted, got)
        expected = dict(zip(("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"), bleu, strict=True))
        expected |= {"ROUGE-L": Rouge().compute_score(wanted, got)[0], "CIDEr": Cider().compute_score(wanted, got)[0]}
    found = caption_metrics(references, texts)
    assert list(found) == list(expected)
    for name, metric in found.items():
        assert metric.value() == pytest.approx(expected[name], rel=1e-9), name  # the same sums, added in another order


def test_weights_are_photos_said_as_often() -> None:
    """BLEU and ROUGE-L of a drawn corpus are those of the corpus with the photos repeated."""
    references, texts = corpus(12)
    drawn = np.random.default_rng(1).integers(0, 12, 12)
    weights = np.bincount(drawn, minlength=12).astype(np.float64)[None]
    repeated = caption_metrics([references[i] for i in drawn], [texts[i] for i in drawn])
    for name, metric in caption_metrics(references, texts).items():
        if name != "CIDEr":  # whose document frequencies stay those of the whole set, on purpose
            assert metric.values(weights)[0] == pytest.approx(repeated[name].value(), rel=1e-9), name


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    """Of a mean of 0s and 1s the bootstrap's deviation is known: sqrt(p (1 - p) / N)."""
    base, other = ["x"] * 400, ["x"] * 300 + ["y"] * 100
    share = {"same": same_share(other, base)}
    found = differences(share, {"same": same_share(base, base)})["same"]
    deviation = (0.75 * 0.25 / 400) ** 0.5
    assert found.value == -0.25
    # The bound of a percentile over 2,000 draws is itself off by some 3% of the deviation.
    assert found.low == pytest.approx(-0.25 - 1.96 * deviation, abs=0.15 * deviation)
    assert found.high == pytest.approx(-0.25 + 1.96 * deviation, abs=0.15 * deviation)
    assert differences(share, share)["same"] == type(found)(0.0, 0.0, 0.0)
    assert RESAMPLES >= 1000


def test_pairing_makes_intervals_of_alike_variants_narrow() -> None:
    references, texts = corpus(80)
    other = [text if photo % 20 else "a man" for photo, text in enumerate(texts)]
    base = caption_metrics(references, texts)
    paired = differences(caption_metrics(references, other), base)["CIDEr"]
    unlike = differences(caption_metrics(references, texts[1:] + texts[:1]), base)["CIDEr"]
    assert paired.low <= paired.value <= paired.high
    assert paired.high - paired.low < 0.5 * (unlike.high - unlike.low)


@pytest.mark.parametrize(
    ("wanted", "got", "edits"),
    [("", "", 0), ("kitten", "sitting", 3), ("abc", "", 3), ("", "ab", 2), ("flaw", "lawn", 2), ("same", "same", 0)],
)
def test_edit_distance(wanted: str, got: str, edits: int) -> None:
    assert edit_distance(wanted, got) == edit_distance(got, wanted) == edits


def test_error_rates() -> None:
    references = [["the quick fox"], ["one two", "one two three"], ["x"]]
    texts = [" the  quick ox", "one two three", "x y"]
    found = {name: metric.value() for name, metric in ocr_metrics(references, texts).items()}
    # words: 1 of 3, 0 of 3 (the nearest reference), 1 of 1; characters: 1 of 13, 0 of 13, 2 of 1
    assert found == {
        "word error rate": pytest.approx(2 / 7),
        "character error rate": pytest.approx(3 / 27),
    }
    assert all(metric.better == "low" for metric in ocr_metrics(references, texts).values())


def test_words() -> None:
    assert words_of("A man's T-shirt , red .") == ["a", "man's", "t-shirt", "red"]
    assert words_of("Zwei Männer - 2 Hüte_hier!") == ["zwei", "männer", "2", "hüte", "hier"]


@pytest.mark.slow
@pytest.mark.skipif(not java_is_here(), reason="needs Java")
def test_cocos_tokenizer_and_meteor() -> None:
    references = [["A man's dog runs.", "The dog is running!"], ["Two red balls."]]
    found = caption_metrics(references, ["a dog runs", "two red balls"], "ptb")
    assert list(found)[-1] == "METEOR"
    assert found["CIDEr"].parts[1, 0] > found["CIDEr"].parts[0, 0] >= 0
    assert 0.5 < found["METEOR"].value() <= 1
