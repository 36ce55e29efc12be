"""What strategies have in common that hold each weight where it was, the more the more it matters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..learner import Learner
from .base import Strategy
from .gradients import loss_scale, trained_parameters

__all__ = ["WeightPenalty", "grown"]

_IMPORTANCE = "importance.safetensors"
_ANCHOR = "anchor.safetensors"


@dataclass(kw_only=True)
class WeightPenalty(Strategy):
    """
    A strategy with a quadratic penalty on the distance of the weights from those that an experience began with.

    Its gradient is added to that of the step, once and analytically: no other strategy's loss is changed by it, and it
    is the same for any number of micro-batches and processes. A weight without a gradient in the step is not moved by
    it and needs none. Heads, and classes of heads, that came later are free until the next experience.
    """

    # name of a parameter -> tensors of its shape
    _importance: dict[str, torch.Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    _anchor: dict[str, torch.Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def begin(self, learner: Learner) -> None:
        parameters = dict(learner.model.named_parameters())
        self._anchor = {name: each.detach().clone() for name, each in trained_parameters(learner.model).items()}
        self._importance = {name: grown(each, parameters[name]) for name, each in self._importance.items()}

    def add_penalty(self, learner: Learner, strength: float) -> None:
        """
        Add `strength * importance * (weight - anchor)` to the gradients of a step.

        Args:
            learner ([`Learner`]): Of the experience.
            strength (`float`): The penalty's weight, times 2 over the half that it may have.
        """
        factor = strength * loss_scale(learner)
        for name, parameter in trained_parameters(learner.model).items():
            if parameter.grad is not None and name in self._importance:
                distance = parameter.detach() - self._anchor[name]
                parameter.grad += (factor * self._importance[name] * distance).to(parameter.grad)

    def memory(self) -> int:
        return sum(each.nbytes for kept in (self._importance, self._anchor) for each in kept.values())

    def save(self, folder: Path) -> None:
        save_file(self._importance, folder / _IMPORTANCE)
        save_file(self._anchor, folder / _ANCHOR)

    def load(self, folder: Path, learner: Learner) -> None:
        device = str(learner.args.device)
        self._importance = load_file(folder / _IMPORTANCE, device=device)
        self._anchor = load_file(folder / _ANCHOR, device=device)


def grown(kept: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """
    Bring what was kept of a parameter to the shape that it has now, with zeros for what it did not have.

    Args:
        kept (`torch.Tensor`): What was kept; in no dimension larger than the parameter.
        parameter (`torch.Tensor`): The parameter.

    Returns:
        `torch.Tensor`: On the parameter's device.

    Example:
        >>> grown(torch.tensor([[1.0, 2.0]]), torch.ones(2, 2))
        tensor([[1., 2.],
                [0., 0.]])
    """
    kept = kept.to(parameter.device)
    if kept.shape == parameter.shape:
        return kept
    larger = kept.new_zeros(parameter.shape)
    larger[tuple(slice(size) for size in kept.shape)] = kept
    return larger
