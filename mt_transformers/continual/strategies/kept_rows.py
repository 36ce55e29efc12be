"""What strategies that choose rows to keep between experiences have in common: the rows, and how they are saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets

from ..buffer import Buffer, Slot
from ..buffer_files import load_buffer, save_buffer
from ..learner import Learner
from .base import Strategy
from .option_checks import check_rows

__all__ = ["KeptRows", "join_rows"]

_BUFFER = "buffer"


@dataclass(kw_only=True)
class KeptRows(Strategy):
    """
    A strategy that looks at all rows of an experience at once and keeps some of them, in an order of its own.

    Args:
        buffer_size (`int`): Rows that are kept, at most.

    Raises:
        InputError: If it is no whole number above 0.
    """

    buffer_size: int = 200
    _features: dict[str, datasets.Features] = field(default_factory=dict, init=False, repr=False, compare=False)
    kept: list[Slot] = field(default_factory=list, init=False, repr=False, compare=False)
    """The rows, in their order."""

    def __post_init__(self) -> None:
        check_rows("buffer_size", self.buffer_size)

    def start(self, learner: Learner) -> None:
        self._features = {task: learner.raw_features(task) for task in learner.trained_tasks()}

    def take(self, learner: Learner, task: str, number: int, group: str) -> Slot:
        """
        Make one of an experience's rows one that can be kept.

        Args:
            learner ([`Learner`]): Of the experience.
            task (`str`): The row's task.
            number (`int`): Its number in the task's training split.
            group (`str`): What it counts as, such as its class.

        Returns:
            [`Slot`].
        """
        raw, prepared = learner.raw_row(task, number), learner.prepared_row(task, number)
        return Slot(task, raw, group, learner.number, prepared=prepared)

    def kept_rows(self, learner: Learner) -> dict[str, datasets.Dataset]:
        """
        The rows as something to train on.

        Args:
            learner ([`Learner`]): Of any experience.

        Returns:
            `dict[str, datasets.Dataset]`: For each task prepared rows.
        """
        by_task: dict[str, list[Slot]] = {}
        for slot in self.kept:
            by_task.setdefault(slot.task, []).append(slot)
        return {task: learner.to_dataset(task, [each.prepared for each in slots]) for task, slots in by_task.items()}

    def memory(self) -> int:
        return sum(_as_buffer(self.kept).memory().values())

    def save(self, folder: Path) -> None:
        features = {slot.task: self._features[slot.task] for slot in self.kept}
        save_buffer(_as_buffer(self.kept), folder / _BUFFER, features)

    def load(self, folder: Path, learner: Learner) -> None:
        self.kept = learner.prepare_buffer(load_buffer(folder / _BUFFER)).slots


def join_rows(*parts: Mapping[str, datasets.Dataset]) -> dict[str, datasets.Dataset]:
    """
    Put rows of tasks behind one another.

    Args:
        parts (`Mapping[str, datasets.Dataset]`): For each task rows, with the same columns in all parts.

    Returns:
        `dict[str, datasets.Dataset]`: For each task all its rows.
    """
    tasks = dict.fromkeys(task for part in parts for task in part)
    return {task: datasets.concatenate_datasets([part[task] for part in parts if task in part]) for task in tasks}


def _as_buffer(slots: Sequence[Slot]) -> Buffer:
    """A buffer that is full with these rows, in their order."""
    buffer = Buffer(max(len(slots), 1))
    for slot, place in zip(slots, buffer.place([slot.group for slot in slots]), strict=True):
        buffer.put(int(place or 0), slot)
    return buffer
