"""How sure a model may be of a text: a logistic regression of which texts were good, and how well it tells.

A confidence of 0.8 is to mean that of such texts 80% are good. Bishop, "Pattern Recognition and Machine Learning"
(2006), 4.3.3 has the regression by iterated reweighted least squares; Naeini et al., "Obtaining Well Calibrated
Probabilities Using Bayesian Binning" (2015) the expected calibration error.

Dimensions: `N` texts, `F` features of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fuseline.errors import ExportError
from fuseline.folders.confidence import logistic

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_MOST_ROUNDS = 200
_SMALLEST_STEP = 1e-10  # of a standardized weight; Newton's steps are exact to rounding long before


def calibrate(features: npt.ArrayLike, good: npt.ArrayLike, penalty: float = 1e-3) -> tuple[float, Float64]:
    """The intercept and the weights, float64[F], of 1 / (1 + exp(-(intercept + features @ weights))) being good.

    features: float64[N, F], rows of fuseline.folders.confidence.features_of, or some of its columns; good: bool[N].
    What is made least is the mean cross-entropy plus penalty / 2 times the squares of the weights of the standardized
    features (each less its mean, over its standard deviation), so that the penalty is the same for all, whatever they
    are measured in. The intercept is free. With any penalty above 0 there is one answer, of texts too that the features
    tell apart without a mistake. A feature that is the same everywhere has the weight 0.
    Raises ExportError for other arrays, for numbers that are not finite, and unless some are good and some are not.
    """
    values, truth = _checked(features, good)
    if not 0 < penalty < np.inf:
        raise ExportError(f"penalty must be a number above 0, not {penalty}")
    mean, spread = values.mean(axis=0), values.std(axis=0)
    varies = spread > 1e-12 * np.abs(mean)  # and not by rounding alone
    spread = np.where(varies, spread, 1.0)
    columns = np.column_stack([np.ones(len(values)), np.where(varies, (values - mean) / spread, 0.0)])
    fitted = _fitted(columns, truth, np.r_[0.0, np.full(values.shape[1], penalty)])
    weights = np.where(varies, fitted[1:] / spread, 0.0)
    return float(fitted[0] - weights @ mean), weights


def _checked(features: npt.ArrayLike, good: npt.ArrayLike) -> tuple[Float64, Float64]:
    """features, and good as 0 and 1, float64[N]. Raises ExportError."""
    values, truth = np.asarray(features), np.asarray(good)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ExportError("features must be finite numbers of shape [texts, features], at least one of each")
    if truth.shape != (len(values),) or truth.dtype != np.bool_:
        raise ExportError(f"good must be bool[{len(values)}], one a text, not {truth.dtype}{list(truth.shape)}")
    if truth.all() or not truth.any():
        raise ExportError(f"all {len(truth)} texts are {'good' if truth.all() else 'bad'}; some of both are needed")
    return values.astype(np.float64), truth.astype(np.float64)


def _fitted(columns: Float64, truth: Float64, penalties: Float64) -> Float64:
    """The weights of the columns, float64[F + 1], by Newton's method with steps that are halved until they help."""
    weights = np.zeros(columns.shape[1])
    weights[0] = np.log(truth.mean() / (1 - truth.mean()))
    reached = _loss(columns, truth, penalties, weights)
    for _ in range(_MOST_ROUNDS):
        said = logistic(columns @ weights)
        slope = columns.T @ (said - truth) / len(truth) + penalties * weights
        curve = (columns.T * (said * (1 - said))) @ columns / len(truth) + np.diag(penalties)
        step = np.linalg.lstsq(curve, slope, rcond=None)[0]
        while (loss := _loss(columns, truth, penalties, weights - step)) > reached:
            step = step / 2
            if np.abs(step).max() < _SMALLEST_STEP:
                break
        weights, reached = weights - step, min(loss, reached)
        if np.abs(step).max() < _SMALLEST_STEP:
            return weights
    raise ExportError("no weights were found for these features; leave those out that say the same as others")


def _loss(columns: Float64, truth: Float64, penalties: Float64, weights: Float64) -> float:
    """The mean cross-entropy with its penalty."""
    scores = columns @ weights
    return float((np.logaddexp(0, scores) - truth * scores).mean() + (penalties * weights**2).sum() / 2)


@dataclass(frozen=True)
class Bin:
    """The texts whose confidence is from low to below high, the last bin's too that are at high: how many, how sure on
    average, and which share of them was good; both 0 of none."""

    low: float
    high: float
    texts: int
    confidence: float
    good: float


@dataclass(frozen=True)
class CalibrationTable:
    """expected_calibration_error: the mean distance of a bin's confidence and its share of good texts, by its texts."""

    bins: tuple[Bin, ...]
    expected_calibration_error: float


def calibration_table(confidence: npt.ArrayLike, good: npt.ArrayLike, bins: int = 10) -> CalibrationTable:
    """How often texts of each confidence were good, in bins of equal width.

    confidence: float[N], from 0 to 1; good: bool[N]. Raises ExportError for others, and for fewer than one bin.
    """
    sure, truth = np.asarray(confidence), np.asarray(good)
    if sure.ndim != 1 or not len(sure) or sure.dtype.kind != "f" or not ((sure >= 0) & (sure <= 1)).all():
        raise ExportError("confidence must be numbers from 0 to 1, at least one")
    if truth.shape != sure.shape or truth.dtype != np.bool_:
        raise ExportError(f"good must be bool[{len(sure)}], one a text, not {truth.dtype}{list(truth.shape)}")
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise ExportError(f"bins must be a whole number of at least 1, not {bins}")
    edges = np.linspace(0, 1, bins + 1)
    places = np.minimum(np.searchsorted(edges, sure, side="right") - 1, bins - 1)
    found = tuple(
        _bin(float(edges[place]), float(edges[place + 1]), sure[places == place], truth[places == place])
        for place in range(bins)
    )
    error = sum(each.texts * abs(each.confidence - each.good) for each in found) / len(sure)
    return CalibrationTable(found, float(error))


def _bin(low: float, high: float, sure: npt.NDArray[np.floating], good: Bool) -> Bin:
    if not len(sure):
        return Bin(low, high, 0, 0.0, 0.0)
    return Bin(low, high, len(sure), float(sure.mean(dtype=np.float64)), float(good.mean()))
