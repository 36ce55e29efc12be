"""Negative log-likelihood and perplexity of tokens, from the summed losses of rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import datasets
import numpy as np

from ..errors import InputError
from .base import InMemoryMetric

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["NegativeLogLikelihood", "Perplexity"]


class NegativeLogLikelihood(InMemoryMetric):
    """
    Negative log-likelihood of a token, the mean over all tokens of all rows, in nats; lower is better.

    `predictions` is the summed negative log-likelihood of each row's tokens (nats), `references` the number of them,
    both of shape `(rows,)`. Rows without tokens are left out. The worst value, infinity, stands for what is not
    defined: no token at all, or a loss that is not finite.

    Source: the cross entropy of `torch.nn.functional.cross_entropy`, whose mean over tokens this is.

    Example:
        >>> NegativeLogLikelihood().compute(predictions=[6.0, 1.0], references=[3, 1])
        {'nll': 1.75}
    """

    def __init__(self) -> None:
        super().__init__("nll", _features())

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        return {self.name: _mean_loss(self.name, predictions, references)}


class Perplexity(InMemoryMetric):
    """
    Perplexity: `exp` of the mean negative log-likelihood over all tokens of all rows; lower is better.

    `predictions` and `references` are those of `NegativeLogLikelihood`. All tokens count the same, so that the value
    does not depend on how text was cut into rows, as a mean of the rows' perplexities would. Infinity stands for what
    is not defined, as there, and for what is too large for a float: more than about 709 nats a token. So the worst
    model compares as the worst, and one head that has diverged does not end a run at its evaluation. JSON has no
    infinity: Python's `json` writes and reads it as `Infinity`.

    Source: Jelinek et al. (1977), https://doi.org/10.1121/1.2016299, with the entropy of the tokens estimated as by
    Brown et al. (1992), https://aclanthology.org/J92-1002.

    Example:
        >>> Perplexity().compute(predictions=[6.0, 2.0], references=[3, 1])
        {'perplexity': 7.38905609893065}
    """

    def __init__(self) -> None:
        super().__init__("perplexity", _features())

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        loss = _mean_loss(self.name, predictions, references)
        with np.errstate(over="ignore"):
            return {self.name: float(np.exp(loss))}


def _features() -> datasets.Features:
    """Give the columns as `add` and `add_batch` store them."""
    return datasets.Features({"predictions": datasets.Value("float64"), "references": datasets.Value("int64")})


def _mean_loss(name: str, predictions: npt.ArrayLike, references: npt.ArrayLike) -> float:
    """Average the summed losses of rows over their tokens; infinity where that is not defined."""
    losses = np.asarray(predictions, dtype=np.float64)
    counts = np.asarray(references, dtype=np.float64)
    if losses.ndim != 1 or losses.shape != counts.shape:
        raise InputError(
            f"{name}: expected predictions and references of one shape (rows,), "
            f"found {losses.shape} and {counts.shape}."
        )
    wrong = counts[(counts < 0) | (counts != np.trunc(counts)) | np.isinf(counts)]
    if len(wrong):
        raise InputError(f"{name}: references: expected numbers of tokens, found {wrong[0]}.")
    has_tokens = counts > 0
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(losses[has_tokens].sum())
    return total / float(counts.sum()) if has_tokens.any() and math.isfinite(total) else math.inf
