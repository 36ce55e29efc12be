"""Tasks and heads before a scenario is made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from continual.answers import labelled, letter_heads, letters, task_of

from mt_transformers import Task, get_head_config
from mt_transformers.continual.loaded_tasks import load_tasks
from mt_transformers.errors import InputError


def test_splits_are_loaded_and_heads_complete(tmp_path: Path) -> None:
    labelled([1, 0]).to_parquet(tmp_path / "train.parquet")
    dataset = {"path": "parquet", "data_files": {"train": str(tmp_path / "train.parquet")}}
    heads = {"letter": get_head_config("letter", {"head_type": "sequence_classification"})}
    tasks, complete = load_tasks({"alphabet": replace(letters()["alphabet"], dataset=dataset)}, heads)
    assert tasks["alphabet"].dataset["train"]["label"][:] == [1, 0]
    assert complete["letter"].to_dict()["id2label"] == {0: "a", 1: "b", 2: "c", 3: "d"}
    assert heads["letter"].to_dict()["id2label"] is None


def test_a_stream_is_refused() -> None:
    stream = labelled([0, 1]).to_iterable_dataset()
    tasks = {"alphabet": Task(dataset={"train": stream}, inputs={"text": "text"}, labels={"letter": "label"})}
    with pytest.raises(InputError, match=r"task 'alphabet', split 'train': a scenario goes by row numbers.*Iterable"):
        load_tasks(tasks, letter_heads())


def test_no_tasks_and_tasks_without_labels_are_refused() -> None:
    with pytest.raises(InputError, match="tasks: expected at least one, found none"):
        load_tasks({}, letter_heads())
    unlabelled = replace(task_of(train=labelled([0])), labels={})
    with pytest.raises(InputError, match="task 'more': expected labels for at least one head"):
        load_tasks({**letters(), "more": unlabelled}, letter_heads())


def test_a_head_that_no_task_feeds_is_refused() -> None:
    heads = {**letter_heads(), "other": get_head_config("other", {"head_type": "regression"})}
    with pytest.raises(InputError, match="head 'other': no task has labels for it"):
        load_tasks(letters(), heads)
