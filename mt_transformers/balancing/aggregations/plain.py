"""Methods that need no more than TorchJD's weights of the tasks that are present, or not even that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from .base import GramianAggregation
from .options import number, whole_number
from .torchjd_aggregation import TorchJDAggregation

__all__ = ["CAGrad", "ImtlG", "Mgda", "Sum"]


class Sum(GramianAggregation):
    """
    The sum of the gradients, which is the gradient of the summed losses: a baseline that costs a pass for each task.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.

    Example:
        >>> Sum(["pos", "ner"]).weigh(torch.eye(2, dtype=torch.float64), [0, 1])
        tensor([1., 1.], dtype=torch.float64)
    """

    name: ClassVar[str] = "sum"

    def weigh(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        return torch.ones(len(present), dtype=torch.float64)


class Mgda(TorchJDAggregation):
    """
    Multiple-gradient descent: the shortest vector among the weighted means of the gradients.

    No task's loss gets worse in a step that is small enough. The largest gradients count least.

    Source: Désidéri (2012), https://doi.org/10.1016/j.crma.2012.03.014; found with the Frank-Wolfe algorithm of Sener
    and Koltun (2018), https://arxiv.org/abs/1810.04650, algorithm 2. Defaults are those of TorchJD.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        epsilon (`float`, *optional*, defaults to 0.001): The search ends with a step below it.
        max_iters (`int`, *optional*, defaults to 100): Most steps of the search.

    Raises:
        InputError: If an option has a wrong value, or TorchJD is not installed.

    Example:
        >>> gramian = torch.tensor([[9.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        >>> Mgda(["pos", "ner"]).weigh(gramian, [0, 1])
        tensor([0.1000, 0.9000], dtype=torch.float64)
    """

    name: ClassVar[str] = "mgda"

    def __init__(self, tasks: Sequence[str], *, epsilon: float = 0.001, max_iters: int = 100) -> None:
        super().__init__(
            tasks,
            "aggregation.MGDAWeighting",
            epsilon=number(self.name, "epsilon", epsilon),
            max_iters=whole_number(self.name, "max_iters", max_iters, least=1),
        )


class CAGrad(TorchJDAggregation):
    """
    Conflict-averse gradient descent: the vector near the mean gradient that serves the worst served task best.

    Source: Liu et al. (2021), https://arxiv.org/abs/2110.14048, algorithm 1; with `c` below 1 the mean loss
    converges. The default is that of LibMTL.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        c (`float`, *optional*, defaults to 0.5): How far from the mean, in norms of the mean. 0 is the mean.
        norm_eps (`float`, *optional*, defaults to 0.0001):
            Where the shortest of the weighted means is shorter than this, in root sums of all squared norms, the tasks
            are taken to be at their optimum, and all weights are 0. So it can come to pass where one task's gradient
            is ten thousand times that of another which it opposes.

    Raises:
        InputError: If an option has a wrong value, or TorchJD, cvxpy or clarabel is not installed.

    Example:
        >>> gramian = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
        >>> CAGrad(["pos", "ner"], c=0.4).weigh(gramian, [0, 1])
        tensor([0.7000, 0.7000], dtype=torch.float64)
    """

    name: ClassVar[str] = "cagrad"

    def __init__(self, tasks: Sequence[str], *, c: float = 0.5, norm_eps: float = 0.0001) -> None:
        super().__init__(
            tasks,
            "aggregation.CAGradWeighting",
            parts=("cvxpy", "clarabel"),
            c=number(self.name, "c", c),
            norm_eps=number(self.name, "norm_eps", norm_eps),
        )


class ImtlG(TorchJDAggregation):
    """
    Impartial multi-task learning by gradients: the sum has the same projection onto each task's gradient.

    Weights add up to 1, and some may be below 0.

    Source: Liu et al. (2021), https://openreview.net/forum?id=IMPnRXEWpvr, section 3.1; where gradients depend on
    each other, the generalization of Quinton and Rey (2024), https://arxiv.org/abs/2406.16232.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.

    Raises:
        InputError: If TorchJD is not installed.

    Example:
        >>> gramian = torch.tensor([[9.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        >>> ImtlG(["pos", "ner"]).weigh(gramian, [0, 1])
        tensor([0.2500, 0.7500], dtype=torch.float64)
    """

    name: ClassVar[str] = "imtl_g"

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks, "aggregation.IMTLGWeighting")
