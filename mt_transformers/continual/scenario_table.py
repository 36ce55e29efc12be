"""What a scenario does with tasks, rows and classes, as the cells of a table."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

from ..heads import ClassHeadConfig
from .scenario import Experience, Scenario

__all__ = ["SCENARIO_HEADER", "scenario_rows"]

SCENARIO_HEADER = ("experience", "tasks", "train rows", "validation rows", "test rows", "heads", "classes")
"""Names of the columns of [`scenario_rows`]."""

_WIDTH = 72
"""Length to which a cell is cut (characters)."""


def scenario_rows(scenario: Scenario) -> list[list[Any]]:
    """
    Count the rows of each experience, and name its tasks, its heads and the classes that it learns.

    Args:
        scenario ([`Scenario`]): The scenario.

    Returns:
        `list[list]`: A row for each experience, with the columns [`SCENARIO_HEADER`]; long texts are cut.

    Example:
        >>> from datasets import Dataset
        >>> from mt_transformers import Task, get_head_config
        >>> from mt_transformers.continual.class_scenarios import class_incremental
        >>> rows = Dataset.from_dict({"text": ["hi", "bye", "ciao"], "intent": ["hello", "goodbye", "goodbye"]})
        >>> tasks = {"chat": Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"intent": "intent"})}
        >>> heads = {"intent": get_head_config("intent", {"head_type": "sequence_classification"})}
        >>> scenario_rows(class_incremental(tasks, heads, experiences=2))[0]
        ['1 experience_00', 'chat', 2, 0, 0, 'intent', '1: goodbye']
    """
    return [_row(number, each, scenario) for number, each in enumerate(scenario.experiences, start=1)]


def _row(number: int, experience: Experience, scenario: Scenario) -> list[Any]:
    splits = ("train", "validation", "test")
    counts = [sum(len(own.get(split, ())) for own in experience.rows.values()) for split in splits]
    classes = [name for head in experience.heads for name in _classes(head, experience, scenario)]
    shown = f"{len(classes)}: {', '.join(classes)}" if classes else ""
    texts = [", ".join(experience.rows), ", ".join(experience.heads), shown]
    tasks, heads, names = (shorten(text, _WIDTH, placeholder=" ...") for text in texts)
    return [f"{number} {experience.name}", tasks, *counts, heads, names]


def _classes(head: str, experience: Experience, scenario: Scenario) -> list[str]:
    """The classes of a head that an experience brings, or all of them if the head does not grow."""
    if head in experience.labels:
        return list(experience.labels[head])
    config = scenario.heads[head]
    return list(config.names) if isinstance(config, ClassHeadConfig) else []
