"""ConFIG: the direction that has the same cosine with all gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from .preferences import Preferences
from .torchjd_aggregation import TorchJDAggregation, square_root, unit_scale

__all__ = ["Config"]


class Config(TorchJDAggregation):
    """
    Conflict-free inverse gradients: the direction with the same cosine to all gradients, as long as these reach in it.

    Source: Liu, Chu and Thuerey (2024), https://arxiv.org/abs/2408.11104, equation 2.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        preferences (`Mapping[str, float]`, *optional*):
            The cosines are in the ratio of these numbers, which are above 0. By default they are equal.

    Raises:
        InputError: If an option has a wrong value, or TorchJD is not installed.

    Example:
        >>> gramian = torch.tensor([[9.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        >>> Config(["pos", "ner"]).weigh(gramian, [0, 1])
        tensor([0.6667, 2.0000], dtype=torch.float64)
    """

    name: ClassVar[str] = "config"

    def __init__(self, tasks: Sequence[str], *, preferences: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks, "aggregation.ConFIG")
        self._preferences = Preferences(self.name, preferences, tasks)

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        self._torchjd.pref_vector = self._preferences.of(present, 1.0)
        # TorchJD wants the gradients, and gives one: rows with their inner products do, and tell the weights
        rows = square_root(unit_scale(gramian))
        weights: torch.Tensor = self._torchjd(rows) @ torch.linalg.pinv(rows)
        return weights
