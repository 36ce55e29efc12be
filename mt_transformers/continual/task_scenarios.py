"""Scenarios that keep tasks whole, or divide the rows of one by their domain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Any

import datasets
import numpy as np

from ..data import Task
from ..errors import InputError, check_known
from ..heads import HeadConfig
from .class_order import check_permutation
from .label_rows import distinct_values, rows_by_group, warn_of_lost_rows
from .loaded_tasks import load_tasks
from .scenario import Experience, Scenario

__all__ = ["domain_incremental", "new_heads"]

_DOMAIN_TYPES = re.compile(r"(large_)?string|bool|u?int(8|16|32|64)")


def new_heads(
    tasks: Mapping[str, Task],
    heads: Mapping[str, HeadConfig],
    *,
    order: Sequence[str | Sequence[str]] | None = None,
) -> Scenario:
    """
    Make a scenario in which each experience is a task, or a group of tasks, whose heads join when it begins.

    Args:
        tasks (`Mapping[str, Task]`): The tasks.
        heads (`Mapping[str, HeadConfig]`): Their heads.
        order (`Sequence[str | Sequence[str]]`, *optional*):
            Names of the tasks, or lists of them, which are learnt together. Defaults to the order of `tasks`.

    Returns:
        [`Scenario`]: A head joins with the first experience that feeds it.

    Raises:
        InputError: If the order repeats or misses a task or has an unknown one, or an experience has no training row.

    Example:
        >>> from datasets import Dataset
        >>> from mt_transformers import get_head_config
        >>> rows = Dataset.from_dict({"text": ["great", "dull"], "mood": ["good", "bad"], "stars": [5.0, 2.0]})
        >>> tasks = {
        ...     name: Task(dataset={"train": rows}, inputs={"text": "text"}, labels={name: name})
        ...     for name in ("mood", "stars")
        ... }
        >>> types = {"mood": "sequence_classification", "stars": "regression"}
        >>> heads = {name: get_head_config(name, {"head_type": head_type}) for name, head_type in types.items()}
        >>> scenario = new_heads(tasks, heads, order=["stars", "mood"])
        >>> [list(scenario.heads_after(experience)) for experience in range(2)]
        [['stars'], ['stars', 'mood']]
    """
    loaded, complete = load_tasks(tasks, heads)
    groups = [[each] if isinstance(each, str) else list(each) for each in (loaded if order is None else order)]
    if not all(groups):
        raise InputError(f"order: expected at least one task in each group, found {order!r}.")
    check_permutation([name for group in groups for name in group], list(loaded), "order", "task")
    names = ["_".join(group) for group in groups]
    if len(set(names)) < len(names):
        names = _numbered(len(names))
    experiences = tuple(_whole_tasks(name, group, loaded) for name, group in zip(names, groups, strict=True))
    return Scenario(
        kind="new_heads",
        tasks=loaded,
        heads={head: complete[head] for experience in experiences for head in experience.heads},
        experiences=experiences,
    )


def domain_incremental(
    tasks: Mapping[str, Task],
    heads: Mapping[str, HeadConfig],
    *,
    order: Sequence[Any] | None = None,
    domain: str | None = None,
) -> Scenario:
    """
    Make a scenario in which the heads stay the same and the rows come from elsewhere.

    Args:
        tasks (`Mapping[str, Task]`): Tasks that all feed the same heads; a single one if there is a column `domain`.
        heads (`Mapping[str, HeadConfig]`): Their heads.
        order (`Sequence`, *optional*):
            Names of the tasks, or the domains as the column names them. Defaults to the order of `tasks`; of a
            column's domains to that of its `ClassLabel`, else to that of their first appearance.
        domain (`str`, *optional*):
            Column that says of each row its domain (`ClassLabel`, text or integers). Rows without one (None, and -1 of
            a `ClassLabel`) belong to no experience; a warning counts them.

    Returns:
        [`Scenario`]: An experience for each task, or for each domain.

    Raises:
        InputError: If the tasks feed different heads, the order repeats or misses a domain or has an unknown one, the
            column cannot say the domain, or an experience has no training row.

    Example:
        >>> from datasets import Dataset
        >>> from mt_transformers import get_head_config
        >>> columns = {"text": ["tasty", "loud", "cold"], "mood": [1, 0, 0], "about": ["food", "room", "food"]}
        >>> rows = Dataset.from_dict(columns)
        >>> tasks = {"reviews": Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"mood": "mood"})}
        >>> heads = {"mood": get_head_config("mood", {"head_type": "sequence_classification", "num_labels": 2})}
        >>> scenario = domain_incremental(tasks, heads, domain="about")
        >>> {experience.name: experience.rows["reviews"]["train"].tolist() for experience in scenario.experiences}
        {'food': [0, 2], 'room': [1]}
    """
    loaded, complete = load_tasks(tasks, heads)
    if domain is None:
        experiences = _domains_as_tasks(loaded, order)
    elif len(loaded) == 1:
        name, task = next(iter(loaded.items()))
        experiences = _domains_of_column(name, task, domain, order)
    else:
        raise InputError(f"domain: expected a single task with the column {domain!r}, found {', '.join(loaded)}.")
    return Scenario(kind="domain_incremental", tasks=loaded, heads=complete, experiences=experiences)


def _whole_tasks(name: str, group: Sequence[str], tasks: Mapping[str, Task]) -> Experience:
    """An experience of all rows of some tasks."""
    rows = {task: {split: np.arange(len(found)) for split, found in tasks[task].dataset.items()} for task in group}
    heads = tuple(dict.fromkeys(head for task in group for head in tasks[task].labels))
    return Experience(name=name, rows=rows, heads=heads, labels={})


def _numbered(count: int) -> list[str]:
    return [f"experience_{number:02}" for number in range(count)]


def _domains_as_tasks(tasks: Mapping[str, Task], order: Sequence[str] | None) -> tuple[Experience, ...]:
    names = list(tasks if order is None else order)
    check_permutation(names, list(tasks), "order", "task")
    fed = set(tasks[names[0]].labels)
    for name in names:
        if set(tasks[name].labels) != fed:
            raise InputError(
                f"task {name!r}: expected the heads of task {names[0]!r}, {', '.join(sorted(fed))}, found "
                f"{', '.join(sorted(tasks[name].labels))}: domains feed the same heads."
            )
    return tuple(_whole_tasks(name, [name], tasks) for name in names)


def _domains_of_column(name: str, task: Task, column: str, order: Sequence[Any] | None) -> tuple[Experience, ...]:
    where = f"task {name!r}, column {column!r}"
    found = {split: _read_domains(f"{where}, split {split!r}", rows, column) for split, rows in task.dataset.items()}
    domains = _known_domains(task, column, found)
    if order is not None:
        ordered = [str(domain) for domain in order]
        check_permutation(ordered, domains, "order", "domain")
        domains = ordered
    number_of = {domain: number for number, domain in enumerate(domains)}
    # (rows,) of each split
    groups = {
        split: np.array([-1 if domain is None else number_of[domain] for domain in values])[places]
        for split, (values, places) in found.items()
    }
    warn_of_lost_rows(where, groups, "domain")
    rows = {split: rows_by_group(each, len(domains)) for split, each in groups.items()}
    experiences = []
    for number, (domain, own_name) in enumerate(zip(domains, _experience_names(domains), strict=True)):
        own = {split: each[number] for split, each in rows.items() if len(each[number])}
        if "train" not in own:
            raise InputError(f"{where}: no training row of the domain {domain!r}.")
        experiences.append(Experience(name=own_name, rows={name: own}, heads=tuple(task.labels), labels={}))
    return tuple(experiences)


def _read_domains(where: str, split: datasets.Dataset, column: str) -> tuple[list[str | None], np.ndarray]:
    """Domains of a split in the order of their first appearance, None among them, and which of them each row has."""
    check_known([column], split.column_names, where, "column")
    feature = split.features[column]
    named = isinstance(feature, datasets.ClassLabel)
    if not named and not (isinstance(feature, datasets.Value) and _DOMAIN_TYPES.fullmatch(feature.dtype)):
        raise InputError(
            f"{where}: expected the name of a domain a row (ClassLabel, text or integers), found {feature}."
        )
    values, places = distinct_values(split, column)
    if named:
        return [None if value is None or value < 0 else feature.names[value] for value in values], places
    return [None if value is None else str(value) for value in values], places


def _known_domains(task: Task, column: str, found: Mapping[str, tuple[list[str | None], np.ndarray]]) -> list[str]:
    """The domains that rows have, in the order of their `ClassLabel`, else of their first appearance."""
    present = dict.fromkeys(domain for values, _ in found.values() for domain in values if domain is not None)
    declared: dict[str, None] = {}
    for split in task.dataset.values():
        if isinstance(split.features[column], datasets.ClassLabel):
            declared.update(dict.fromkeys(split.features[column].names))
    return [domain for domain in {**declared, **present} if domain in present]


def _experience_names(domains: Sequence[str]) -> list[str]:
    """The domains as identifiers where these differ, else numbers."""
    words = [re.sub(r"\W", "_", domain) for domain in domains]
    names = [word if word.isidentifier() and not iskeyword(word) else f"domain_{word}" for word in words]
    return names if len(set(names)) == len(names) else _numbered(len(names))
