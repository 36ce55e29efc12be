"""Small tasks with one label a row. Tests write `from continual.answers import ...`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import ClassLabel, Dataset, Features, Value

from mt_transformers import HeadConfig, Task, get_head_config

NAMES = ["a", "b", "c", "d"]
TRAIN = [2, 0, 3, 1, 0, 2, 3]
TEST = [3, 3, 0]
COLUMNS = ["names", "text", "numbers"]
"""What a column of labels may be: `ClassLabel`, text, or numbers, for which the head has to have the names."""


def labelled(labels: Sequence[Any], column: str = "names", names: Sequence[str] = NAMES) -> Dataset:
    """Rows of the labels with these ids (or None) in a column of the given kind."""
    values: list[Any] = list(labels)
    if column == "text":
        values = [None if label is None or label < 0 else names[label] for label in labels]
    types = {"names": ClassLabel(names=list(names)), "text": Value("string"), "numbers": Value("int32")}
    features = Features({"text": Value("string"), "label": types[column]})
    texts = [f"row {number}" for number in range(len(values))]
    return Dataset.from_dict({"text": texts, "label": values}, features=features)


def task_of(head: str = "letter", **splits: Dataset) -> Task:
    """A task that feeds one head from the column `label`."""
    return Task(dataset=dict(splits), inputs={"text": "text"}, labels={head: "label"})


def letters(column: str = "names") -> dict[str, Task]:
    """One task over four classes."""
    return {"alphabet": task_of(train=labelled(TRAIN, column), test=labelled(TEST, column))}


def letter_heads(**fields: Any) -> dict[str, HeadConfig]:
    """Its head."""
    values = {"head_type": "sequence_classification", "id2label": NAMES, **fields}
    return {"letter": get_head_config("letter", values)}


def row_lists(scenario: Any) -> list[dict[str, dict[str, list[int]]]]:
    """The rows of a scenario's experiences, as lists."""
    return [
        {task: {split: rows.tolist() for split, rows in splits.items()} for task, splits in experience.rows.items()}
        for experience in scenario.experiences
    ]
