"""Online elastic weight consolidation: weights are held by the Fisher information of earlier experiences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ...errors import InputError
from ..learner import Learner
from .gradients import flatten_gradients, loss_gradients, loss_scale, trained_parameters
from .option_checks import check_rows, check_weight
from .weight_penalty import WeightPenalty

__all__ = ["EwcOnline"]


@dataclass(kw_only=True)
class EwcOnline(WeightPenalty):
    """
    Online elastic weight consolidation (EWC): a weight is held where it was by the Fisher information that earlier
    experiences had about it, `ewc_lambda / 2 * sum(F * (weight - anchor) ** 2)`.

    At the end of each experience `F` becomes `gamma * F` plus the diagonal of the empirical Fisher information: the
    mean over rows of the square of the gradient of the row's own loss, with its labels and without dropout. It serves
    heads of every type; the paper's expectation is over the model's answers instead, which not all types can draw. The
    loss of a row is that of training a batch of it alone, with the heads' weights.

    Source: Schwarz et al. (2018), "Progress & Compress", https://arxiv.org/abs/1805.06370, section 4 and eq. 9, after
    Kirkpatrick et al. (2017), https://arxiv.org/abs/1612.00796, eq. 3. The defaults are those of Mammoth's `ewc_on`
    for CIFAR-10, which has twice the penalty, so that its 10 is 20 here; in the paper a gamma below 1 forgets slowly.

    Args:
        ewc_lambda (`float`, *optional*, defaults to 20.0): Weight of the penalty.
        gamma (`float`, *optional*, defaults to 1.0): What is left of `F` at the end of an experience, from 0 to 1.
        fisher_rows (`int`, *optional*, defaults to 500):
            Most rows of an experience that `F` is computed from, one backward pass each, chosen by the training seed.

    Raises:
        InputError: If the weight is below 0, `gamma` not from 0 to 1 or `fisher_rows` below 1.

    Example:
        >>> EwcOnline(gamma=0.9).options()
        {'name': 'ewc_online', 'ewc_lambda': 20.0, 'gamma': 0.9, 'fisher_rows': 500}
    """

    name: ClassVar[str] = "ewc_online"

    ewc_lambda: float = 20.0
    gamma: float = 1.0
    fisher_rows: int = 500

    def __post_init__(self) -> None:
        check_weight("ewc_lambda", self.ewc_lambda)
        check_weight("gamma", self.gamma)
        if self.gamma > 1:
            raise InputError(f"gamma: expected a number from 0 to 1, found {self.gamma!r}.")
        check_rows("fisher_rows", self.fisher_rows)

    def end_backward(self, learner: Learner) -> None:
        self.add_penalty(learner, self.ewc_lambda)

    def end(self, learner: Learner) -> None:
        if learner.number == len(learner.scenario.experiences) - 1:
            # nothing comes that weights would have to be held in
            return
        self._importance = {name: self.gamma * each for name, each in self._importance.items()}
        for name, each in self._fisher(learner).items():
            self._importance[name] = self._importance[name] + each if name in self._importance else each

    def _fisher(self, learner: Learner) -> dict[str, torch.Tensor]:
        """The mean of the squared gradients of an experience's rows, by the parameter's name."""
        parameters = trained_parameters(learner.model)
        own, scale = list(parameters.values()), loss_scale(learner)
        # squares, and the number of rows
        sums = flatten_gradients([None] * len(own), own).new_zeros(sum(each.numel() for each in own) + 1)
        with _evaluating(learner.model):
            for row in self._rows(learner):
                loss = learner.forward(learner.collate([row]))["loss"]
                gradient = flatten_gradients(loss_gradients(loss * scale, own), own) / scale
                # a row whose gradient overflows under fp16 is left out
                finite = gradient.isfinite().all()
                sums[:-1] += torch.where(finite, gradient.square(), 0)
                sums[-1] += finite
        sums = learner.over_processes(sums)
        parts = (sums[:-1] / sums[-1].clamp(min=1)).split([each.numel() for each in own])
        return {name: part.view_as(each).clone() for (name, each), part in zip(parameters.items(), parts, strict=True)}

    def _rows(self, learner: Learner) -> Iterator[Mapping[str, Any]]:
        """This process's part of the rows that were chosen."""
        splits = list(learner.rows_of(learner.number).values())
        ends = np.cumsum([len(split) for split in splits])
        random = np.random.default_rng(int(learner.args.seed))
        chosen = np.sort(random.choice(ends[-1], min(self.fisher_rows, ends[-1]), replace=False))
        for row in chosen[learner.process_index :: learner.num_processes].tolist():
            split = int(np.searchsorted(ends, row, side="right"))
            yield splits[split][row - int(ends[split])]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout; afterwards as before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
