"""The tasks of a scenario: loaded, of numbered rows, with complete heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import datasets

from ..data import Task, complete_heads, label_sources, load_splits
from ..errors import InputError
from ..heads import HeadConfig, get_head_config

__all__ = ["load_tasks"]


def load_tasks(
    tasks: Mapping[str, Task], heads: Mapping[str, HeadConfig]
) -> tuple[dict[str, Task], dict[str, HeadConfig]]:
    """
    Load the splits of tasks and complete copies of their heads.

    Args:
        tasks (`Mapping[str, Task]`): The tasks.
        heads (`Mapping[str, HeadConfig]`): Their heads; they are left as they are.

    Returns:
        `tuple[dict[str, Task], dict[str, HeadConfig]]`: The tasks holding their splits, and the heads, complete.

    Raises:
        InputError: If a dataset cannot be loaded or is a stream, a task feeds no head, or tasks and heads do not fit.
    """
    if not tasks:
        raise InputError("tasks: expected at least one, found none.")
    splits = {name: load_splits(name, task) for name, task in tasks.items()}
    for name, found in splits.items():
        for split_name, split in found.items():
            if isinstance(split, datasets.IterableDataset):
                raise InputError(
                    f"task {name!r}, split {split_name!r}: a scenario goes by row numbers, which a stream does not "
                    "have: expected a datasets.Dataset, found an IterableDataset."
                )
        if not tasks[name].labels:
            raise InputError(f"task {name!r}: expected labels for at least one head, found none.")
    complete = {name: get_head_config(name, config) for name, config in heads.items()}
    complete_heads(complete, label_sources(tasks, splits))
    return {name: replace(task, dataset=splits[name]) for name, task in tasks.items()}, complete
