"""All tasks of a run, their rows prepared."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import datasets

from ..errors import InputError, check_known
from ..heads import HeadConfig
from .dataset import GOLD_PREFIX, MultiTaskDataset
from .mixture import Mixture
from .preprocessing import complete_heads, prepare_split
from .processing import Processing
from .stream_shards import TaskStream
from .streaming import MultiTaskStream, prepare_stream
from .task import Task, label_sources, load_splits

__all__ = ["PreparedTasks"]


@dataclass
class PreparedTasks:
    """
    Loads tasks, completes their heads and prepares their rows.

    Args:
        tasks (`Mapping[str, Task]`): The tasks.
        heads (`Mapping[str, HeadConfig]`): The heads; what their configs leave open is filled.
        processing_class (`Any`): A fast tokenizer, or what else the inputs need, see [`Processing`].
        max_length (`int`, *optional*): Length to which rows are cut (tokens).
        num_proc (`int`, *optional*): Processes to work with.

    Raises:
        InputError: If tasks and heads do not fit.
    """

    tasks: Mapping[str, Task]
    heads: Mapping[str, HeadConfig]
    processing_class: Any
    max_length: int | None = None
    num_proc: int | None = None

    def __post_init__(self) -> None:
        # one for all tasks: what it takes to name its tokenizer is done once
        self.processing_class = Processing.of(self.processing_class)
        self._raw = {name: load_splits(name, task) for name, task in self.tasks.items()}
        complete_heads(self.heads, label_sources(self.tasks, self._raw), all_fed=False)
        self._complete_from_tokenizer()
        self.splits: dict[str, dict[str, datasets.Dataset]] = {}
        """Prepared splits of each task, once [`prepare`] was called; streams are not among them."""
        self.streams: dict[str, TaskStream] = {}
        """Prepared training splits that are streams."""

    def _complete_from_tokenizer(self) -> None:
        tokenizer = Processing.of(self.processing_class).tokenizer
        for name in dict.fromkeys(head for task in self.tasks.values() for head in task.labels):
            if tokenizer is None:
                continue
            try:
                self.heads[name].complete_from_tokenizer(tokenizer)
            except InputError as error:
                raise InputError(f"head {name!r}: {error}") from error

    def prepare(self) -> None:
        """
        Tokenize and encode all rows, unless that is done; those of streams when they are read.

        Raises:
            InputError: If a value is missing or wrong, naming task, column, row and value.
        """
        if self.splits:
            return
        for name, splits in self._raw.items():
            self.splits[name] = {}
            for split_name, split in splits.items():
                if isinstance(split, datasets.IterableDataset):
                    self.streams[name] = prepare_stream(
                        name, self.tasks[name], split, self.heads, self.processing_class, self.max_length
                    )
                else:
                    self.splits[name][split_name] = self._prepare_split(name, split_name, split)

    def part(self, splits: Mapping[str, Mapping[str, datasets.Dataset]]) -> PreparedTasks:
        """
        The same tasks with other rows.

        Args:
            splits (`Mapping[str, Mapping[str, datasets.Dataset]]`): For each task its splits, prepared.

        Returns:
            [`PreparedTasks`]: With nothing left to prepare.
        """
        part = copy.copy(self)
        part.splits = {name: dict(each) for name, each in splits.items()}
        part.tasks = {name: self.tasks[name] for name in splits}
        return part

    def prepare_rows(self, task_name: str, split_name: str, rows: datasets.Dataset) -> datasets.Dataset:
        """
        Prepare further rows of a task.

        Args:
            task_name (`str`): The task.
            split_name (`str`): What they are called in messages.
            rows (`datasets.Dataset`): Rows with the columns of the task.

        Returns:
            `datasets.Dataset`: The rows, prepared.

        Raises:
            InputError: If a value is missing or wrong, naming task, column, row and value.
        """
        return self._prepare_split(task_name, split_name, rows)

    def _prepare_split(self, task_name: str, split_name: str, split: datasets.Dataset) -> datasets.Dataset:
        return prepare_split(
            task_name,
            self.tasks[task_name],
            split_name,
            split,
            self.heads,
            self.processing_class,
            self.max_length,
            self.num_proc,
        )

    def train_dataset(
        self, mixture: Mixture, seed: int, endless: bool = False, process_index: int = 0, num_processes: int = 1
    ) -> MultiTaskDataset | MultiTaskStream | None:
        """
        The training rows of all tasks.

        Args:
            mixture ([`Mixture`]): How streams are interleaved; rows with a number are for the sampler to interleave.
            seed (`int`): Seed of the streams' orders.
            endless (`bool`, *optional*, defaults to `False`): Whether streams begin again where they end.
            process_index (`int`, *optional*, defaults to 0): Number of this process, for its part of the streams.
            num_processes (`int`, *optional*, defaults to 1): Processes that train.

        Returns:
            [`MultiTaskDataset`] or [`MultiTaskStream`]; None if no task has a train split.

        Raises:
            InputError: If some tasks are streamed and others are not, or the mixture cannot be kept with streams.
        """
        splits = {name: _without_gold(splits["train"]) for name, splits in self.splits.items() if "train" in splits}
        if self.streams and splits:
            raise InputError(
                f"the train splits of {', '.join(self.streams)} are streams, those of {', '.join(splits)} are not: "
                "stream all of them or none."
            )
        if self.streams:
            return MultiTaskStream(self.streams, mixture, seed, endless, process_index, num_processes)
        return MultiTaskDataset(splits) if splits else None

    def choose(
        self, chosen: str | Collection[str] | Mapping[str, datasets.Dataset] | None, split: str
    ) -> dict[str, datasets.Dataset]:
        """
        Prepared rows to evaluate or predict.

        Args:
            chosen (`str`, `Collection[str]` or `Mapping[str, datasets.Dataset]`, *optional*):
                A task's name, several, or rows for each task with the task's columns; all tasks that have the split
                by default.
            split (`str`): The split, unless rows are given.

        Returns:
            `dict[str, datasets.Dataset]`: For each task prepared rows.

        Raises:
            InputError: If a task is unknown or none, or a chosen one, has the split.
        """
        if isinstance(chosen, Mapping):
            check_known(chosen, self.tasks, "evaluation", "task")
            return {name: self._prepare_given(name, rows) for name, rows in chosen.items()}
        names = [chosen] if isinstance(chosen, str) else list(self.tasks if chosen is None else chosen)
        check_known(names, self.tasks, "evaluation", "task")
        found = {name: self.splits[name][split] for name in names if split in self.splits[name]}
        lacking = [name for name in names if name not in found]
        if not found or (chosen is not None and lacking):
            raise InputError(f"no split {split!r} in task(s) {', '.join(lacking)}.")
        return found

    def _prepare_given(self, task_name: str, rows: Any) -> datasets.Dataset:
        task = self.tasks[task_name]
        given = Task(dataset={"test": rows}, inputs=task.inputs, labels=task.labels)
        return self._prepare_split(task_name, "test", load_splits(task_name, given)["test"])


def _without_gold(split: datasets.Dataset) -> datasets.Dataset:
    """A split without what only metrics need, which training would read with every row."""
    return split.remove_columns([name for name in split.column_names if name.startswith(GOLD_PREFIX)])
