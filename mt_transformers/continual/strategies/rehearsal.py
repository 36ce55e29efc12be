"""What all strategies with a buffer have in common: rows of the stream go in, and are drawn at each step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import datasets
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ...errors import InputError
from ..buffer import Buffer, Slot
from ..buffer_files import load_buffer, save_buffer
from ..learner import Batch, Learner
from ..scenario import Scenario
from ..sources import SOURCES
from .base import Strategy
from .option_checks import check_rows
from .seen import Seen, collect_logits

__all__ = ["Drawn", "Rehearsal", "group_of", "unite_rows"]

_BUFFER = "buffer"
_SLOTS = "slots.safetensors"
_OUTSIDE, _NOT_OFFERED = -1, -2


@dataclass
class Drawn:
    """
    Rows that were drawn for an optimizer step.

    Args:
        slots (`list[int]`): Their slots in the buffer, for all processes together.
        own (`list[list[int]]`): Those of this process, for each of its micro-batches.
    """

    slots: list[int]
    own: list[list[int]]


@dataclass(kw_only=True)
class Rehearsal(Strategy):
    """
    A strategy with a buffer that the stream of training rows fills.

    Each row is offered to the buffer once, when it is first trained on, those of an optimizer step in the order of
    their numbers: what stays depends neither on micro-batches nor on processes. Rows are drawn without replacement,
    once for each optimizer step.

    Args:
        buffer_size (`int`, *optional*): Rows that are kept, 200 by default.
        ratio (`float`, *optional*): Rows that are kept, as a fraction of the training rows of all experiences.
        sampling (`str`, *optional*, defaults to `"reservoir"`): Which rows stay, `reservoir` or `class_balanced`.
        replay_batch_size (`int`, *optional*):
            Rows that are drawn for each micro-batch, on each process. Defaults to as many as the micro-batch has.
        seed (`int`, *optional*, defaults to 0): Seed of what stays and of what is drawn.

    Raises:
        InputError: If a size is none, or both are given.
    """

    keeps_logits: ClassVar[bool] = False
    """Whether a row is kept together with what the model answered when it was last trained on in its experience."""

    buffer_size: int | None = None
    ratio: float | None = None
    sampling: Literal["reservoir", "class_balanced"] = "reservoir"
    replay_batch_size: int | None = None
    seed: int = 0
    _buffer: Buffer | None = field(default=None, init=False, repr=False, compare=False)
    _seen: list[Seen] = field(default_factory=list, init=False, repr=False, compare=False)
    # task -> for each of its training rows the slot that it has, or why it has none
    _slots: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)
    _features: dict[str, datasets.Features] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.buffer_size is not None and self.ratio is not None:
            raise InputError("give either buffer_size or ratio, not both.")
        if self.ratio is not None and not (isinstance(self.ratio, float) and 0 < self.ratio <= 1):
            raise InputError(f"ratio: expected a fraction above 0, found {self.ratio!r}.")
        for name in ("buffer_size", "replay_batch_size"):
            value = getattr(self, name)
            if value is not None:
                check_rows(name, value)
        # the other arguments are the buffer's to check
        Buffer(1, self.sampling, self.seed)

    @property
    def buffer(self) -> Buffer:
        """The buffer; there once the scenario is known."""
        if self._buffer is None:
            raise RuntimeError("check() was not called yet")
        return self._buffer

    def check(self, scenario: Scenario) -> None:
        size = 200 if self.buffer_size is None else self.buffer_size
        if self.ratio is not None:
            rows = sum(len(splits.get("train", ())) for each in scenario.experiences for splits in each.rows.values())
            size = max(1, round(self.ratio * rows))
        self._buffer = Buffer(size, self.sampling, self.seed)

    def start(self, learner: Learner) -> None:
        self._features = {task: learner.raw_features(task) for task in learner.trained_tasks()}

    def begin(self, learner: Learner) -> None:
        self._seen.clear()
        self._slots = {}
        for task, splits in learner.experience.rows.items():
            if "train" in splits:
                number = len(learner.scenario.tasks[task].dataset["train"])
                # rows of other experiences are offered in these
                self._slots[task] = np.full(number, _OUTSIDE, dtype=np.int64)
                self._slots[task][splits["train"]] = _NOT_OFFERED

    def observe(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> None:
        kept = ("_logits", "_rows") if self.keeps_logits else ()
        answers = {name: each.detach() for name, each in outputs.items() if name.endswith(kept)}
        self._seen.append(Seen(inputs[SOURCES], answers))

    def end_step(self, learner: Learner) -> None:
        seen, self._seen = self._seen, []
        # all processes know the same of it, so that none waits for another
        waiting = any((slots == _NOT_OFFERED).any() for slots in self._slots.values())
        if not (waiting or self.keeps_logits):
            return
        own = {tuple(source) for each in seen for source in each.sources.tolist() if source[1] >= 0}
        inside = self._offer(learner, unite_rows(learner, own))
        if self.keeps_logits and inside:
            heads = [learner.head_labels(self.buffer[slot].prepared) for _, _, slot in inside]
            logits = collect_logits(learner, seen, [(index, number) for index, number, _ in inside], heads)
            for (_, _, slot), found in zip(inside, logits, strict=True):
                kept = self.buffer[slot]
                kept.logits = {head: _without_padding(each, kept.prepared) for head, each in found.items()}

    def _offer(self, learner: Learner, rows: np.ndarray) -> list[tuple[int, int, int]]:
        """Offer rows that were not yet; gives task index, number and slot of all rows that are in the buffer."""
        inside: list[tuple[int, int, int]] = []
        for index in np.unique(rows[:, 0]).tolist():
            task = learner.task_names[index]
            if task not in self._slots:
                # another strategy trains on rows of an earlier experience
                continue
            numbers, slots = rows[rows[:, 0] == index, 1], self._slots[task]
            self._place(learner, task, numbers[slots[numbers] == _NOT_OFFERED].tolist())
            inside += [(index, int(number), int(slots[number])) for number in numbers if slots[number] >= 0]
        return inside

    def _place(self, learner: Learner, task: str, numbers: Sequence[int]) -> None:
        """Offer rows of a task to the buffer, each for the first time."""
        slots = self._slots[task]
        slots[numbers] = _OUTSIDE
        prepared = [learner.prepared_row(task, number) for number in numbers]
        groups = [self._group(learner, task, row) for row in prepared]
        for number, row, group, slot in zip(numbers, prepared, groups, self.buffer.place(groups), strict=True):
            if slot is not None:
                self._forget(slot)
                slots[number] = slot
                self.buffer.put(slot, Slot(task, learner.raw_row(task, number), group, learner.number, prepared=row))

    def _group(self, learner: Learner, task: str, prepared: Mapping[str, Any]) -> str:
        """What a row counts as where the buffer is balanced."""
        return group_of(learner, task, prepared)

    def _forget(self, slot: int) -> None:
        """Another row takes a slot."""
        for slots in self._slots.values():
            slots[slots == slot] = _OUTSIDE

    def draw(self, learner: Learner, batches: Sequence[Batch]) -> Drawn:
        """
        Draw rows for an optimizer step.

        Args:
            learner ([`Learner`]): Of the experience.
            batches (`Sequence[dict[str, Any]]`): The step's micro-batches on this process.

        Returns:
            [`Drawn`]: The slots, none of them twice.
        """
        if len(self.buffer) == 0 or not batches:
            return Drawn([], [[] for _ in batches])
        processes, parts = learner.num_processes, len(batches) * learner.num_processes
        size = self.replay_batch_size or learner.batch_size
        drawn = self.buffer.draw(size * parts)
        divided = [each.tolist() for each in np.array_split(np.array(drawn), parts)]
        return Drawn(drawn, divided[learner.process_index :: processes])

    def collate(self, learner: Learner, slots: Sequence[int]) -> Batch:
        """
        Put rows of the buffer into a batch.

        Args:
            learner ([`Learner`]): Of the experience.
            slots (`Sequence[int]`): Their slots, at least one.

        Returns:
            `dict[str, Any]`: The batch.
        """
        return learner.collate([self.buffer[slot].prepared for slot in slots])

    def memory(self) -> int:
        return sum(self.buffer.memory().values())

    def save(self, folder: Path) -> None:
        features = {task: self._features[task] for task in self.buffer.rows_by_task()}
        save_buffer(self.buffer, folder / _BUFFER, features)
        save_file({task: torch.from_numpy(slots) for task, slots in self._slots.items()}, folder / _SLOTS)

    def load(self, folder: Path, learner: Learner) -> None:
        self._buffer = learner.prepare_buffer(load_buffer(folder / _BUFFER))
        self._slots = {task: slots.numpy() for task, slots in load_file(folder / _SLOTS).items()}


def _without_padding(logits: torch.Tensor, prepared: Mapping[str, Any]) -> torch.Tensor:
    """Logits of a row's own positions."""
    has_positions = logits.dim() == 2 and "input_ids" in prepared
    return logits[: len(prepared["input_ids"])].clone() if has_positions else logits


def group_of(learner: Learner, task: str, prepared: Mapping[str, Any]) -> str:
    """
    What a row counts as where a buffer is balanced: its class, or else its task.

    Args:
        learner ([`Learner`]): Knows the heads.
        task (`str`): The row's task.
        prepared (`Mapping[str, Any]`): The row as collators take it.

    Returns:
        `str`: Such as `intent:3`; the task's name where no head has one class for the row.
    """
    labels = learner.head_labels(prepared)
    return next((f"{head}:{label}" for head, label in labels.items() if isinstance(label, int)), task)


def unite_rows(learner: Learner, own: Collection[tuple[int, ...]]) -> np.ndarray:
    """
    The rows of a step, of all processes.

    Args:
        learner ([`Learner`]): Knows the processes.
        own (`Collection[tuple[int, int]]`): Those of this one: index of the task, number.

    Returns:
        `np.ndarray` of shape `(rows, 2)`: Ascending, each once.
    """
    rows = np.array(sorted(own), dtype=np.int64).reshape(-1, 2)
    if learner.num_processes > 1:
        tensor = torch.from_numpy(rows).to(learner.args.device)
        padded = learner.accelerator.pad_across_processes(tensor, pad_index=-1)
        rows = learner.accelerator.gather(padded).cpu().numpy()
    return np.unique(rows[rows[:, 0] >= 0], axis=0)
