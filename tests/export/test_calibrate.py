"""Confidences fitted to which texts were good: against a plain optimiser, and where nothing bounds the weights."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from fuseline.errors import ExportError
from fuseline.export.quality.calibrate import calibrate, calibration_table
from fuseline.folders.confidence import FEATURES, Confidence

Float64 = np.ndarray[Any, np.dtype[np.float64]]


def drawn(seed: int, texts: int, features: int) -> tuple[Float64, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Features of very different sizes, and which texts are good by chance, as a logistic model has it."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.integers(-3, 3, features)
    values = random.normal(random.normal(size=features) * 5, sizes, (texts, features))
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    scores = standard @ random.normal(size=features) + random.normal()
    good = random.random(texts) < 1 / (1 + np.exp(-scores))
    good[:2] = [True, False]
    return values, good


def by_torch(features: Float64, good: Any, penalty: float) -> tuple[float, Float64]:
    """The same by L-BFGS of torch, of the definition as it is written."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    columns = torch.from_numpy((features - mean) / spread)
    weights = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    intercept = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, intercept], max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )
    truth = torch.from_numpy(good.astype(np.float64))

    def loss() -> Any:
        optimizer.zero_grad()
        found = torch.nn.functional.binary_cross_entropy_with_logits(columns @ weights + intercept, truth)
        found = found + penalty / 2 * (weights**2).sum()
        found.backward()
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    found = weights.detach().numpy() / spread
    return float(intercept.detach()) - float(found @ mean), found


@pytest.mark.parametrize("penalty", [1e-4, 1e-3, 0.1])
@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_a_plain_optimiser_finds(seed: int, penalty: float) -> None:
    features, good = drawn(seed, 40 + 60 * seed, 1 + seed)
    intercept, weights = calibrate(features, good, penalty)
    other, others = by_torch(features, good, penalty)
    # Weights are compared by what they do to the features: their sizes differ by powers of ten.
    np.testing.assert_allclose(intercept + features @ weights, other + features @ others, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_texts_that_are_told_apart_without_a_mistake_have_finite_weights(scale: float) -> None:
    features = scale * np.arange(-5, 6, dtype=np.float64)[:, None]
    good = features[:, 0] > 0
    intercept, weights = calibrate(features, good)
    sure = 1 / (1 + np.exp(-(intercept + features @ weights)))
    assert np.isfinite(weights).all() and (sure[good] > 0.75).all() and (sure[~good] < 0.25).all()
    smaller = calibrate(features, good, 1e-9)[1]
    assert np.isfinite(smaller).all() and smaller[0] > weights[0] > 0


def test_features_that_say_the_same_share_a_weight_and_a_constant_has_none() -> None:
    features, good = drawn(3, 200, 1)
    intercept, weights = calibrate(np.column_stack([features, features, np.full(200, 7.0)]), good, 1e-3)
    alone_intercept, alone = calibrate(features, good, 5e-4)  # of two halves the squares are half
    np.testing.assert_allclose(weights, [alone[0] / 2, alone[0] / 2, 0], rtol=1e-6)
    assert intercept == pytest.approx(alone_intercept, rel=1e-6)


def test_a_folder_says_what_was_fitted() -> None:
    """The runtime's arithmetic, text by text, is that of the regression."""
    random = np.random.default_rng(0)
    texts = [np.log(random.random(length)) for length in (1, 2, 3, 8, 20) for _ in range(8)]
    features = np.array([[feature(text) for feature in FEATURES.values()] for text in texts])
    good = random.random(len(texts)) < 0.6
    intercept, weights = calibrate(features, good)
    said = Confidence(intercept, dict(zip(FEATURES, weights.tolist(), strict=True)), 0.5)
    expected = 1 / (1 + np.exp(-(intercept + features @ weights)))
    np.testing.assert_allclose([said.of(text) for text in texts], expected, rtol=1e-12)
    assert abs(expected.mean() - good.mean()) < 1e-8  # as the intercept is free


def test_a_table_counts_how_often_texts_were_good() -> None:
    sure, good = [0.0, 0.1, 0.5, 0.6, 0.9, 1.0], np.array([0, 0, 1, 0, 1, 1], bool)
    table = calibration_table(sure, good, 2)
    low, high = table.bins
    assert (low.low, low.high, low.texts, low.good) == (0.0, 0.5, 2, 0.0) and low.confidence == pytest.approx(0.05)
    assert (high.low, high.high, high.texts, high.good) == (0.5, 1.0, 4, 0.75)
    assert high.confidence == pytest.approx(0.75)
    assert table.expected_calibration_error == pytest.approx((2 * 0.05 + 4 * 0.0) / 6)
    empty = calibration_table(np.array([0.95]), np.array([True]), 10)
    assert [each.texts for each in empty.bins] == [0] * 9 + [1]
    assert empty.expected_calibration_error == pytest.approx(0.05)


def test_what_is_drawn_by_its_confidence_is_calibrated() -> None:
    random = np.random.default_rng(1)
    sure = random.random(100_000)
    assert calibration_table(sure, random.random(100_000) < sure).expected_calibration_error < 0.01
    assert calibration_table(sure, random.random(100_000) < sure / 2).expected_calibration_error > 0.2


GOOD = np.array([True, False, True])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: calibrate(np.zeros(3), GOOD), "features must be finite numbers of shape [texts, features]"),
        (lambda: calibrate(np.full((3, 1), np.nan), GOOD), "features must be finite numbers"),
        (lambda: calibrate(np.ones((3, 2)), GOOD[:2]), "good must be bool[3], one a text, not bool[2]"),
        (lambda: calibrate(np.ones((3, 2)), [1, 0, 1]), "good must be bool[3], one a text, not int64[3]"),
        (lambda: calibrate(np.ones((3, 2)), GOOD | True), "all 3 texts are good; some of both are needed"),
        (lambda: calibrate(np.ones((3, 2)), GOOD & False), "all 3 texts are bad; some of both are needed"),
        (lambda: calibrate(np.ones((3, 2)), GOOD, 0.0), "penalty must be a number above 0, not 0.0"),
        (lambda: calibration_table([0.5, 1.5, 0], GOOD), "confidence must be numbers from 0 to 1"),
        (lambda: calibration_table([0.5, np.nan, 0], GOOD), "confidence must be numbers from 0 to 1"),
        (lambda: calibration_table([0.5, 0.5], GOOD), "good must be bool[2], one a text, not bool[3]"),
        (lambda: calibration_table([0.5, 0.5, 0.1], GOOD, 0), "bins must be a whole number of at least 1, not 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(call: Any, sentence: str) -> None:
    with pytest.raises(ExportError, match=re.escape(sentence)):
        call()
