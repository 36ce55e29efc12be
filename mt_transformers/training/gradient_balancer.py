"""Gradient aggregation within the optimizer steps of the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..balancing import ConflictReport, CoordinateAggregation, GradientAggregation, GradientRows, GramianAggregation
from ..data.parts import NO_TASK, PARTS
from ..modeling import MultiTaskModel
from .balancer import Balancer

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["GradientBalancer", "sparse_embeddings"]


class GradientBalancer(Balancer):
    """
    Makes one gradient of the backbone's parameters out of one for each task; each head keeps its own.

    Batches come in parts, one a task, each with a forward and a backward pass of its own: together as much work as
    one for all rows. The gradients of all micro-batches and processes are there before they are made one.

    Args:
        method ([`GradientAggregation`]): The method.
        model ([`MultiTaskModel`]): The model, whose backbone the tasks share.
        accelerator (`Accelerator`): Knows the processes.
    """

    report: ConflictReport

    def __init__(self, method: GradientAggregation, model: MultiTaskModel, accelerator: Accelerator) -> None:
        self.method = method
        self.rows = GradientRows([each for each in model.backbone.parameters() if each.requires_grad])
        self.loss_weights = model.config.loss_weights
        self._places = {name: place for place, name in enumerate(method.tasks)}
        self._accelerator = accelerator
        self.report = ConflictReport(method.tasks)

    def memory(self) -> int:
        """Size of all gradients that are kept, at most (bytes)."""
        return len(self.method.tasks) * sum(each.numel() * each.element_size() for each in self.rows.parameters)

    def step(self, inputs: dict[str, Any], train: Callable[[dict[str, Any]], torch.Tensor]) -> torch.Tensor:
        losses = []
        for task, part in inputs[PARTS].items():
            losses.append(train(part))
            if task != NO_TASK:
                self.rows.take(self._row_of(task))
        return torch.stack(losses).sum()

    def _row_of(self, task: int) -> int:
        """Whose row the gradients are that training on a part with a task's rows has left."""
        return task

    def end_backward(self) -> None:
        method, rows = self.method, self.rows
        if self._accelerator.num_processes > 1:
            reduce = partial(self._accelerator.reduce, reduction="sum")
            rows.average(reduce, self._accelerator.num_processes, len(method.tasks))
        tasks = rows.tasks
        # a NaN stays, to be seen in the weights
        gramian, present = rows.compare()
        self.report.add(gramian, present)
        if not present:
            rows.combine(dict.fromkeys(tasks, 1.0))
        elif isinstance(method, CoordinateAggregation):
            method.begin_step()
            rows.combine_by(partial(method.combine, present=present), present)
        elif isinstance(method, GramianAggregation):
            weights = method.weigh(gramian, present).tolist()
            # gradients that are zero leave parameters that weight decay and momentum still move, as in a plain step
            rows.combine(dict.fromkeys(tasks, 0.0) | dict(zip(present, weights, strict=True)))

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.method.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.method.load_state_dict(state)


@contextmanager
def sparse_embeddings(backbone: nn.Module) -> Iterator[None]:
    """
    Let the backbone's embeddings have sparse gradients on a CPU, where a whole one for each task would cost more
    than all else that aggregation does.

    Args:
        backbone (`nn.Module`): The backbone.
    """
    found = [
        each
        for each in backbone.modules()
        if type(each) is nn.Embedding and each.weight.device.type == "cpu" and not each.sparse
    ]
    for each in found:
        each.sparse = True
    try:
        yield
    finally:
        for each in found:
            each.sparse = False
