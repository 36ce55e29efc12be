"""Scenarios that divide the classes of one head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..data import Task
from ..errors import InputError, check_known
from ..heads import HeadConfig, SequenceClassificationHeadConfig
from .class_order import choose_classes, class_groups, single_label_config
from .label_rows import name_labels, read_label_ids, rows_by_group, warn_of_lost_rows
from .loaded_tasks import load_tasks
from .scenario import Experience, Scenario

__all__ = ["class_incremental", "task_incremental"]


def class_incremental(
    tasks: Mapping[str, Task],
    heads: Mapping[str, HeadConfig],
    *,
    head: str | None = None,
    experiences: int | None = None,
    classes: Sequence[Sequence[str]] | None = None,
    order: Sequence[str] | None = None,
    seed: int | None = None,
) -> Scenario:
    """
    Make a scenario in which one head grows: each experience brings classes, and their rows.

    Args:
        tasks (`Mapping[str, Task]`): The tasks that feed the head, each for this head alone.
        heads (`Mapping[str, HeadConfig]`): The head's config, of one label a row.
        head (`str`, *optional*): The head. Defaults to the only one.
        experiences, classes, order, seed: How the classes are divided, see [`class_groups`].

    Returns:
        [`Scenario`]: Ids of the head's classes ascend with the experiences. A column with numbers for labels is
        replaced by one with their names. Rows without a label belong to no experience; a warning counts them.

    Raises:
        InputError: If there is another head, the head has several labels a row or none, the classes cannot be divided
            so, or a group has no training row.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"text": ["hi", "bye", "ciao"], "intent": ["hello", "goodbye", "goodbye"]})
        >>> tasks = {"chat": Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"intent": "intent"})}
        >>> heads = {"intent": SequenceClassificationHeadConfig()}
        >>> scenario = class_incremental(tasks, heads, experiences=2, order=["hello", "goodbye"])
        >>> [experience.rows["chat"]["train"].tolist() for experience in scenario.experiences]
        [[0], [1, 2]]
        >>> scenario.heads["intent"].names, heads["intent"].names
        (['hello', 'goodbye'], [])
    """
    divided = _divide(tasks, heads, head, experiences, classes, order, seed)
    config = choose_classes(divided.config, [name for group in divided.groups for name in group])
    return Scenario(
        kind="class_incremental",
        tasks=divided.tasks,
        heads={divided.head: config},
        experiences=tuple(
            Experience(
                name=f"experience_{number:02}",
                rows=divided.rows_of(number),
                heads=(divided.head,),
                labels={divided.head: group},
            )
            for number, group in enumerate(divided.groups)
        ),
    )


def task_incremental(
    tasks: Mapping[str, Task],
    heads: Mapping[str, HeadConfig],
    *,
    head: str | None = None,
    experiences: int | None = None,
    classes: Sequence[Sequence[str]] | None = None,
    order: Sequence[str] | None = None,
    seed: int | None = None,
) -> Scenario:
    """
    Make a scenario in which each group of a head's classes gets a head of its own, which is known at test time.

    Args:
        tasks, heads, head, experiences, classes, order, seed: As [`class_incremental`] takes them.

    Returns:
        [`Scenario`]: Its heads are `<head>_00`, `<head>_01` and so on, its tasks `<task>_00`, `<task>_01` and so on,
        which hold the rows of their experience and no others.

    Raises:
        InputError: As [`class_incremental`] raises it.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"text": ["hi", "bye", "ciao"], "intent": ["hello", "goodbye", "goodbye"]})
        >>> tasks = {"chat": Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"intent": "intent"})}
        >>> scenario = task_incremental(tasks, {"intent": SequenceClassificationHeadConfig()}, experiences=2)
        >>> scenario.tasks["chat_00"].labels, scenario.tasks["chat_00"].dataset["train"]["text"][:]
        ({'intent_00': 'intent'}, ['bye', 'ciao'])
        >>> scenario.heads["intent_01"].names
        ['hello']
    """
    divided = _divide(tasks, heads, head, experiences, classes, order, seed)
    made_tasks: dict[str, Task] = {}
    made_heads: dict[str, HeadConfig] = {}
    made: list[Experience] = []
    for number, group in enumerate(divided.groups):
        own_head = f"{divided.head}_{number:02}"
        own_tasks = divided.tasks_of(number, own_head)
        made_heads[own_head] = choose_classes(divided.config, group)
        made_tasks.update(own_tasks)
        rows = {
            name: {split: np.arange(len(chosen)) for split, chosen in task.dataset.items()}
            for name, task in own_tasks.items()
        }
        made.append(Experience(name=f"experience_{number:02}", rows=rows, heads=(own_head,), labels={}))
    return Scenario(kind="task_incremental", tasks=made_tasks, heads=made_heads, experiences=tuple(made))


@dataclass(frozen=True, kw_only=True)
class _DividedClasses:
    """A head's classes in groups, and the rows of each group."""

    head: str
    config: SequenceClassificationHeadConfig
    groups: tuple[tuple[str, ...], ...]
    tasks: dict[str, Task]
    rows: dict[str, dict[str, list[np.ndarray]]]
    """Task -> split -> row numbers of each group."""

    def rows_of(self, group: int) -> dict[str, dict[str, np.ndarray]]:
        """Task -> split -> row numbers of a group, where there are any."""
        found = {
            task: {split: rows[group] for split, rows in splits.items() if len(rows[group])}
            for task, splits in self.rows.items()
        }
        return {task: splits for task, splits in found.items() if splits}

    def tasks_of(self, group: int, head: str) -> dict[str, Task]:
        """Tasks with the rows of a group alone, for a head of their own."""
        return {
            f"{name}_{group:02}": replace(
                self.tasks[name],
                dataset={split: self.tasks[name].dataset[split].select(rows) for split, rows in splits.items()},
                labels={head: self.tasks[name].labels[self.head]},
            )
            for name, splits in self.rows_of(group).items()
        }


def _divide(
    tasks: Mapping[str, Task],
    heads: Mapping[str, HeadConfig],
    head: str | None,
    experiences: int | None,
    classes: Sequence[Sequence[str]] | None,
    order: Sequence[str] | None,
    seed: int | None,
) -> _DividedClasses:
    name = _only_head(tasks, heads, head)
    loaded, complete = load_tasks(tasks, heads)
    config = single_label_config(name, complete[name])
    groups = class_groups(config.names, experiences=experiences, classes=classes, order=order, seed=seed)
    group_of = {label: number for number, group in enumerate(groups) for label in group}
    # one entry more, so that the id -1 of a row without a label reads the last one
    table = np.array([*(group_of[label] for label in config.names), -1])
    rows: dict[str, dict[str, list[np.ndarray]]] = {}
    for task_name, task in loaded.items():
        ids = {split: read_label_ids(task_name, task, name, config, split) for split in task.dataset}
        own = {split: table[np.maximum(found, -1)] for split, found in ids.items()}
        warn_of_lost_rows(f"task {task_name!r}, column {task.labels[name]!r}", own, "label")
        rows[task_name] = {split: rows_by_group(found, len(groups)) for split, found in own.items()}
        named = {
            split: name_labels(found, str(task.labels[name]), ids[split], config.names)
            for split, found in task.dataset.items()
        }
        loaded[task_name] = replace(task, dataset=named)
    divided = _DividedClasses(head=name, config=config, groups=groups, tasks=loaded, rows=rows)
    for number, group in enumerate(groups):
        if not any("train" in splits for splits in divided.rows_of(number).values()):
            raise InputError(
                f"head {name!r}: no training row for the classes of experience {number} ({', '.join(group)})."
            )
    return divided


def _only_head(tasks: Mapping[str, Task], heads: Mapping[str, HeadConfig], head: str | None) -> str:
    """The head whose classes are divided, which must be the only one."""
    if head is not None:
        check_known([head], heads, "head", "head")
    elif len(heads) != 1:
        raise InputError(f"head: expected a single head, found {', '.join(heads) or 'none'}.")
    name = next(iter(heads)) if head is None else head
    for task_name, task in tasks.items():
        others = [other for other in task.labels if other != name]
        if others:
            raise InputError(
                f"task {task_name!r}: the classes of {name!r} alone are divided, but the task feeds "
                f"{', '.join(others)} too: leave its column out."
            )
    others = [other for other in heads if other != name]
    if others:
        raise InputError(f"head: the classes of {name!r} alone are divided: leave out {', '.join(others)}.")
    return name
