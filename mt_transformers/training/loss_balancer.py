"""Loss weighting within the optimizer steps of the trainer, the same for any micro-batches and processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..balancing import LossWeighting
from .balancer import Balancer, Forward, weighted_losses
from .random_numbers import RandomState, drawing_from, random_state

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["LossBalancer"]


class LossBalancer(Balancer):
    """
    Multiplies each head's loss by the weight that a method gives it.

    The weights are those of the whole optimizer step. Where they depend on its losses and it has several
    micro-batches, all of them go through the model once more in advance, without gradients and with the same random
    numbers; several processes add their losses up.

    Args:
        method ([`LossWeighting`]): The method.
        heads (`Sequence[str]`): All heads of the model, in the order in which their rows are counted.
        loss_weights (`Mapping[str, float]`): What each head's loss is multiplied by before, 1 where none is given.
        forward (`Callable`): Runs the model on a micro-batch.
        accelerator (`Accelerator`): Knows the processes.
    """

    def __init__(
        self,
        method: LossWeighting,
        heads: Sequence[str],
        loss_weights: Mapping[str, float],
        forward: Forward,
        accelerator: Accelerator,
    ) -> None:
        self.method = method.to(accelerator.device)
        # of the heads that are weighed, among all heads
        self._columns = torch.tensor([list(heads).index(name) for name in method.heads], device=accelerator.device)
        self._places = {name: place for place, name in enumerate(method.heads)}
        self._loss_weights = loss_weights
        self._forward, self._accelerator = forward, accelerator
        self._batches: Sequence[Mapping[str, Any]] = ()
        self._begun = False
        self._items: Mapping[str, Any] = {}
        self._present = torch.zeros(len(self._places), dtype=torch.bool)
        self._losses = self._before = torch.zeros(len(self._places))
        self._weights: torch.Tensor | None = None
        self._random_state: RandomState | None = None
        self._own: list[torch.Tensor] = []
        # weights of the heads, number of steps with them
        self._sums: torch.Tensor | None = None

    def modules(self) -> list[nn.Module]:
        return [self.method]

    def begin_step(
        self, batches: Sequence[Mapping[str, Any]], items: Mapping[str, Any], present: torch.Tensor
    ) -> None:
        self._items, self._present, self._weights = items, present[self._columns], None
        self._losses = self._no_losses()
        self._batches, self._begun = batches, False

    def step(self, inputs: dict[str, Any], train: Callable[[dict[str, Any]], torch.Tensor]) -> torch.Tensor:
        if not self._begun:
            # no earlier: a resumed run has the state of its random numbers only now
            self._begin()
        return train(inputs)

    def _begin(self) -> None:
        batches, self._begun = self._batches, True
        if self.method.looks_again:
            self._random_state = random_state(self._present.device)
        else:
            self._batches = ()
        if not self.method.needs_losses:
            self._weights = self.method.weigh(torch.ones_like(self._losses), self._present)
        elif len(batches) > 1:
            self._weights = self.method.weigh(self._look(batches), self._present)

    def revise(self, loss: torch.Tensor, outputs: Mapping[str, Any]) -> torch.Tensor:
        parts = weighted_losses(outputs, self._loss_weights)
        for name, part in parts.items():
            self._losses[self._places[name]] += part.detach()
        if self._weights is None:
            self._weights = self.method.weigh(self._over_processes(self._losses), self._present)
        if not parts:
            return loss
        weighted = [self._weights[self._places[name]] * part for name, part in parts.items()]
        total: torch.Tensor = torch.stack(weighted).sum()
        if loss.requires_grad and not total.requires_grad:
            # all that these rows reach is frozen
            total = total + torch.zeros_like(total, requires_grad=True)
        # the gradients of the processes are averaged
        scaled: torch.Tensor = total * self._accelerator.num_processes
        return scaled

    def end_backward(self) -> None:
        self._before = self._over_processes(self._losses)
        # what is not finite would stay in a method's history for good
        self._present = self._present & self._before.isfinite()
        self._own = [each.detach().clone() for each in self.method.parameters()]
        self.method.observe(self._before, self._present)
        if self._weights is not None:
            if self._sums is None:
                self._sums = self._weights.new_zeros(2, len(self._places))
            self._sums += torch.stack([self._weights, self._present.to(self._weights.dtype)])

    def end_step(self) -> None:
        for parameter, before in zip(self.method.parameters(), self._own, strict=True):
            # momentum must not move what belongs to an absent head
            parameter.data.copy_(torch.where(self._present, parameter.data, before))
            parameter.grad = None
        if self._random_state is not None:
            with drawing_from(self._random_state, self._present.device):
                self.method.compare(self._before, self._look(self._batches), self._present)
            self._batches = ()

    def end_epoch(self) -> None:
        self.method.end_epoch()

    def _look(self, batches: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """The losses of all micro-batches and processes, with the random numbers that training has."""
        device = self._present.device
        losses = self._no_losses()
        with torch.no_grad(), drawing_from(random_state(device), device):
            for batch in batches:
                for name, part in weighted_losses(self._forward(batch, self._items), self._loss_weights).items():
                    losses[self._places[name]] += part
        return self._over_processes(losses)

    def _no_losses(self) -> torch.Tensor:
        # so that it is of no account how an optimizer step is cut up
        return torch.zeros(len(self._places), dtype=torch.float64, device=self._columns.device)

    def _over_processes(self, losses: torch.Tensor) -> torch.Tensor:
        if self._accelerator.num_processes == 1:
            return losses.clone()
        reduced: torch.Tensor = self._accelerator.reduce(losses, reduction="sum")
        return reduced

    def read(self, step: int) -> dict[str, float]:
        """
        Read the weights since the last call.

        Args:
            step (`int`): Number of the last optimizer step.

        Returns:
            `dict[str, float]`: `weight_<head>`, the mean over the optimizer steps that had the head.
        """
        if self._sums is None:
            return {}
        sums, counts = self._sums.tolist()
        self._sums = None
        return {f"weight_{name}": sums[place] / counts[place] for name, place in self._places.items() if counts[place]}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.method.state_dict().items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.method.load_state_dict(state)
