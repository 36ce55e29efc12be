"""Aligned-MTL: gradients are made orthogonal and of one length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from .options import one_of
from .preferences import Preferences
from .torchjd_aggregation import TorchJDAggregation

__all__ = ["AlignedMtl"]


class AlignedMtl(TorchJDAggregation):
    """
    Independent component alignment: the nearest gradients that are orthogonal and of one length are averaged.

    Source: Senushkin et al. (2023), https://arxiv.org/abs/2305.19000, algorithm 1. The length is the smallest singular
    value, as there.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        preferences (`Mapping[str, float]`, *optional*):
            Weight of each task in the average, above 0, taken as it is. By default a mean over those present.
        scale_mode (`str`, *optional*, defaults to `"min"`):
            Which eigenvalue the common length comes from: `"min"`, `"median"` or, for their mean, `"rmse"`.

    Raises:
        InputError: If an option has a wrong value, or TorchJD is not installed.

    Example:
        >>> gramian = torch.tensor([[9.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        >>> AlignedMtl(["pos", "ner"]).weigh(gramian, [0, 1])
        tensor([0.1667, 0.5000], dtype=torch.float64)
    """

    name: ClassVar[str] = "aligned_mtl"

    def __init__(
        self, tasks: Sequence[str], *, preferences: Mapping[str, float] | None = None, scale_mode: str = "min"
    ) -> None:
        mode = one_of(self.name, "scale_mode", scale_mode, ("min", "median", "rmse"))
        super().__init__(tasks, "aggregation.AlignedMTLWeighting", scale_mode=mode)
        self._preferences = Preferences(self.name, preferences, tasks)

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        self._torchjd.pref_vector = self._preferences.of(present, 1 / len(present))
        return super()._weigh_several(gramian, present)
