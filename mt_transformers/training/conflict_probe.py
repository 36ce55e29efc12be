"""How the gradients of tasks agree, looked at now and then where they are not aggregated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..balancing import ConflictReport, GradientRows
from ..data.task_parts import divide_by_task
from ..modeling import MultiTaskModel
from .balancer import Balancer, Forward, weighted_losses
from .kept_buffers import kept_buffers
from .random_numbers import drawing_from, random_state

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["ConflictProbe"]


class ConflictProbe(Balancer):
    """
    Compares the gradients of tasks every so many optimizer steps, and leaves training to another balancer.

    In such a step the micro-batches are divided by task, and each part goes through the model once more and back, with
    the random numbers that training has; nothing of it is left behind but the report.

    Args:
        balancer ([`Balancer`]): What training does.
        names (`Sequence[str]`): The tasks that are trained on.
        model ([`MultiTaskModel`]): The model, whose backbone the tasks share.
        forward (`Callable`): Runs the model on a micro-batch.
        accelerator (`Accelerator`): Knows the processes.
        is_due (`Callable`): Tells whether to look at the step that begins.
    """

    report: ConflictReport

    def __init__(
        self,
        balancer: Balancer,
        names: Sequence[str],
        model: MultiTaskModel,
        forward: Forward,
        accelerator: Accelerator,
        is_due: Callable[[], bool],
    ) -> None:
        self._balancer, self._forward, self._accelerator, self._is_due = balancer, forward, accelerator, is_due
        self._model, self._loss_weights = model, model.config.loss_weights
        self.parameters = [each for each in model.backbone.parameters() if each.requires_grad]
        self.report = ConflictReport(list(names))
        self.on_look: Callable[[Sequence[Mapping[int, Mapping[str, Any]]], GradientRows], None] | None = None
        """Is given the micro-batches, in parts by task, and the gradients, while they are there."""
        self._batches: Sequence[Mapping[str, Any]] = ()
        self._items: Mapping[str, Any] = {}

    def memory(self) -> int:
        """Size of all gradients that are held while they are compared, at most (bytes)."""
        return len(self.report.names) * sum(each.numel() * each.element_size() for each in self.parameters)

    def begin_step(
        self, batches: Sequence[Mapping[str, Any]], items: Mapping[str, Any], present: torch.Tensor
    ) -> None:
        self._balancer.begin_step(batches, items, present)
        self._batches, self._items = (batches, items) if self._is_due() else ((), {})

    def step(self, inputs: dict[str, Any], train: Callable[[dict[str, Any]], torch.Tensor]) -> torch.Tensor:
        batches, self._batches = self._batches, ()
        if batches:
            # no earlier: a resumed run has the state of its random numbers only now
            with kept_buffers(self._model):
                self._look([divide_by_task(batch) for batch in batches])
        return self._balancer.step(inputs, train)

    def _look(self, batches: Sequence[Mapping[int, Mapping[str, Any]]]) -> None:
        """Compare the gradients of the tasks in these micro-batches."""
        rows, device = GradientRows(self.parameters), self._accelerator.device
        # the gradients of the processes are averaged
        scale = self._accelerator.num_processes
        with drawing_from(random_state(device), device):
            for batch in batches:
                for task, part in batch.items():
                    loss = self.loss(part)
                    if loss.requires_grad:
                        # not backward(), for which hooks of DDP wait
                        rows.add(task, torch.autograd.grad(loss * scale, self.parameters, allow_unused=True))
        if scale > 1:
            reduce = partial(self._accelerator.reduce, reduction="sum")
            rows.average(reduce, scale, len(self.report.names))
        gramian, present = rows.compare()
        if bool(gramian.isfinite().all()):
            self.report.add(gramian, present)
        if self.on_look is not None:
            self.on_look(batches, rows)

    def loss(self, part: Mapping[str, Any]) -> torch.Tensor:
        """
        What a part of a micro-batch adds to the loss of the step.

        Args:
            part (`Mapping[str, Any]`): Rows of a task.

        Returns:
            `torch.Tensor` of shape `()`: The sum over its heads, each times its weight.
        """
        parts = weighted_losses(self._forward(part, self._items), self._loss_weights)
        return torch.stack(list(parts.values())).sum() if parts else torch.zeros(())

    # all else is training's

    def modules(self) -> list[nn.Module]:
        return self._balancer.modules()

    def revise(self, loss: torch.Tensor, outputs: Mapping[str, Any]) -> torch.Tensor:
        return self._balancer.revise(loss, outputs)

    def end_backward(self) -> None:
        self._balancer.end_backward()

    def end_step(self) -> None:
        self._balancer.end_step()

    def end_epoch(self) -> None:
        self._balancer.end_epoch()

    def read(self, step: int) -> dict[str, float]:
        return self._balancer.read(step) | super().read(step)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self._balancer.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self._balancer.load_state_dict(state)
