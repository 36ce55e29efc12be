"""Averaged gradient episodic memory: no step may raise the loss of a batch out of the buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ...heads.base import full_precision
from ..learner import Batch, Learner
from .gradient_memory import GradientMemory

__all__ = ["AGem", "project"]


@dataclass(kw_only=True)
class AGem(GradientMemory):
    """
    Averaged gradient episodic memory (A-GEM): where the gradient of a step would raise the loss of rows of earlier
    experiences, drawn out of a buffer for the step, its part along their gradient is taken out.

    A head without a row in the step is moved only where that takes place and rows of the buffer have labels for it.

    Source: Chaudhry et al. (2019), "Efficient Lifelong Learning with A-GEM", https://arxiv.org/abs/1812.00420, eq. 11,
    algorithm 2. The buffer holds a uniform sample of all earlier rows; the paper has as many of each experience.

    Args:
        buffer_size, ratio, sampling, replay_batch_size, seed: See [`Rehearsal`].

    Example:
        >>> AGem(buffer_size=500).options()["buffer_size"]
        500
    """

    name: ClassVar[str] = "agem"

    _drawn: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        self._drawn = self.draw(learner, batches).slots
        return []

    def end_backward(self, learner: Learner) -> None:
        if not self._drawn:
            return
        reference = self.reference(learner, self._drawn)
        gradient = full_precision(learner.model.get_grads(trainable_only=True))
        gains = any(map(all, zip(self.missing(learner), reference.reached, strict=True)))
        # only where a head would be moved by a gradient of zeros has the host to know whether anything is to be done
        if not gains or bool(torch.dot(gradient, reference.flat) < 0):
            self.replace_gradients(learner, project(gradient, reference.flat), reference.reached)


def project(gradient: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """
    Take the part of a gradient along another one out, if it points against it.

    Source: Chaudhry et al. (2019), eq. 11.

    Args:
        gradient (`torch.Tensor` of shape `(elements,)`): The gradient.
        reference (`torch.Tensor` of shape `(elements,)`): The other one.

    Returns:
        `torch.Tensor` of shape `(elements,)`: The nearest gradient whose product with the other one is not below 0.

    Example:
        >>> project(torch.tensor([-3.0, 1.0]), torch.tensor([2.0, 0.0]))
        tensor([0., 1.])
        >>> project(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0]))
        tensor([3., 1.])
    """
    square = torch.dot(reference, reference).clamp(min=torch.finfo(reference.dtype).tiny)
    return gradient - torch.dot(gradient, reference).clamp(max=0) / square * reference
