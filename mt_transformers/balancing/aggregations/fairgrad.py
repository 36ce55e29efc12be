"""FairGrad: the gains of tasks are shared as fairly as alpha says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from .options import number, whole_number
from .torchjd_aggregation import TorchJDAggregation, unit_scale

__all__ = ["FairGrad"]


class FairGrad(TorchJDAggregation):
    """
    Fair resource allocation: each task's gain is a power of its weight, `G w = w ** (-1 / alpha)`.

    The gradient does not grow and shrink with those of the tasks: it is multiplied by
    `factor ** ((1 - alpha) / (1 + alpha))` where all of them are by `factor`, so that, with the default, small
    gradients make a large one. The authors clip its norm to 1, as `max_grad_norm` does.

    Source: Ban and Ji (2024), https://arxiv.org/abs/2402.15638, equation 4; `alpha` is that of the authors' script for
    QM9.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        alpha (`float`, *optional*, defaults to 2.0):
            0 is the mean, 1 is proportional fairness; the larger, the more the least served task counts.
        max_iters (`int`, *optional*): Most evaluations of the solver, 100 for each task that is present if not given.

    Raises:
        InputError: If an option has a wrong value, or TorchJD or scipy is not installed.

    Example:
        >>> gramian = torch.tensor([[8.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        >>> FairGrad(["pos", "ner"]).weigh(gramian, [0, 1])
        tensor([0.2500, 1.0000], dtype=torch.float64)
    """

    name: ClassVar[str] = "fairgrad"

    def __init__(self, tasks: Sequence[str], *, alpha: float = 2.0, max_iters: int | None = None) -> None:
        options: dict[str, Any] = {"alpha": number(self.name, "alpha", alpha, least=0)}
        if max_iters is not None:
            options["max_iters"] = whole_number(self.name, "max_iters", max_iters, least=1)
        super().__init__(tasks, "aggregation.FairGradWeighting", parts=("scipy.optimize",), **options)

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        # the solver begins at 1 / t and stops by absolute tolerances, so it is given numbers around 1
        alpha, scale = self._torchjd.alpha, gramian.diagonal().mean()
        weights: torch.Tensor = self._torchjd(unit_scale(gramian)) * scale ** (-alpha / (1 + alpha))
        return weights
