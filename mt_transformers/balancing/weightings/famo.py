"""Fast adaptive multitask optimization: all losses are lowered at the same rate, judged by the losses alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from ..option_checks import check_from_zero, check_positive
from .base import LossWeighting

__all__ = ["FastAdaptiveWeighting"]

_EPSILON = 1e-8
_MOMENT_DECAY = 0.9
_SQUARE_DECAY = 0.999


class FastAdaptiveWeighting(LossWeighting):
    """
    Fast adaptive multitask optimization (FAMO): `c * sum(z * log(loss))`, with `z` the softmax of a logit a head and
    `c` such that the weights, `c * z / loss`, sum to 1.

    After the optimizer step it looks at the losses of the same rows again: a head whose loss has fallen by a smaller
    factor than the others' gets more weight from now on. The logits are learnt by an Adam of its own.

    Of a step with absent heads `z` is the softmax over the logits of the others. The method asks for the largest rate
    that all losses can fall at, and an absent head has no rate: as a constraint it is left out, so that the other
    weights sum to 1 without it. Its logit, its moments and its number of Adam steps stay as they are, and the weight
    decay leaves it alone.

    It is for losses above 0. 1e-8 is added to them, so that a loss of 0 gives finite weights: nearly all goes to it.

    Source: Liu et al. (2023), "FAMO", https://arxiv.org/abs/2306.03792, algorithm 1 and section 3.2, with its learning
    rate and weight decay, as in TorchJD; in the authors' code, https://github.com/Cranial-XIX/FAMO, the latter differs
    from place to place.

    Args:
        heads (`Sequence[str]`): Names of the heads.
        learning_rate (`float`, *optional*, defaults to 0.025): Of the logits, constant.
        weight_decay (`float`, *optional*, defaults to 0.001): How strongly the logits are drawn to 0.

    Raises:
        InputError: If the learning rate is not above 0 or the weight decay below 0.

    Example:
        >>> method = FastAdaptiveWeighting(["intent", "slots"])
        >>> before, present = torch.tensor([4.0, 1.0]), torch.tensor([True, True])
        >>> method.weigh(before, present)
        tensor([0.2000, 0.8000])
        >>> method.compare(before, torch.tensor([2.0, 0.9]), present)
        >>> method.logits
        tensor([-0.0250,  0.0250])
    """

    name: ClassVar[str] = "famo"
    needs_losses: ClassVar[bool] = True
    looks_again: ClassVar[bool] = True

    learning_rate: float
    logits: torch.Tensor
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    steps: torch.Tensor

    def __init__(self, heads: Sequence[str], *, learning_rate: float = 0.025, weight_decay: float = 0.001) -> None:
        super().__init__(heads)
        check_positive("learning_rate", learning_rate)
        check_from_zero("weight_decay", weight_decay)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        # (num_heads,), buffers and no parameters: the training's optimizer is not to touch them
        for name in ("logits", "exp_avg", "exp_avg_sq", "steps"):
            self.register_buffer(name, torch.zeros(len(self.heads)))

    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        losses = torch.where(present, losses, 1.0) + _EPSILON
        shares = self._shares(present)
        scale = 1 / (shares / losses.detach()).sum()
        return (scale * shares * losses.log()).sum()

    @torch.no_grad()
    def compare(self, before: torch.Tensor, after: torch.Tensor, present: torch.Tensor) -> None:
        before, after = (torch.where(present, each, 1.0) + _EPSILON for each in (before, after))
        # (num_heads,), by how much the logarithms have fallen: what a larger share would be the less in need of
        fallen = before.log() - after.log()
        shares = self._shares(present)
        gradient = shares * (fallen - (shares * fallen).sum()) + self.weight_decay * self.logits
        self._step_adam(gradient, present)

    def _shares(self, present: torch.Tensor) -> torch.Tensor:
        """The softmax over the heads in the step, shape `(num_heads,)`; 0 for absent ones."""
        return torch.softmax(self.logits.masked_fill(~present, -torch.inf), dim=0)

    def _step_adam(self, gradient: torch.Tensor, present: torch.Tensor) -> None:
        """
        Take a step of Adam with the logits of the heads in the step, each of which counts its own steps.

        Source: Kingma and Ba (2015), https://arxiv.org/abs/1412.6980, algorithm 1, with its defaults.
        """
        self.steps += present
        moment = _MOMENT_DECAY * self.exp_avg + (1 - _MOMENT_DECAY) * gradient
        square = _SQUARE_DECAY * self.exp_avg_sq + (1 - _SQUARE_DECAY) * gradient.square()
        for kept, new in ((self.exp_avg, moment), (self.exp_avg_sq, square)):
            kept.copy_(torch.where(present, new, kept))
        # what an absent head that has taken no step gets by this is NaN, and is not taken
        moment, square = moment / (1 - _MOMENT_DECAY**self.steps), square / (1 - _SQUARE_DECAY**self.steps)
        moved = self.logits - self.learning_rate * moment / (square.sqrt() + _EPSILON)
        self.logits.copy_(torch.where(present, moved, self.logits))
