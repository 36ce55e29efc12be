"""Random weights, new in each step: what a method of balancing has to be better than."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from ..option_checks import check_whole
from .linear import LinearWeighting

__all__ = ["RandomWeighting"]


class RandomWeighting(LinearWeighting):
    """
    Random loss weighting (RLW): in each step the softmax of normal draws, one for each head in the step.

    The weights follow from the seed and the number of the step, so that all processes have the same and a resumed run
    goes on with those that would have come. The number is kept on the CPU, where the weights are drawn, and is the
    extra state of the module: on a device it would have to be waited for.

    Source: Lin et al. (2022), "Reasonable Effectiveness of Random Weighting", https://arxiv.org/abs/2111.10603,
    its random loss weighting with the normal distribution. The weights sum to 1, as there.

    Args:
        heads (`Sequence[str]`): Names of the heads.
        seed (`int`, *optional*, defaults to 0): Of the draws.

    Raises:
        InputError: If the seed is no whole number from 0 up.

    Example:
        >>> method = RandomWeighting(["intent", "slots"])
        >>> present = torch.tensor([True, True])
        >>> method.weigh(torch.tensor([2.0, 4.0]), present)
        tensor([0.9318, 0.0682])
        >>> method.weigh(torch.tensor([2.0, 4.0]), present)
        tensor([0.2664, 0.7336])
    """

    name: ClassVar[str] = "random"

    def __init__(self, heads: Sequence[str], *, seed: int = 0) -> None:
        super().__init__(heads)
        check_whole("seed", seed, "a whole number from 0 up", least=0)
        self.seed = seed
        self._step = 0

    def weigh(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        self._step += 1
        return super().weigh(losses, present)

    def find_weights(self, present: torch.Tensor) -> torch.Tensor:
        draws = np.random.default_rng([self.seed, self._step]).standard_normal(len(self.heads), dtype=np.float32)
        # (num_heads,)
        logits = torch.from_numpy(draws).to(present.device, non_blocking=True)
        return torch.softmax(logits.masked_fill(~present, -torch.inf), dim=0)

    def get_extra_state(self) -> torch.Tensor:
        """The number of the step."""
        return torch.tensor(self._step)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Go on from the step of this number."""
        self._step = int(state)
