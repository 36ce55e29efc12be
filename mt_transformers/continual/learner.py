"""What a strategy works with while an experience is learnt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import datasets
import torch
from accelerate.utils import send_to_device

from ..data import LABEL_PREFIX, TASK_INDEX, DataCollatorForMultiTask, PreparedTasks
from ..data.media_columns import keep_files
from ..modeling import MultiTaskModel
from ..training.step_counts import StepCounter
from .buffer import Buffer
from .scenario import Experience, Scenario
from .sources import ROW_NUMBER, SOURCES

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ..training import MultiTaskTrainingArguments

__all__ = ["Batch", "Learner"]

Batch = dict[str, Any]
"""Arguments of the model, as a collator gives them."""


@dataclass(kw_only=True)
class Learner:
    """
    The model, the rows and the processes, for a [`Strategy`]; one for each experience.

    Args:
        model ([`MultiTaskModel`]): The model as it is, whatever the Trainer has wrapped around it.
        scenario ([`Scenario`]): All experiences.
        number (`int`): Number of the experience that is learnt, from 0.
        prepared ([`PreparedTasks`]): The rows of all experiences, prepared.
        args ([`MultiTaskTrainingArguments`]): The training arguments.
        collator ([`DataCollatorForMultiTask`]): Puts prepared rows together.
    """

    model: MultiTaskModel
    scenario: Scenario
    number: int
    prepared: PreparedTasks
    args: MultiTaskTrainingArguments
    collator: DataCollatorForMultiTask
    task_names: list[str] = field(default_factory=list, init=False)
    """The tasks that are trained on, in the order of their index in batches."""
    _accelerator: Accelerator | None = field(default=None, init=False)
    _counter: StepCounter | None = field(default=None, init=False)
    # task -> its training rows, undecoded: made once, and not for each row
    _raw_splits: dict[str, datasets.Dataset] = field(default_factory=dict, init=False, repr=False)

    def attach(self, accelerator: Accelerator, task_names: Sequence[str]) -> None:
        """Take over what a trainer has made: the accelerator and the order of the tasks."""
        self._accelerator, self.task_names = accelerator, list(task_names)

    @property
    def accelerator(self) -> Accelerator:
        """Knows the processes; there once a trainer was made, which [`Strategy.training_rows`] comes before."""
        if self._accelerator is None:
            raise RuntimeError("no trainer was made yet")
        return self._accelerator

    @property
    def experience(self) -> Experience:
        """The experience that is learnt."""
        return self.scenario.experiences[self.number]

    @property
    def num_processes(self) -> int:
        """Number of processes that train."""
        return int(self.args.world_size)

    @property
    def process_index(self) -> int:
        """Number of this process."""
        return int(self.args.process_index)

    @property
    def batch_size(self) -> int:
        """Rows of a micro-batch on each process."""
        return int(self.args.per_device_train_batch_size)

    def rows_of(self, number: int) -> dict[str, datasets.Dataset]:
        """
        The training rows of an experience.

        Args:
            number (`int`): The experience.

        Returns:
            `dict[str, datasets.Dataset]`: For each of its tasks prepared rows.
        """
        rows = self.scenario.experiences[number].rows
        return {
            task: self.prepared.splits[task]["train"].select(splits["train"])
            for task, splits in rows.items()
            if "train" in splits
        }

    def trained_tasks(self) -> list[str]:
        """Names of the tasks that have training rows, in any experience."""
        return [name for name, task in self.scenario.tasks.items() if "train" in task.dataset]

    def raw_row(self, task: str, number: int) -> dict[str, Any]:
        """
        A training row as its dataset has it, images and recordings undecoded.

        Args:
            task (`str`): The task.
            number (`int`): Number of the row in the task's training split.

        Returns:
            `dict[str, Any]`: The columns that the task reads, with their values.
        """
        return dict(self._raw(task)[number])

    def raw_features(self, task: str) -> datasets.Features:
        """The `datasets` features of a row that [`raw_row`] gives."""
        return self._raw(task).features

    def _raw(self, task: str) -> datasets.Dataset:
        if task not in self._raw_splits:
            own = self.scenario.tasks[task]
            columns = list(dict.fromkeys([*own.input_columns, *own.label_columns]))
            self._raw_splits[task] = keep_files(own.dataset["train"].select_columns(columns), columns)
        return self._raw_splits[task]

    def prepared_row(self, task: str, number: int) -> dict[str, Any]:
        """A training row as collators take it; without its number, for a place in a buffer."""
        row = dict(self.prepared.splits[task]["train"][number])
        row.pop(ROW_NUMBER, None)
        return row

    def prepare_buffer(self, buffer: Buffer) -> Buffer:
        """
        Prepare the rows of a buffer that comes from a folder.

        Args:
            buffer ([`Buffer`]): The buffer, which is changed.

        Returns:
            [`Buffer`]: The same one.
        """
        for task, (numbers, rows) in buffer.rows_by_task().items():
            for number, prepared in zip(numbers, self.prepare(task, rows), strict=True):
                buffer[number].prepared = prepared
        return buffer

    def prepare(self, task: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """
        Prepare raw rows, as they come back from a file.

        Args:
            task (`str`): The task.
            rows (`Sequence[Mapping[str, Any]]`): Rows as [`raw_row`] gives them.

        Returns:
            `list[dict[str, Any]]`: The rows as collators take them.
        """
        raw, own = datasets.Dataset.from_list(list(rows), features=self.raw_features(task)), self.scenario.tasks[task]
        features = own.dataset["train"].features
        for name in raw.column_names:
            raw = raw.cast_column(name, features[name])
        return list(self.prepared.prepare_rows(task, "buffer", raw))

    def to_dataset(self, task: str, rows: Sequence[Mapping[str, Any]]) -> datasets.Dataset:
        """
        Make prepared rows out of a buffer a part of what is trained on.

        Args:
            task (`str`): The task.
            rows (`Sequence[Mapping[str, Any]]`): Rows as [`prepared_row`] gives them.

        Returns:
            `datasets.Dataset`: With the columns of the task's training split.
        """
        features = self.prepared.splits[task]["train"].features
        return datasets.Dataset.from_list([{**row, ROW_NUMBER: -1} for row in rows], features=features)

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """
        Put prepared rows, of any tasks, into one batch on the device.

        Args:
            rows (`Sequence[Mapping[str, Any]]`): Rows as [`prepared_row`] gives them.

        Returns:
            `dict[str, Any]`: The batch, for [`forward`].
        """
        batch = self.collator([{**row, TASK_INDEX: 0} for row in rows])
        return dict(send_to_device(batch, self.args.device))

    def batches(self, rows: Sequence[Mapping[str, Any]] | datasets.Dataset) -> Iterator[Batch]:
        """
        Put prepared rows into batches of the size of evaluation, in their order.

        Args:
            rows (`Sequence[Mapping[str, Any]]` or `datasets.Dataset`): The rows.

        Returns:
            `Iterator[dict[str, Any]]`: The batches.
        """
        size = int(self.args.per_device_eval_batch_size)
        for start in range(0, len(rows), size):
            yield self.collate([rows[place] for place in range(start, min(start + size, len(rows)))])

    def forward(self, batch: Mapping[str, Any], model: MultiTaskModel | None = None, **arguments: Any) -> Any:
        """
        Run a model on a batch, as training does but for what the Trainer has wrapped around it.

        Args:
            batch (`Mapping[str, Any]`): The batch.
            model ([`MultiTaskModel`], *optional*): The model, by default the one that learns.
            arguments (`Any`): Further arguments, such as `heads` and `returnt`.

        Returns:
            What the model answers.
        """
        inputs = {name: value for name, value in batch.items() if name not in (TASK_INDEX, SOURCES)}
        with self.accelerator.autocast():
            return (self.model if model is None else model)(**{**inputs, **arguments})

    def divisors(self, batches: Sequence[Batch]) -> dict[str, Any]:
        """
        Count the labelled items of batches over all processes, all of which have to ask.

        Args:
            batches (`Sequence[dict[str, Any]]`): Micro-batches of this process, perhaps none.

        Returns:
            `dict[str, torch.Tensor]`: For each head of these batches what its summed loss is divided by.
        """
        if self._counter is None:
            heads = {name: head.config for name, head in self.model.named_heads.items()}
            self._counter = StepCounter(heads, self.model.config.loss_reduction, self.accelerator)
        return self._counter.count(batches, self.args.device)

    def over_processes(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes."""
        if self.num_processes == 1:
            return values
        reduced: torch.Tensor = self.accelerator.reduce(values, reduction="sum")
        return reduced

    def head_labels(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The labels of a prepared row: head -> label, of the heads that it has one for."""
        found = {
            name.removeprefix(LABEL_PREFIX): value for name, value in row.items() if name.startswith(LABEL_PREFIX)
        }
        return {name: value for name, value in found.items() if value is not None}
