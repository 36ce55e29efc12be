"""Scenarios from the classes of one head: which rows, which ids, which heads."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from continual.answers import COLUMNS, NAMES, labelled, letter_heads, letters, row_lists, task_of
from datasets import Array2D, ClassLabel, Dataset, Features, load_dataset
from hypothesis import given
from hypothesis import strategies as st

from fixtures import tiny_tokenizer
from mt_transformers import HeadConfig, Task, get_head_config
from mt_transformers.continual.class_scenarios import class_incremental, task_incremental
from mt_transformers.continual.scenario import Scenario
from mt_transformers.data import PreparedTasks
from mt_transformers.errors import InputError

ORDER = ["d", "a", "c", "b"]


@pytest.mark.parametrize("column", COLUMNS)
def test_rows_go_with_their_class(column: str) -> None:
    scenario = class_incremental(letters(column), letter_heads(), experiences=2, order=ORDER)
    assert scenario.kind == "class_incremental"
    assert row_lists(scenario) == [
        {"alphabet": {"train": [1, 2, 4, 6], "test": [0, 1, 2]}},
        # no test row has these classes
        {"alphabet": {"train": [0, 3, 5]}},
    ]
    assert [experience.name for experience in scenario.experiences] == ["experience_00", "experience_01"]
    assert [experience.heads for experience in scenario.experiences] == [("letter",), ("letter",)]
    assert [experience.labels for experience in scenario.experiences] == [
        {"letter": ("d", "a")},
        {"letter": ("c", "b")},
    ]


@pytest.mark.parametrize("column", COLUMNS)
def test_the_labels_of_the_rows_are_those_of_their_experience(column: str) -> None:
    scenario = class_incremental(letters(column), letter_heads(), experiences=2, order=ORDER)
    for number, experience in enumerate(scenario.experiences):
        heads = scenario.heads_after(number)
        own = Task(
            dataset={
                split: scenario.tasks["alphabet"].dataset[split].select(rows)
                for split, rows in experience.rows["alphabet"].items()
            },
            inputs={"text": "text"},
            labels={"letter": "label"},
        )
        prepared = PreparedTasks({"alphabet": own}, heads, tiny_tokenizer())
        prepared.prepare()
        ids = prepared.splits["alphabet"]["train"]["labels_letter"][:]
        assert ids == [[1, 0, 1, 0], [2, 3, 2]][number]


def test_what_was_given_is_left_as_it_is() -> None:
    tasks, heads = letters("numbers"), letter_heads()
    class_incremental(tasks, heads, experiences=2, seed=3)
    assert heads == letter_heads()
    assert tasks["alphabet"].dataset["train"].features["label"].dtype == "int32"


def test_several_tasks_feed_the_head() -> None:
    tasks = {
        "all": task_of(train=labelled([3, 2, 1, 0])),
        # its own ids: a is 0 here, d is 1
        "some": task_of(train=labelled([1, 0, 1], names=["a", "d"]), validation=labelled([0], names=["a"])),
    }
    scenario = class_incremental(tasks, letter_heads(), classes=[["a"], ["b", "c"], ["d"]])
    assert row_lists(scenario) == [
        {"all": {"train": [3]}, "some": {"train": [1], "validation": [0]}},
        {"all": {"train": [1, 2]}},
        {"all": {"train": [0]}, "some": {"train": [0, 2]}},
    ]


@pytest.mark.parametrize("column", COLUMNS)
def test_rows_without_a_label_are_left_out_and_counted(column: str) -> None:
    tasks = {"alphabet": task_of(train=labelled([0, None, 1, -1, 2, 3], column), test=labelled([None, 0], column))}
    message = "task 'alphabet', column 'label': 3 rows without a label are left out \\(2 in train, 1 in test\\)"
    with pytest.warns(UserWarning, match=message) as caught:
        scenario = class_incremental(tasks, letter_heads(), experiences=2)
    assert [warning.filename for warning in caught] == [__file__]
    assert row_lists(scenario) == [
        {"alphabet": {"train": [0, 2], "test": [1]}},
        {"alphabet": {"train": [4, 5]}},
    ]


@given(
    st.lists(st.integers(0, 3), max_size=20),
    st.sampled_from(COLUMNS),
    st.integers(2, 4),
    st.permutations(NAMES),
)
def test_every_row_is_in_one_experience(labels: list[int], column: str, experiences: int, order: list[str]) -> None:
    # one row of each class, so that no experience is empty
    labels = [*range(4), *labels]
    tasks = {"alphabet": task_of(train=labelled(labels, column))}
    scenario = class_incremental(tasks, letter_heads(), experiences=experiences, order=order)
    rows = [experience.rows["alphabet"]["train"] for experience in scenario.experiences]
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(labels)))
    ids = [{order.index(NAMES[labels[row]]) for row in own} for own in rows]
    assert all(max(earlier) < min(later) for earlier, later in pairwise(ids))
    assert all((np.diff(own) > 0).all() for own in rows)


@pytest.mark.parametrize("column", COLUMNS)
def test_each_experience_has_its_head_and_its_tasks(column: str) -> None:
    scenario = task_incremental(letters(column), letter_heads(), experiences=2, order=ORDER)
    assert scenario.kind == "task_incremental"
    assert {head: config.to_dict()["id2label"] for head, config in scenario.heads.items()} == {
        "letter_00": {0: "d", 1: "a"},
        "letter_01": {0: "c", 1: "b"},
    }
    assert {name: dict(task.labels) for name, task in scenario.tasks.items()} == {
        "alphabet_00": {"letter_00": "label"},
        "alphabet_01": {"letter_01": "label"},
    }
    assert row_lists(scenario) == [
        {"alphabet_00": {"train": [0, 1, 2, 3], "test": [0, 1, 2]}},
        {"alphabet_01": {"train": [0, 1, 2]}},
    ]
    assert scenario.tasks["alphabet_00"].dataset["train"]["text"][:] == ["row 1", "row 2", "row 4", "row 6"]
    assert [(experience.heads, experience.labels) for experience in scenario.experiences] == [
        (("letter_00",), {}),
        (("letter_01",), {}),
    ]
    prepared = PreparedTasks(scenario.tasks, dict(scenario.heads), tiny_tokenizer())
    prepared.prepare()
    assert prepared.splits["alphabet_00"]["train"]["labels_letter_00"][:] == [1, 0, 1, 0]
    assert prepared.splits["alphabet_01"]["train"]["labels_letter_01"][:] == [0, 1, 0]


def test_class_and_task_incremental_divide_alike() -> None:
    grown = class_incremental(letters(), letter_heads(), experiences=3, seed=1)
    own = task_incremental(letters(), letter_heads(), experiences=3, seed=1)
    for number, experience in enumerate(grown.experiences):
        for split, rows in experience.rows["alphabet"].items():
            expected = grown.tasks["alphabet"].dataset[split].select(rows).to_dict()
            assert own.tasks[f"alphabet_{number:02}"].dataset[split].to_dict() == expected
        assert own.heads[f"letter_{number:02}"].to_dict()["id2label"] == dict(enumerate(experience.labels["letter"]))


# what cannot be


def two_heads() -> tuple[dict[str, Task], dict[str, HeadConfig]]:
    task = Task(
        dataset={"train": labelled([0, 1])}, inputs={"text": "text"}, labels={"letter": "label", "more": "label"}
    )
    return {"alphabet": task}, {**letter_heads(), "more": letter_heads()["letter"]}


@pytest.mark.parametrize("make", [class_incremental, task_incremental])
def test_another_head_is_refused(make: Any) -> None:
    tasks, heads = two_heads()
    with pytest.raises(InputError, match="head: expected a single head, found letter, more"):
        make(tasks, heads, experiences=2)
    with pytest.raises(InputError, match=r"task 'alphabet': the classes of 'letter' alone .* feeds more too"):
        make(tasks, heads, experiences=2, head="letter")
    with pytest.raises(InputError, match="head: the classes of 'letter' alone are divided: leave out more"):
        make(letters(), heads, experiences=2, head="letter")
    with pytest.raises(InputError, match="head: unknown head 'lettre', did you mean 'letter'"):
        make(letters(), letter_heads(), experiences=2, head="lettre")
    with pytest.raises(InputError, match="head: expected a single head, found none"):
        make(letters(), {}, experiences=2)


def test_the_only_head_may_be_named() -> None:
    assert class_incremental(letters(), letter_heads(), head="letter", experiences=2).heads.keys() == {"letter"}


def test_a_head_without_classes_is_refused() -> None:
    tasks = {"alphabet": task_of(train=labelled([0, 1], "numbers"))}
    heads = {"letter": get_head_config("letter", {"head_type": "regression"})}
    with pytest.raises(InputError, match=r"head 'letter': expected sequence_classification, .* found regression"):
        class_incremental(tasks, heads, experiences=2)


def test_several_labels_a_row_are_refused() -> None:
    rows = Dataset.from_dict({"text": ["x"], "label": [["a", "b"]]})
    heads = letter_heads(problem_type="multi_label_classification")
    with pytest.raises(InputError, match="head 'letter': expected the problem_type 'single_label_classification'"):
        class_incremental({"alphabet": task_of(train=rows)}, heads, experiences=2)


def test_classes_without_training_rows_are_refused() -> None:
    tasks = {"alphabet": task_of(train=labelled([0, 1]), test=labelled([0, 1, 2, 3]))}
    for make in (class_incremental, task_incremental):
        with pytest.raises(
            InputError, match=r"head 'letter': no training row for the classes of experience 1 \(c, d\)"
        ):
            make(tasks, letter_heads(), experiences=2)


def test_a_label_that_is_none_of_the_heads_is_named() -> None:
    tasks = {"alphabet": task_of(train=labelled([0, 1, 2, 3]), test=labelled([0, 1], names=["a", "z"]))}
    with pytest.raises(
        InputError, match="split 'test', task 'alphabet', column 'label', row 1: label 'z' is not among"
    ):
        class_incremental(tasks, letter_heads(), experiences=2)


# real rows


def test_150_intents_in_15_experiences(data_folder: Path) -> None:
    files = {split: str(data_folder / "clinc150" / f"{split}.parquet") for split in ("train", "validation", "test")}
    splits = load_dataset("parquet", data_files=files)
    tasks = {"clinc": Task(dataset=splits, inputs={"text": "text"}, labels={"intent": "intent"})}
    heads = {"intent": get_head_config("intent", {"head_type": "sequence_classification"})}
    start = time.perf_counter()
    scenarios: list[Scenario] = [
        make(tasks, heads, experiences=15, seed=0) for make in (class_incremental, task_incremental)
    ]
    assert time.perf_counter() - start < 5
    names = scenarios[0].heads["intent"].to_dict()["id2label"]
    intents = splits["train"].features["intent"].names
    for number in range(15):
        own = {"train": 1000, "validation": 200, "test": 300}
        rows = scenarios[0].experiences[number].rows["clinc"]
        assert {split: len(each) for split, each in rows.items()} == own
        found = {intents[label] for label in splits["test"].select(rows["test"])["intent"]}
        assert found == {names[index] for index in range(10 * number, 10 * number + 10)}
        task = scenarios[1].tasks[f"clinc_{number:02}"]
        assert {split: len(each) for split, each in task.dataset.items()} == own
    assert scenarios[0].classes_after("intent", 7) == 80


def test_ten_digits_in_five_experiences() -> None:
    found = pytest.importorskip("sklearn.datasets").load_digits()
    features = Features(
        {"image": Array2D((8, 8), "uint8"), "digit": ClassLabel(names=[str(digit) for digit in range(10)])}
    )
    rows = Dataset.from_dict(
        {"image": list(found.images.astype(np.uint8)), "digit": found.target.tolist()}, features=features
    )
    tasks = {"digits": Task(dataset={"train": rows}, inputs={"images": "image"}, labels={"digit": "digit"})}
    heads = {"digit": get_head_config("digit", {"head_type": "image_classification"})}
    scenario = class_incremental(tasks, heads, experiences=5)
    for number, experience in enumerate(scenario.experiences):
        expected = np.flatnonzero((found.target == 2 * number) | (found.target == 2 * number + 1))
        assert np.array_equal(experience.rows["digits"]["train"], expected)
        grown = scenario.heads_after(number)["digit"]
        assert (grown.head_type, grown.to_dict()["num_labels"]) == ("image_classification", 2 * number + 2)
