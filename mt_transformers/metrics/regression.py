"""Pearson and Spearman correlation and mean squared error, of one target or the mean over several."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import datasets
import numpy as np
from scipy.stats import rankdata

from .base import InMemoryMetric

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MeanSquaredError", "Pearson", "Spearman"]


class Pearson(InMemoryMetric):
    """
    Pearson's correlation of predictions and references, the mean over the targets.

    Entries whose reference is NaN are left out. A target counts as 0.0 where the correlation is not defined: fewer
    than two entries, constant predictions or references, or a value that is not finite. So the result is never NaN,
    with which a choice of the best model would go wrong.

    Source: Pearson (1895), https://doi.org/10.1098/rspl.1895.0041, the formula of `scipy.stats.pearsonr`, which gives
    NaN in these cases.

    Example:
        >>> Pearson().compute(predictions=[1.0, 2.0, 3.0, 9.0], references=[2.0, 4.0, 6.0, float("nan")])
        {'pearson': 1.0}
        >>> Pearson().compute(predictions=[[1.0, 3.0], [2.0, 3.0]], references=[[5.0, 1.0], [6.0, 2.0]])
        {'pearson': 0.5}
    """

    def __init__(self) -> None:
        super().__init__("pearson", _features())

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        targets = _targets(self.name, predictions, references)
        return {self.name: _mean([_correlation(predicted, true) for predicted, true in targets], when_none=0.0)}


class Spearman(InMemoryMetric):
    """
    Spearman's rank correlation of predictions and references, the mean over the targets.

    Pearson's correlation of the ranks, equal values sharing the mean of their ranks. Entries whose reference is NaN
    are left out before ranking. A target counts as 0.0 where it is not defined, as for `Pearson`.

    Source: Spearman (1904), https://doi.org/10.2307/1412159, as in `scipy.stats.spearmanr`, which gives NaN in these
    cases.

    Example:
        >>> Spearman().compute(predictions=[1.0, 2.0, 30.0], references=[0.1, 0.5, 0.6])
        {'spearman': 1.0}
    """

    def __init__(self) -> None:
        super().__init__("spearman", _features())

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        targets = _targets(self.name, predictions, references)
        return {self.name: _mean([_rank_correlation(predicted, true) for predicted, true in targets], when_none=0.0)}


class MeanSquaredError(InMemoryMetric):
    """
    Mean squared error, the mean over the targets; lower is better.

    Entries whose reference is NaN are left out, and so is a target that has no other. The worst value, infinity,
    stands for what is not defined: no entry at all, or a value that is not finite.

    Source: `sklearn.metrics.mean_squared_error` with `multioutput="uniform_average"`, which refuses NaN.

    Example:
        >>> MeanSquaredError().compute(predictions=[1.0, 2.0, 3.0], references=[1.0, 4.0, float("nan")])
        {'mse': 2.0}
    """

    def __init__(self) -> None:
        super().__init__("mse", _features())

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        targets = _targets(self.name, predictions, references)
        return {self.name: _mean([_squared_error(p, t) for p, t in targets if len(t)], when_none=math.inf)}


def _features() -> list[datasets.Features]:
    """Give the columns as `add` and `add_batch` store them: numbers, or lists of numbers."""
    value = datasets.Value("float64")
    columns = (value, datasets.Sequence(value))
    return [datasets.Features({"predictions": column, "references": column}) for column in columns]


def _targets(
    name: str, predictions: npt.ArrayLike, references: npt.ArrayLike
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Split into (predictions, references) of each target, without the entries whose reference is NaN."""
    predicted = np.asarray(predictions, dtype=np.float64)
    true = np.asarray(references, dtype=np.float64)
    # A head of one target predicts (rows, 1) where the labels are (rows,): the same thing.
    predicted, true = (array[:, np.newaxis] if array.ndim == 1 else array for array in (predicted, true))
    if predicted.ndim != 2 or predicted.shape != true.shape:
        raise ValueError(
            f"{name}: expected predictions and references of one shape, (rows,) or (rows, targets), "
            f"found {np.shape(predictions)} and {np.shape(references)}."
        )
    labelled = ~np.isnan(true)
    return [(predicted[labelled[:, i], i], true[labelled[:, i], i]) for i in range(true.shape[1])]


def _mean(scores: list[float], when_none: float) -> float:
    """Average over the targets."""
    return sum(scores) / len(scores) if scores else when_none


def _correlation(predicted: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> float:
    """Correlate one target by Pearson's formula; 0.0 where it is not defined."""
    if len(true) < 2 or not (np.isfinite(predicted).all() and np.isfinite(true).all()):
        return 0.0
    product = np.dot(_unit_deviations(predicted), _unit_deviations(true))
    return float(np.clip(product, -1.0, 1.0))


def _rank_correlation(predicted: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> float:
    """Correlate the ranks of one target; 0.0 where it is not defined."""
    if not (np.isfinite(predicted).all() and np.isfinite(true).all()):
        return 0.0
    return _correlation(rankdata(predicted), rankdata(true))


def _unit_deviations(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give the deviations from the mean as a vector of length 1, or of zeros where the values are constant."""
    largest = np.abs(values).max()
    # Asked of the values: rounding can leave the deviations of equal values a little beside zero.
    if values.min() == values.max():
        return np.zeros_like(values)
    # Scaled before each square, so that neither very large nor very small values leave the range of floats.
    deviations = values / largest
    deviations = deviations - deviations.mean()
    deviations = deviations / np.abs(deviations).max()
    unit: npt.NDArray[np.float64] = deviations / np.linalg.norm(deviations)
    return unit


def _squared_error(predicted: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> float:
    """Average the squared errors of one target; infinity if a value is not finite or its square too large."""
    if not (np.isfinite(predicted).all() and np.isfinite(true).all()):
        return math.inf
    with np.errstate(over="ignore"):
        return float(np.mean((predicted - true) ** 2))
