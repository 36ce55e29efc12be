"""Synaptic intelligence: weights are held by what their changes have taken off earlier losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file

from ...errors import InputError
from ...heads.base import full_precision
from ..learner import Learner
from .gradients import loss_scale, trained_parameters
from .option_checks import check_weight
from .weight_penalty import WeightPenalty

__all__ = ["SynapticIntelligence"]

_PATH = "path.safetensors"


@dataclass(kw_only=True)
class SynapticIntelligence(WeightPenalty):
    """
    Synaptic intelligence (SI): a weight is held where it was by `c * sum(Omega * (weight - anchor) ** 2)`, `Omega`
    being what its changes have taken off the losses of earlier experiences, for the distance that it moved.

    In an experience each step adds `-gradient * change` to a weight's path integral, with the step's gradient before
    the penalty and before clipping; what strategies in front of this one have changed in it counts in. At its end the
    integral, divided by the squared distance from where the weight began plus `xi`, is added to `Omega`, which is not
    let below 0, as in the authors' code: a weight whose changes raised the loss would be pushed away.

    Source: Zenke, Poole and Ganguli (2017), "Continual Learning Through Synaptic Intelligence",
    https://arxiv.org/abs/1703.04200, eq. 3 to 5; `c` and `xi` as for permuted MNIST, section 5.2.

    Args:
        c (`float`, *optional*, defaults to 0.1): Weight of the penalty.
        xi (`float`, *optional*, defaults to 0.1): What bounds `Omega` where a weight hardly moved, above 0.

    Raises:
        InputError: If `c` is below 0 or `xi` not above 0.

    Example:
        >>> SynapticIntelligence(c=0.5).options()
        {'name': 'si', 'c': 0.5, 'xi': 0.1}
    """

    name: ClassVar[str] = "si"

    c: float = 0.1
    xi: float = 0.1
    _path: dict[str, torch.Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    # gradient and weight before the step
    _step: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_weight("c", self.c)
        check_weight("xi", self.xi)
        if self.xi == 0:
            raise InputError(f"xi: expected a number above 0, found {self.xi!r}.")

    def begin(self, learner: Learner) -> None:
        super().begin(learner)
        self._path = {name: torch.zeros_like(full_precision(each)) for name, each in self._anchor.items()}

    def end_backward(self, learner: Learner) -> None:
        scale = loss_scale(learner)
        self._step = {
            name: (full_precision(each.grad) / scale, each.detach().clone())
            for name, each in trained_parameters(learner.model).items()
            if each.grad is not None
        }
        self.add_penalty(learner, 2 * self.c)

    def end_step(self, learner: Learner) -> None:
        step, self._step = self._step, {}
        if learner.accelerator.optimizer_step_was_skipped:
            # an overflow under fp16: nothing has moved, and 0 times infinity is no number
            return
        parameters = trained_parameters(learner.model)
        for name, (gradient, before) in step.items():
            self._path[name] -= gradient * (parameters[name].detach() - before)

    def end(self, learner: Learner) -> None:
        parameters = trained_parameters(learner.model)
        for name, path in self._path.items():
            moved = full_precision(parameters[name].detach()) - self._anchor[name]
            gained = path / (moved.square() + self.xi)
            self._importance[name] = (gained + self._importance.get(name, 0)).clamp(min=0)

    def save(self, folder: Path) -> None:
        super().save(folder)
        save_file(self._path, folder / _PATH)

    def load(self, folder: Path, learner: Learner) -> None:
        super().load(folder, learner)
        self._path = load_file(folder / _PATH, device=str(learner.args.device))
