"""Accuracy, F1 and Matthews correlation, over scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import datasets
import numpy as np
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from .base import InMemoryMetric

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["F1", "Accuracy", "MatthewsCorrelation"]

_AVERAGES = ("macro", "micro", "weighted")


class Accuracy(InMemoryMetric):
    """
    Share of the rows that are predicted right.

    Multi-label: the subset accuracy, where a row counts only if all of its labels are right. An empty input gives 0.0.

    Source: `sklearn.metrics.accuracy_score`, which is followed for the multi-label case as well.

    Args:
        multilabel (`bool`, *optional*, defaults to `False`):
            Predictions and references are 0/1 matrices of shape `(rows, labels)` in place of class ids of shape
            `(rows,)`.

    Example:
        >>> Accuracy().compute(predictions=[2, 1, 0, 0], references=[2, 1, 0, 1])
        {'accuracy': 0.75}
        >>> Accuracy(multilabel=True).compute(predictions=[[1, 0], [1, 1]], references=[[1, 0], [1, 0]])
        {'accuracy': 0.5}
    """

    def __init__(self, multilabel: bool = False) -> None:
        self._multilabel = multilabel
        super().__init__("accuracy", _features(multilabel), _config_name(multilabel))

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        predicted, true = _matching_ids(self.name, predictions, references, self._multilabel)
        return {self.name: float(accuracy_score(true, predicted)) if true.size else 0.0}


class F1(InMemoryMetric):
    """
    F1, the harmonic mean of precision and recall: `2 tp / (2 tp + fp + fn)`, and 0.0 where that is 0 / 0.

    `macro` is the mean of the classes' F1, not the F1 of mean precision and mean recall: Opitz and Burst (2019),
    https://huggingface.co/papers/1911.03347, compare the two. With class ids the classes are those found in the
    predictions or the references; with a matrix they are its columns, also those without a positive. `weighted` weighs
    each class by its number of references, `micro` counts over all classes (for class ids it equals the accuracy).

    Source: van Rijsbergen (1979), Information Retrieval, chapter 7, as in `sklearn.metrics.f1_score` with
    `zero_division=0`.

    Args:
        average (`str` or `int`, *optional*, defaults to `"macro"`):
            `"macro"`, `"micro"`, `"weighted"`, or a class id (with `multilabel` a column): the binary F1 of that class
            against all others. The metric's name is `f1_<average>`, that of a class `f1_class_<id>`.
        multilabel (`bool`, *optional*, defaults to `False`):
            Predictions and references are 0/1 matrices of shape `(rows, labels)` in place of class ids of shape
            `(rows,)`.
        labels (`Sequence[int]`, *optional*):
            Class ids (with `multilabel` columns) that are averaged over, whether they occur or not; as scikit-learn's
            argument of this name. A single one gives its binary F1.

    Raises:
        ValueError: If `average` is none of these, or is one class and `labels` are given beside it.

    Example:
        >>> F1("macro").compute(predictions=[0, 0, 1, 1], references=[0, 1, 1, 1])
        {'f1_macro': 0.7333333333333334}
        >>> F1(1).compute(predictions=[0, 0, 1, 1], references=[0, 1, 1, 1])
        {'f1_class_1': 0.8}
        >>> F1("micro", multilabel=True).compute(predictions=[[1, 0], [1, 1]], references=[[1, 0], [0, 1]])
        {'f1_micro': 0.8}
        >>> F1("macro", labels=[1, 2]).compute(predictions=[0, 1, 2, 2], references=[0, 1, 1, 2])
        {'f1_macro': 0.6666666666666666}
    """

    def __init__(
        self, average: str | int = "macro", multilabel: bool = False, labels: Sequence[int] | None = None
    ) -> None:
        is_class_id = isinstance(average, int) and not isinstance(average, bool)
        if not is_class_id and average not in _AVERAGES:
            raise ValueError(f"F1: average: expected one of {', '.join(_AVERAGES)} or a class id, found {average!r}.")
        if is_class_id and labels is not None:
            raise ValueError(f"F1: labels: expected none beside the class {average}, found {list(labels)}.")
        self._average = average
        self._multilabel = multilabel
        self._labels = None if labels is None else list(labels)
        own_name = f"f1_class_{average}" if is_class_id else f"f1_{average}"
        super().__init__(own_name, _features(multilabel), _config_name(multilabel))

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        predicted, true = _matching_ids(self.name, predictions, references, self._multilabel)
        if not true.size:
            return {self.name: 0.0}
        average, labels = self._average, self._labels
        if isinstance(average, int):
            predicted, true = self._one_class(predicted, average), self._one_class(true, average)
            average = "binary"
        elif self._multilabel and true.shape[1] == 1:
            # scikit-learn takes a matrix of one column for class ids 0 and 1, and would average over both.
            predicted, true = predicted[:, 0], true[:, 0]
            average, labels = "binary", None
        score = f1_score(true, predicted, labels=labels, average=average, zero_division=0)
        return {self.name: float(score)}

    def _one_class(self, ids: npt.NDArray[np.int64], class_id: int) -> npt.NDArray[np.int64]:
        """Reduce class ids or a 0/1 matrix to 0/1 for one class, of shape `(rows,)`."""
        if self._multilabel and not 0 <= class_id < ids.shape[1]:
            raise ValueError(f"{self.name}: expected a matrix with a column {class_id}, found {ids.shape[1]} columns.")
        one_class: npt.NDArray[np.int64] = ids[:, class_id] if self._multilabel else (ids == class_id).astype(np.int64)
        return one_class


class MatthewsCorrelation(InMemoryMetric):
    """
    Matthews correlation coefficient of class ids, between -1 and 1.

    0.0 where it is not defined: the predictions or the references hold a single class, or there are no rows.

    Source: Matthews (1975), https://doi.org/10.1016/0005-2795(75)90109-9, for two classes; Gorodkin (2004),
    https://doi.org/10.1016/j.compbiolchem.2004.09.006, for more; as in `sklearn.metrics.matthews_corrcoef`.

    Example:
        >>> MatthewsCorrelation().compute(predictions=[1, 0, 1, 1], references=[1, 0, 1, 0])
        {'matthews_correlation': 0.5773502691896258}
    """

    def __init__(self) -> None:
        super().__init__("matthews_correlation", _features(multilabel=False))

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        predicted, true = _matching_ids(self.name, predictions, references, multilabel=False)
        # Settled here because scikit-learn warns when both hold the same single class.
        if not true.size or np.ptp(true) == 0 or np.ptp(predicted) == 0:
            return {self.name: 0.0}
        return {self.name: float(matthews_corrcoef(true, predicted))}


def _features(multilabel: bool) -> datasets.Features:
    """Give the columns as `add` and `add_batch` store them."""
    value = datasets.Value("int64")
    column = datasets.Sequence(value) if multilabel else value
    return datasets.Features({"predictions": column, "references": column})


def _config_name(multilabel: bool) -> str | None:
    """Name the variant as evaluate's own accuracy and f1 do."""
    return "multilabel" if multilabel else None


def _matching_ids(
    name: str, predictions: npt.ArrayLike, references: npt.ArrayLike, multilabel: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Turn predictions and references into integer arrays of one shape, or say what does not fit."""
    predicted = _ids(f"{name}: predictions", predictions, multilabel)
    true = _ids(f"{name}: references", references, multilabel)
    if predicted.shape != true.shape:
        raise ValueError(
            f"{name}: expected predictions and references of one shape, found {predicted.shape} and {true.shape}."
        )
    return predicted, true


def _ids(where: str, values: npt.ArrayLike, multilabel: bool) -> npt.NDArray[np.int64]:
    """Turn class ids of shape `(rows,)`, or a 0/1 matrix of shape `(rows, labels)`, into int64."""
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros((len(array), 0) if multilabel else len(array), dtype=np.int64)
    if array.ndim != (2 if multilabel else 1):
        expected = "(rows, labels)" if multilabel else "(rows,)"
        raise ValueError(f"{where}: expected shape {expected}, found {array.shape}.")
    is_float = array.dtype.kind == "f"
    if is_float and not (np.isfinite(array).all() and np.array_equal(array, np.trunc(array))):
        raise ValueError(f"{where}: expected whole numbers, found {array.dtype} values that are not.")
    if not is_float and array.dtype.kind not in "biu":
        raise ValueError(f"{where}: expected whole numbers, found {array.dtype} values.")
    ids = array.astype(np.int64)
    if multilabel and not np.isin(ids, (0, 1)).all():
        raise ValueError(f"{where}: expected only 0 and 1, found values from {ids.min()} to {ids.max()}.")
    return ids
