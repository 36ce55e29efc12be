"""Krum: the gradient that is nearest to the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from ...errors import InputError
from .options import whole_number
from .torchjd_aggregation import TorchJDAggregation

__all__ = ["Krum"]


class Krum(TorchJDAggregation):
    """
    Krum: the gradient with the least distances to those nearest to it, or the mean of several such.

    Where fewer tasks are present in a step than it needs, it is the mean.

    Source: Blanchard et al. (2017), https://arxiv.org/abs/1703.02757; the mean of several is its Multi-Krum.
    TorchJD adds up distances that are not squared. The defaults are those of a run without an adversary, and of one
    gradient.

    Args:
        tasks (`Sequence[str]`): Names of the tasks, at least `n_byzantine + 3` and `n_selected`.
        n_byzantine (`int`, *optional*, defaults to 0): How many gradients may be of no use.
        n_selected (`int`, *optional*, defaults to 1): How many are averaged.

    Raises:
        InputError: If there are too few tasks, an option has a wrong value, or TorchJD is not installed.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [1.1, 0.0], [-3.0, 0.0], [1.3, 0.0]], dtype=torch.float64)
        >>> Krum(["pos", "ner", "parse", "lemma"]).weigh(rows @ rows.T, [0, 1, 2, 3])
        tensor([0., 1., 0., 0.], dtype=torch.float64)
    """

    name: ClassVar[str] = "krum"

    def __init__(self, tasks: Sequence[str], *, n_byzantine: int = 0, n_selected: int = 1) -> None:
        byzantine = whole_number(self.name, "n_byzantine", n_byzantine, least=0)
        selected = whole_number(self.name, "n_selected", n_selected, least=1)
        self._least = max(byzantine + 3, selected)
        if len(tasks) < self._least:
            raise InputError(
                f"{self.name}: expected at least {self._least} tasks (n_byzantine + 3, and n_selected), "
                f"found {len(tasks)}."
            )
        super().__init__(tasks, "aggregation.KrumWeighting", n_byzantine=byzantine, n_selected=selected)

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        if len(present) < self._least:
            return torch.full((len(present),), 1 / len(present), dtype=torch.float64)
        return super()._weigh_several(gramian, present)
