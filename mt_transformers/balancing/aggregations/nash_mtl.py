"""Nash-MTL: tasks bargain for the gradient."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import ClassVar

import torch

from .options import number, whole_number
from .torchjd_aggregation import TorchJDAggregation, make_torchjd, square_root, unit_scale

__all__ = ["NashMtl"]

_PATH = "aggregation.NashMTL"
_PARTS = ("cvxpy", "ecos")


class NashMtl(TorchJDAggregation):
    """
    Multi-task learning as a bargaining game: the product of the gains of all tasks is largest, `G w = 1 / w`.

    The gradient is `sqrt(t)` long with `t` tasks, however long theirs are, and is then cut to `max_norm`; so it is
    with a task alone. Weights of the last search are where the solver begins, what is taken in steps between two
    searches, and what is taken where the solver fails. Tasks that are absent keep theirs, and those present bargain
    among themselves.

    Source: Navon et al. (2022), https://arxiv.org/abs/2202.01017, claim 3.1 and algorithm 1. Defaults are those of
    TorchJD.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        max_norm (`float`, *optional*, defaults to 1.0): Most that the gradient's norm may be; 0 for any.
        update_weights_every (`int`, *optional*, defaults to 1): Number of steps from one search to the next.
        optim_niter (`int`, *optional*, defaults to 20): Most problems that are solved in one search.

    Raises:
        InputError: If an option has a wrong value, or TorchJD, cvxpy or ecos is not installed.

    Example:
        >>> gramian = torch.tensor([[4.0, 0.0], [0.0, 25.0]], dtype=torch.float64)
        >>> NashMtl(["pos", "ner"], max_norm=0).weigh(gramian, [0, 1])
        tensor([0.5000, 0.2000], dtype=torch.float64)
    """

    name: ClassVar[str] = "nash_mtl"

    def __init__(
        self, tasks: Sequence[str], *, max_norm: float = 1.0, update_weights_every: int = 1, optim_niter: int = 20
    ) -> None:
        self._max_norm = number(self.name, "max_norm", max_norm, least=0)
        self._interval = whole_number(self.name, "update_weights_every", update_weights_every, least=1)
        self._options = {"max_norm": 0, "optim_niter": whole_number(self.name, "optim_niter", optim_niter, least=1)}
        super().__init__(tasks, _PATH, _PARTS, n_tasks=len(tasks), **self._options)
        # 0 until a task has bargained
        self._weights = torch.zeros(len(self.tasks), dtype=torch.float64)
        self._step = 0

    def _weigh_one(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        self._step += 1
        return self._cut(gramian[0].rsqrt(), gramian)

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        places, length = list(present), gramian.diagonal().mean().sqrt()
        weights = torch.where(self._weights[places] > 0, self._weights[places], 1 / length)
        if self._step % self._interval == 0:
            # the solver fails with numbers far from 1
            weights = self._bargain(unit_scale(gramian), weights * length) / length
            self._weights[places] = weights
        self._step += 1
        return self._cut(weights, gramian)

    def _bargain(self, gramian: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
        # Made anew each time: its problem is for so many tasks, nothing can be kept from one solution to the next, and
        # a resumed run would not have it.
        game = make_torchjd(self.name, _PATH, _PARTS, n_tasks=len(begin), **self._options).weighting
        game.prvs_alpha = begin.numpy()
        with warnings.catch_warnings():
            # of each solution it is said that it cannot be kept, and of some that they are not exact
            warnings.simplefilter("ignore", UserWarning)
            game(square_root(gramian))
        return torch.tensor(game.prvs_alpha, dtype=torch.float64)

    def _cut(self, weights: torch.Tensor, gramian: torch.Tensor) -> torch.Tensor:
        norm = (weights @ gramian @ weights).clamp(min=0).sqrt()
        return weights * (self._max_norm / norm) if 0 < self._max_norm < norm else weights

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"step": torch.tensor(self._step), "weights": self._weights.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self._step = int(state["step"])
        self._weights = state["weights"].clone()
