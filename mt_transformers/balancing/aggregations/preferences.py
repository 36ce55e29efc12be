"""Weights of tasks that the user prefers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ...errors import InputError
from .options import numbers_by_task

__all__ = ["Preferences"]


class Preferences:
    """
    How much each task counts in a method.

    Args:
        method (`str`): Name of the method, for the message.
        given (`Mapping[str, float]`, *optional*): For each task a number above 0; None for the method's default.
        tasks (`Sequence[str]`): Names of the tasks.

    Raises:
        InputError: If a task is unknown or left out, or a number is not above 0.

    Example:
        >>> Preferences("upgrad", {"pos": 2, "ner": 1}, ["pos", "ner"]).of([1], 0.5)
        tensor([1.], dtype=torch.float64)
    """

    def __init__(self, method: str, given: Mapping[str, float] | None, tasks: Sequence[str]) -> None:
        self._numbers: torch.Tensor | None = None
        if given is None:
            return
        self._numbers = numbers_by_task(method, "preferences", given, tasks)
        for task, value in zip(tasks, self._numbers.tolist(), strict=True):
            if value <= 0:
                raise InputError(f"{method}: preferences: {task}: expected a number above 0, found {given[task]!r}.")

    def of(self, present: Sequence[int], default: float) -> torch.Tensor:
        """
        Look up those of some tasks.

        Args:
            present (`Sequence[int]`): Their places.
            default (`float`): The number of each, where the user preferred none.

        Returns:
            `torch.Tensor` of shape `(len(present),)`: The numbers, float64.
        """
        if self._numbers is None:
            return torch.full((len(present),), default, dtype=torch.float64)
        return self._numbers[list(present)]
