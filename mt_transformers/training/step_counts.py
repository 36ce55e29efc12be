"""What is counted in an optimizer step, and what is added up between two lines of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..data import TASK_INDEX
from ..modeling import loss_divisor

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ..configuration import LossReduction
    from ..heads import HeadConfig

__all__ = ["StepCounter", "TrainingLog"]


class StepCounter:
    """
    Counts the labelled items of each head over all micro-batches and processes of an optimizer step.

    Args:
        heads (`Mapping[str, HeadConfig]`): The heads.
        reduction (`str`): `per_head` or `per_row`, see [`loss_divisor`].
        accelerator (`Accelerator`): Knows the processes.
    """

    def __init__(self, heads: Mapping[str, HeadConfig], reduction: LossReduction, accelerator: Accelerator) -> None:
        self._heads = heads
        self._places = {name: place for place, name in enumerate(heads)}
        self._reduction = reduction
        self._accelerator = accelerator
        self.active: list[str] = []
        """Heads with a labelled row in the last step counted, on any process; settled with several processes only."""
        self.present = torch.zeros(len(self._places), dtype=torch.bool)
        """For each head whether it has a labelled row in the last step counted, on any process; on the device."""

    def count(self, batches: Sequence[Mapping[str, Any]], device: torch.device) -> dict[str, Any]:
        """
        Find what the loss of each head is divided by.

        Args:
            batches (`Sequence[Mapping[str, Any]]`): Micro-batches of this process.
            device (`torch.device`): Where to count.

        Returns:
            `dict[str, torch.Tensor]`: For each head that has labels in these batches the divisor of its summed loss.
        """
        number = len(self._places)
        # items of each head, rows of each head, all rows
        counts = torch.zeros(2 * number + 1, dtype=torch.long, device=device)
        present: dict[str, None] = {}
        for batch in batches:
            # rows without a task fill up a batch and do not count
            counts[-1] += (batch[TASK_INDEX] >= 0).sum()
            for name, labels in batch.get("labels", {}).items():
                present[name] = None
                items = self._heads[name].count_items(labels)
                counts[self._places[name]] += items.sum()
                counts[number + self._places[name]] += (items > 0).sum()
        if self._accelerator.num_processes > 1:
            counts = self._accelerator.reduce(counts, reduction="sum")
            rows = counts[number:-1].tolist()
            self.active = [name for name, place in self._places.items() if rows[place] > 0]
        self.present = counts[number:-1] > 0
        return {
            name: loss_divisor(
                counts[self._places[name]], counts[number + self._places[name]], counts[-1], self._reduction
            )
            for name in present
        }


class TrainingLog:
    """
    Adds up each head's loss and each task's rows on the device, to be read when a line of the log is written.

    Args:
        heads (`Mapping[str, HeadConfig]`): The heads.
        task_names (`Sequence[str]`): The tasks that are trained on, in the order of their index.
        accelerator (`Accelerator`): Knows the processes.
    """

    def __init__(self, heads: Mapping[str, HeadConfig], task_names: Sequence[str], accelerator: Accelerator) -> None:
        self._heads = heads
        self._places = {name: place for place, name in enumerate(heads)}
        self._task_names = list(task_names)
        self._accelerator = accelerator
        self._sums: torch.Tensor | None = None

    def add(self, inputs: Mapping[str, Any], outputs: Mapping[str, torch.Tensor], tasks: torch.Tensor) -> None:
        """
        Add a micro-batch.

        Args:
            inputs (`Mapping[str, Any]`): What the model was given.
            outputs (`Mapping[str, torch.Tensor]`): What it answered.
            tasks (`torch.Tensor` of shape `(batch_size,)`): Index of each row's task, -1 for none.
        """
        number = len(self._places)
        if self._sums is None:
            # loss sums of the heads, items of the heads, rows of the tasks
            size = 2 * number + len(self._task_names)
            self._sums = torch.zeros(size, dtype=torch.float64, device=tasks.device)
        for name, labels in inputs["labels"].items():
            losses = outputs.get(f"{name}_row_losses")
            if losses is not None:
                self._sums[self._places[name]] += losses.detach().sum()
                self._sums[number + self._places[name]] += self._heads[name].count_items(labels).sum()
        # the first place takes the rows without a task, which fill up a batch
        self._sums[2 * number :] += torch.bincount(tasks + 1, minlength=len(self._task_names) + 1)[1:]

    def read(self) -> dict[str, float]:
        """
        Read what was added up since the last call, over all processes.

        Returns:
            `dict[str, float]`: `loss_<head>`, the mean over the items of each head that had some, and `share_<task>`,
            the fraction of the rows that were a task's.
        """
        if self._sums is None:
            return {}
        sums = self._accelerator.reduce(self._sums, reduction="sum").tolist()
        self._sums = None
        number = len(self._places)
        losses = {
            f"loss_{name}": sums[place] / sums[number + place]
            for name, place in self._places.items()
            if sums[number + place] > 0
        }
        rows = sums[2 * number :]
        shares = {f"share_{name}": count / sum(rows) for name, count in zip(self._task_names, rows, strict=True)}
        return losses | shares
