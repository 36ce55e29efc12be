"""A ridge regression over random features of the frozen backbone."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import ClassVar, cast

import datasets
import numpy as np
import torch
from torch import nn

from ...errors import InputError
from ...heads import SequenceClassificationHead, SequenceClassificationHeadConfig
from ..learner import Learner
from .closed_form import ClosedForm, Sums, add_sums, write_classifier
from .option_checks import check_seed

__all__ = ["RanPAC", "choose_ridge", "solve_ridge"]

_RIDGES = tuple(10.0**exponent for exponent in range(-8, 9))
"""What is tried, as in the authors' code."""
_HELD_OUT = 5
"""One row out of so many is held out to choose the ridge."""


@dataclass(kw_only=True)
class RanPAC(ClosedForm):
    """
    RanPAC: project the frozen backbone's features at random to many more, cut them off at 0, and compute the
    classifier by ridge regression. One pass over the rows of each experience gives what all rows at once would give
    with the same ridge.

    The head's one feed-forward layer is the random projection, whose weights are drawn from a standard normal
    distribution, without bias, and stay: a recipe's head needs `hidden_sizes: [2000]` and `hidden_act: relu`. The
    paper takes 10000 features; the Gram matrix of M features takes 8 M^2 bytes, and solving for a ridge M^3 steps.
    The paper's first phase, which trains adapters on the first experience, is left out.

    Source: McDonnell et al. (2023), "RanPAC: Random Projections and Pre-trained Models for Continual Learning",
    https://arxiv.org/abs/2307.02251, algorithm 1, phase 2.

    Args:
        ridge (`float`, *optional*):
            Weight of the ridge. By default the best one from 1e-8 to 1e8, in powers of 10, for the squared error on a
            fifth of the experience's rows after the other four fifths, as in the paper and the authors' code.
        seed (`int`, *optional*, defaults to 0): Seed of the projection and of which rows are held out.

    Raises:
        InputError: If the ridge is no number above 0, or the seed is none.

    Example:
        >>> RanPAC(ridge=10.0).options()
        {'name': 'ranpac', 'ridge': 10.0, 'seed': 0}
    """

    name: ClassVar[str] = "ranpac"

    ridge: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        is_number = isinstance(self.ridge, int | float) and not isinstance(self.ridge, bool)
        if self.ridge is not None and not (is_number and math.isfinite(self.ridge) and self.ridge > 0):
            raise InputError(f"ridge: expected a number above 0, found {self.ridge!r}.")
        check_seed(self.seed)

    def check_head(self, where: str, config: SequenceClassificationHeadConfig) -> None:
        if len(config.hidden_sizes) != 1 or config.hidden_act != "relu":
            raise InputError(
                f"{where}: expected one feed-forward layer to hold the random projection, such as 'hidden_sizes: "
                f"[2000]' with 'hidden_act: relu', found hidden_sizes {config.hidden_sizes} and hidden_act "
                f"{config.hidden_act!r}."
            )

    def set_up(self, name: str, head: SequenceClassificationHead, learner: Learner) -> None:
        projection = cast(nn.Linear, head.feed_forward[0])
        # on the CPU, whose numbers are the same on every machine and process
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {name}".encode()))
        projection.weight.copy_(torch.randn(projection.weight.shape, generator=generator))
        projection.bias.zero_()

    def sum_up(self, features: torch.Tensor, classes: torch.Tensor) -> Sums:
        labelled = features * classes.sum(dim=1, keepdim=True)
        return {**super().sum_up(features, classes), "gram": labelled.T @ features}

    def learn_head(self, name: str, head: SequenceClassificationHead, learner: Learner) -> None:
        rows, ridge = learner.rows_of(learner.number), self.ridge
        if ridge is None:
            parts = [self._divide(each, learner.number) for each in rows.values()]
            fitted, held_out = (
                self.sum_rows(name, learner, dict(zip(rows, part, strict=True))) for part in zip(*parts, strict=True)
            )
            ridge = choose_ridge(fitted, held_out)
            add_sums(fitted, held_out)
        else:
            fitted = self.sum_rows(name, learner, rows)
        sums = self.sums_of(name)
        add_sums(sums, fitted)
        weight = solve_ridge(sums["gram"], sums["features"], ridge)
        write_classifier(head.classifier, weight, torch.zeros_like(weight[:, 0]), sums["rows"])

    def _divide(self, rows: datasets.Dataset, number: int) -> tuple[datasets.Dataset, datasets.Dataset]:
        """The rows that are fitted, and those that are held out."""
        order = np.random.default_rng([self.seed, number]).permutation(len(rows))
        held_out = max(1, len(rows) // _HELD_OUT)
        return rows.select(np.sort(order[held_out:])), rows.select(np.sort(order[:held_out]))


def choose_ridge(fitted: Sums, held_out: Sums) -> float:
    """
    Choose the ridge that gives the smallest squared error on rows that were held out.

    With the Gram matrix G and the sums C of their features, the sum of the squared errors of weights W is
    `tr(W G W^T) - 2 tr(W C^T)` plus their number, so that no features need be kept.

    Args:
        fitted (`dict[str, torch.Tensor]`): `gram` and `features`, the sums over the rows that are fitted.
        held_out (`dict[str, torch.Tensor]`): Those over the rows that were held out.

    Returns:
        `float`: The ridge, the smallest of several that are equally good.

    Example:
        >>> fitted = {"gram": torch.tensor([[1.0]]), "features": torch.tensor([[1.0]])}
        >>> choose_ridge(fitted, {"gram": torch.tensor([[4.0]]), "features": torch.tensor([[2.0]])})
        1.0
    """
    errors = []
    for ridge in _RIDGES:
        weight = solve_ridge(fitted["gram"], fitted["features"], ridge)
        errors.append((weight * (weight @ held_out["gram"] - 2 * held_out["features"])).sum())
    return _RIDGES[int(torch.stack(errors).argmin())]


def solve_ridge(gram: torch.Tensor, features: torch.Tensor, ridge: float) -> torch.Tensor:
    """
    Compute the weights of a ridge regression on indicators of classes.

    Args:
        gram (`torch.Tensor` of shape `(size, size)`): Sum of the outer products of all rows' features.
        features (`torch.Tensor` of shape `(num_labels, size)`): Sum of the features of each class.
        ridge (`float`): Weight of the squared weights.

    Returns:
        `torch.Tensor` of shape `(num_labels, size)`.

    Example:
        >>> solve_ridge(torch.tensor([[3.0]]), torch.tensor([[2.0]]), 1.0)
        tensor([[0.5000]])
    """
    regular = gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight: torch.Tensor = torch.linalg.solve(regular, features.T).T
    return weight
