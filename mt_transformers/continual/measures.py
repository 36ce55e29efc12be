"""
Measures of continual learning, over a matrix of scores.

Entry `matrix[i, j]` is the score on experience `j` after experience `i` was learnt, a fraction of which higher is
better; NaN where nothing was measured. Experiences are counted from 0. A measure is NaN where its definition needs an
entry that is NaN, or has nothing to average over: nothing can be forgotten by who has learnt one thing, so that its
forgetting is not 0, which would look like a success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "average_accuracy",
    "average_incremental_accuracy",
    "backward_transfer",
    "forgetting",
    "forgetting_per_experience",
    "forward_transfer",
]


def average_accuracy(matrix: npt.ArrayLike, after: int | None = None) -> float:
    """
    Mean score on what was learnt so far: `A_k = mean over j <= k of R[k, j]`.

    Each experience counts the same, however many rows it has.

    Source: Chaudhry et al. (2018), https://arxiv.org/abs/1801.10112, section 3; after the last experience it is ACC of
    Lopez-Paz and Ranzato (2017), https://arxiv.org/abs/1706.08840, section 2, equation 2.

    Args:
        matrix (`array_like` of shape `(experiences, experiences)`): The scores (fractions).
        after (`int`, *optional*): The experience `k` after which is measured. Defaults to the last one.

    Returns:
        `float`: From the lowest to the highest score; NaN if a score on what was learnt is NaN.

    Raises:
        InputError: If the matrix is not square, or there is no such experience.

    Example:
        >>> average_accuracy([[1.0, 0.5], [0.5, 0.75]])
        0.625
        >>> average_accuracy([[1.0, 0.5], [0.5, 0.75]], after=0)
        1.0
    """
    scores, last = _checked(matrix, after)
    return _mean(scores[last, : last + 1])


def average_incremental_accuracy(matrix: npt.ArrayLike, after: int | None = None) -> float:
    """
    Mean of the average accuracies after each experience: `mean over i <= k of A_i`, the area under their curve.

    Source: Rebuffi et al. (2017), https://arxiv.org/abs/1611.07725, section 4.1, where the accuracy after an
    experience is that over the rows of all classes so far; here it is [`average_accuracy`], in which each experience
    counts the same.

    Args:
        matrix (`array_like` of shape `(experiences, experiences)`): The scores (fractions).
        after (`int`, *optional*): The experience `k` after which is measured. Defaults to the last one.

    Returns:
        `float`: From the lowest to the highest score; NaN if a score on or below the diagonal is NaN.

    Raises:
        InputError: If the matrix is not square, or there is no such experience.

    Example:
        >>> average_incremental_accuracy([[1.0, 0.5], [0.5, 0.75]])
        0.8125
    """
    scores, last = _checked(matrix, after)
    learnt = np.tri(last + 1, dtype=bool)
    totals = np.where(learnt, scores[: last + 1, : last + 1], 0.0).sum(axis=1)
    return _mean(totals / learnt.sum(axis=1))


def forgetting_per_experience(matrix: npt.ArrayLike, after: int | None = None) -> npt.NDArray[np.float64]:
    """
    What was lost of each earlier experience since its best time: `f_j = max over j <= l < k of R[l, j], less R[k, j]`.

    The maximum is over the times since the experience was learnt, as the paper's scores `a_{l,j}` are those with
    `j <= l`: what is measured before that, above the diagonal, is no knowledge that could be forgotten.

    Source: Chaudhry et al. (2018), https://arxiv.org/abs/1801.10112, section 3, the forgetting measure.

    Args:
        matrix (`array_like` of shape `(experiences, experiences)`): The scores (fractions).
        after (`int`, *optional*): The experience `k` after which is measured. Defaults to the last one.

    Returns:
        `np.ndarray` of shape `(k,)`: For each earlier experience a difference of scores, negative where it is known
        better than ever before; NaN where one of its scores since it was learnt is NaN.

    Raises:
        InputError: If the matrix is not square, or there is no such experience.

    Example:
        >>> forgetting_per_experience([[0.75, 0.0, 0.0], [1.0, 0.5, 0.0], [0.25, 0.75, 1.0]]).tolist()
        [0.75, -0.25]
    """
    scores, last = _checked(matrix, after)
    earlier = np.where(np.tri(last, dtype=bool), scores[:last, :last], -np.inf)
    # (last,); the initial value is for no earlier experience, of which there is no maximum
    lost: npt.NDArray[np.float64] = earlier.max(axis=0, initial=-np.inf) - scores[last, :last]
    return lost


def forgetting(matrix: npt.ArrayLike, after: int | None = None) -> float:
    """
    Mean of what was lost of the earlier experiences: `F_k = mean over j < k of f_j`.

    Source: Chaudhry et al. (2018), https://arxiv.org/abs/1801.10112, section 3, the forgetting measure.

    Args:
        matrix (`array_like` of shape `(experiences, experiences)`): The scores (fractions).
        after (`int`, *optional*): The experience `k` after which is measured. Defaults to the last one.

    Returns:
        `float`: From -1 to 1 with scores from 0 to 1, lower is better, and never below the negated
        [`backward_transfer`]; NaN after the first experience, and if a score is NaN that [`forgetting_per_experience`]
        needs.

    Raises:
        InputError: If the matrix is not square, or there is no such experience.

    Example:
        >>> forgetting([[0.75, 0.0, 0.0], [1.0, 0.5, 0.0], [0.25, 0.75, 1.0]])
        0.25
        >>> forgetting([[0.75]])
        nan
    """
    return _mean(forgetting_per_experience(matrix, after))


def backward_transfer(matrix: npt.ArrayLike, after: int | None = None) -> float:
    """
    What later experiences gave to, or took from, the earlier ones: `BWT = mean over j < k of R[k, j] - R[j, j]`.

    Source: Lopez-Paz and Ranzato (2017), https://arxiv.org/abs/1706.08840, section 2, equation 3.

    Args:
        matrix (`array_like` of shape `(experiences, experiences)`): The scores (fractions).
        after (`int`, *optional*): The experience `k` after which is measured. Defaults to the last one.

    Returns:
        `float`: From -1 to 1 with scores from 0 to 1, higher is better; NaN after the first experience, and if a score
        on the diagonal or after experience `k` is NaN.

    Raises:
        InputError: If the matrix is not square, or there is no such experience.

    Example:
        >>> backward_transfer([[0.75, 0.0, 0.0], [1.0, 0.5, 0.0], [0.25, 0.75, 1.0]])
        -0.125
    """
    scores, last = _checked(matrix, after)
    return _mean(scores[last, :last] - np.diagonal(scores)[:last])


def forward_transfer(matrix: npt.ArrayLike, initial: npt.ArrayLike, after: int | None = None) -> float:
    """
    What earlier experiences gave to those not yet learnt: `FWT = mean over 0 < j <= k of R[j - 1, j] - b[j]`.

    Source: Lopez-Paz and Ranzato (2017), https://arxiv.org/abs/1706.08840, section 2, equation 4, where `b` holds the
    scores of a model that was initialized at random; here they are those of the model before it learnt anything,
    pretrained or not.

    Args:
        matrix (`array_like` of shape `(experiences, experiences)`): The scores (fractions).
        initial (`array_like` of shape `(experiences,)`): The scores `b` before anything was learnt (fractions).
        after (`int`, *optional*): The experience `k` after which is measured. Defaults to the last one.

    Returns:
        `float`: From -1 to 1 with scores from 0 to 1, higher is better; NaN after the first experience, and if a score
        just above the diagonal or an initial one is NaN.

    Raises:
        InputError: If the matrix is not square, `initial` has another length, or there is no such experience.

    Example:
        >>> forward_transfer([[1.0, 0.5], [0.5, 0.75]], initial=[0.0, 0.25])
        0.25
    """
    scores, last = _checked(matrix, after)
    before = np.asarray(initial, dtype=np.float64)
    if before.shape != scores.shape[:1]:
        raise InputError(f"initial: expected one score for each of {len(scores)} experiences, found {before.shape}.")
    return _mean(np.diagonal(scores, offset=1)[:last] - before[1 : last + 1])


def _checked(matrix: npt.ArrayLike, after: int | None) -> tuple[npt.NDArray[np.float64], int]:
    """The matrix as an array, and the experience after which is measured."""
    scores = np.asarray(matrix, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or not scores.size:
        raise InputError(f"matrix: expected a row and a column for each experience, found the shape {scores.shape}.")
    last = len(scores) - 1 if after is None else after
    if not 0 <= last < len(scores):
        raise InputError(f"after: expected an experience from 0 to {len(scores) - 1}, found {after}.")
    return scores, last


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
