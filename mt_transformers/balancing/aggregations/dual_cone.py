"""Methods that project gradients to where they harm no task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from .options import number
from .preferences import Preferences
from .torchjd_aggregation import TorchJDAggregation, make_torchjd, square_root

__all__ = ["DualProj", "UPGrad"]

_PARTS = ("qpsolvers", "quadprog")


class _DualConeProjection(TorchJDAggregation):
    """What both methods have in common; `path` is the class of TorchJD."""

    path: ClassVar[str]

    def __init__(
        self, tasks: Sequence[str], *, preferences: Mapping[str, float] | None = None, reg_eps: float = 1e-8
    ) -> None:
        projector = make_torchjd(
            self.name, "linalg.QuadprogProjector", _PARTS, reg_eps=number(self.name, "reg_eps", reg_eps)
        )
        super().__init__(tasks, self.path, _PARTS, projector=projector)
        self._preferences = Preferences(self.name, preferences, tasks)

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        # The vectors that harm no task are the same for gradients of unit length. With those, what TorchJD adds to
        # the diagonal does not hide the tasks with the smallest gradients.
        norms = gramian.diagonal().sqrt()
        self._torchjd.pref_vector = self._preferences.of(present, 1 / len(present)) * norms
        # products that were rounded to float32 can have eigenvalues below 0, with which the solver fails
        root = square_root(gramian / torch.outer(norms, norms))
        weights: torch.Tensor = self._torchjd(root @ root.T) / norms
        return weights


class UPGrad(_DualConeProjection):
    """
    Unconflicting projection of gradients: each is projected to where it harms no task, and then they are averaged.

    No task's loss gets worse in a step that is small enough.

    Source: Quinton and Rey (2024), https://arxiv.org/abs/2406.16232, section 3, with the projection of
    its equation 3.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        preferences (`Mapping[str, float]`, *optional*):
            Weight of each task in the average, above 0, taken as it is. By default a mean over those present.
        reg_eps (`float`, *optional*, defaults to 1e-8):
            What the solver adds to the diagonal of the cosines, divided by their number. Tasks are harmed by about
            that much; TorchJD's 0.0001 shows where one gradient is much larger than another.

    Raises:
        InputError: If an option has a wrong value, or TorchJD, qpsolvers or quadprog is not installed.

    Example:
        >>> gramian = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
        >>> UPGrad(["pos", "ner"]).weigh(gramian, [0, 1])
        tensor([0.7500, 0.7500], dtype=torch.float64)
    """

    name: ClassVar[str] = "upgrad"
    path: ClassVar[str] = "aggregation.UPGradWeighting"


class DualProj(_DualConeProjection):
    """
    Projection onto the dual cone: the mean of the gradients is projected to where it harms no task.

    No task's loss gets worse in a step that is small enough.

    Source: Lopez-Paz and Ranzato (2017), https://arxiv.org/abs/1706.08840, equation 11.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        preferences (`Mapping[str, float]`, *optional*):
            Weight of each task in the mean, above 0, taken as it is. By default a mean over those present.
        reg_eps (`float`, *optional*, defaults to 1e-8):
            What the solver adds to the diagonal of the cosines, divided by their number.

    Raises:
        InputError: If an option has a wrong value, or TorchJD, qpsolvers or quadprog is not installed.

    Example:
        >>> gramian = torch.tensor([[4.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
        >>> DualProj(["pos", "ner"], preferences={"pos": 1, "ner": 0.5}).weigh(gramian, [0, 1]).round(decimals=4)
        tensor([1., 1.], dtype=torch.float64)
    """

    name: ClassVar[str] = "dualproj"
    path: ClassVar[str] = "aggregation.DualProjWeighting"
