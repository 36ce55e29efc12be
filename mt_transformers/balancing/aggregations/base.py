"""How the gradients of several tasks become one: what every method of gradient aggregation has to say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch

from ...errors import InputError

__all__ = ["CoordinateAggregation", "GradientAggregation", "GramianAggregation"]


class GradientAggregation(ABC):
    """
    Base class of the methods that make one gradient of the shared parameters out of those of several tasks.

    A task without a row in the optimizer step, or whose gradient is zero, is absent: it is no row of the matrix that
    the method sees. Every process calls it with the same numbers.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
    """

    name: ClassVar[str]
    """What recipes call it."""

    between: str = "tasks"
    """What the gradients are of: `tasks` or `heads`."""
    at: str = "parameters"
    """Where they are compared: at the shared `parameters`, or at the encoded `features`."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = list(tasks)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What it remembers, as tensors on the CPU."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what [`~GradientAggregation.state_dict`] gave; the next step is as it would have been."""
        if state:
            raise InputError(f"{self.name}: it remembers nothing, found {', '.join(state)}.")


class GramianAggregation(GradientAggregation):
    """A method that answers with a weight for each task's gradient, and needs their inner products only."""

    @abstractmethod
    def weigh(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        """
        Find the weight of each task's gradient.

        Args:
            gramian (`torch.Tensor` of shape `(len(present), len(present))`):
                Inner products of the gradients of the tasks that are present, float64, on the CPU; no zero on its
                diagonal.
            present (`Sequence[int]`): Places of these tasks in `tasks`, in ascending order; at least one.

        Returns:
            `torch.Tensor` of shape `(len(present),)`: The weights, float64.
        """


class CoordinateAggregation(GradientAggregation):
    """A method that looks at each parameter's entry by itself, and so can be applied part by part."""

    def begin_step(self) -> None:
        """An optimizer step begins: what is drawn in it follows from the seed and the number of the step."""

    @abstractmethod
    def combine(self, gradients: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        """
        Combine the gradients of some shared parameters.

        Args:
            gradients (`torch.Tensor` of shape `(len(present), size)`): A row for each task that is present.
            present (`Sequence[int]`): Places of these tasks in `tasks`, in ascending order.

        Returns:
            `torch.Tensor` of shape `(size,)`: The gradient.
        """
