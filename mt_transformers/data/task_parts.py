"""A batch that is collated already, divided by task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import InputError
from .dataset import TASK_INDEX
from .parts import NO_TASK

__all__ = ["divide_by_task"]

_OWN = ("labels", "rows", "sequences", TASK_INDEX)
"""What a batch holds beside the backbone's inputs."""


def divide_by_task(batch: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """
    Divide a batch into one for each task, as [`CollatorByTask`] does with rows, but padded as the batch is.

    Args:
        batch (`Mapping[str, Any]`): What a [`DataCollatorForMultiTask`] made.

    Returns:
        `dict[int, dict[str, Any]]`: For the index of each task its rows, with the labels of its heads; rows that only
        fill up the batch are left out.

    Raises:
        InputError: If an input has neither an entry for each row nor for each sequence.

    Example:
        >>> ids, tasks = torch.tensor([[7], [8], [9]]), torch.tensor([1, 0, 1])
        >>> labels = {"intent": torch.tensor([4, -100, 5])}
        >>> batch = {"input_ids": ids, "task_index": tasks, "labels": labels, "rows": {"intent": torch.tensor([0, 2])}}
        >>> parts = divide_by_task(batch)
        >>> parts[0]["labels"], parts[1]["input_ids"].tolist(), parts[1]["rows"]["intent"]
        ({}, [[7], [9]], tensor([0, 1]))
    """
    tasks = batch[TASK_INDEX]
    found = [task for task in tasks.unique().tolist() if task != NO_TASK]
    return {task: _take(batch, (tasks == task).nonzero().squeeze(1)) for task in found}


def _take(batch: Mapping[str, Any], rows: torch.Tensor) -> dict[str, Any]:
    """A batch of some of the rows."""
    count = len(batch[TASK_INDEX])
    tables = {head: table[rows] for head, table in batch.get("sequences", {}).items()}
    inputs = {name: value for name, value in batch.items() if name not in _OWN}
    total = len(inputs["input_ids"]) if "input_ids" in inputs else count
    read = [table[table >= count] for table in tables.values()]
    # the rows' own sequences in front, as the model has it
    places = torch.cat([rows, torch.cat(read).unique()]) if read else rows
    part: dict[str, Any] = {name: _pick(name, value, rows, places, count, total) for name, value in inputs.items()}
    if tables:
        moved = torch.full((total,), -1, device=places.device)
        moved[places] = torch.arange(len(places), device=places.device)
        part["sequences"] = {head: moved[table].masked_fill(table < 0, -1) for head, table in tables.items()}
    labels = {head: values[rows] for head, values in batch.get("labels", {}).items()}
    if "rows" in batch:
        # another collator may leave it to the model to find them
        labelled = {head: torch.isin(rows, own).nonzero().squeeze(1) for head, own in batch["rows"].items()}
        part["rows"] = {head: own for head, own in labelled.items() if len(own) > 0}
        labels = {head: labels[head] for head in part["rows"]}
    part["labels"] = labels
    part[TASK_INDEX] = batch[TASK_INDEX][rows]
    return part


def _pick(name: str, value: Any, rows: torch.Tensor, places: torch.Tensor, count: int, total: int) -> Any:
    """The entries of an input that belong to the rows, or to their sequences."""
    if not torch.is_tensor(value) or value.dim() == 0:
        return value
    if len(value) == total:
        return value[places]
    if len(value) == count:
        return value[rows]
    raise InputError(
        f"conflict_steps: {name} has {len(value)} entries for {count} rows, so that a batch cannot be divided by task."
    )
