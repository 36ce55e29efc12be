"""Scenarios from whole tasks, and from the domains of one: which rows, which heads, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from continual.answers import COLUMNS, labelled, letter_heads, letters, row_lists, task_of
from datasets import ClassLabel, Dataset, Value, load_dataset
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers import HeadConfig, Task, get_head_config
from mt_transformers.continual.task_scenarios import domain_incremental, new_heads
from mt_transformers.errors import InputError

PLACES = ["north", "east", "south"]


def mood_head() -> HeadConfig:
    return get_head_config("mood", {"head_type": "sequence_classification", "id2label": ["bad", "good"]})


def three_tasks() -> tuple[dict[str, Task], dict[str, HeadConfig]]:
    """`b` feeds a head of its own, `a` and `c` feed another one."""
    tasks = {
        "a": task_of("letter", train=labelled([0, 1]), test=labelled([2])),
        "b": task_of("mood", train=labelled([1, 0, 1], names=["bad", "good"])),
        "c": task_of("letter", train=labelled([3])),
    }
    return tasks, {**letter_heads(), "mood": mood_head()}


def places(values: Sequence[Any], feature: Any, **more: Sequence[Any]) -> dict[str, Task]:
    """One task whose train rows are from these places, and further splits."""
    splits = {
        split: labelled([0] * len(found)).add_column("place", list(found), feature=feature)
        for split, found in {"train": values, **more}.items()
    }
    return {"reviews": task_of(**splits)}


# new heads


def test_tasks_come_in_their_order() -> None:
    tasks, heads = three_tasks()
    scenario = new_heads(tasks, heads)
    assert scenario.kind == "new_heads"
    assert [experience.name for experience in scenario.experiences] == ["a", "b", "c"]
    assert [experience.heads for experience in scenario.experiences] == [("letter",), ("mood",), ("letter",)]
    assert all(experience.labels == {} for experience in scenario.experiences)
    assert row_lists(scenario) == [
        {"a": {"train": [0, 1], "test": [0]}},
        {"b": {"train": [0, 1, 2]}},
        {"c": {"train": [0]}},
    ]


def test_tasks_come_in_groups() -> None:
    tasks, heads = three_tasks()
    scenario = new_heads(tasks, heads, order=["b", ["c", "a"]])
    assert [experience.name for experience in scenario.experiences] == ["b", "c_a"]
    assert [list(experience.rows) for experience in scenario.experiences] == [["b"], ["c", "a"]]
    assert list(scenario.heads) == ["mood", "letter"]
    assert [list(scenario.heads_after(number)) for number in range(2)] == [["mood"], ["mood", "letter"]]
    assert new_heads(tasks, heads, order=[["a", "b"], "c"]).experiences[0].heads == ("letter", "mood")


def test_groups_of_one_name_are_numbered() -> None:
    task = letters()["alphabet"]
    tasks = dict.fromkeys(("a", "b_c", "a_b", "c"), task)
    scenario = new_heads(tasks, letter_heads(), order=[["a", "b_c"], ["a_b", "c"]])
    assert [experience.name for experience in scenario.experiences] == ["experience_00", "experience_01"]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["a", "b"], "order: expected each task once, but 'c' is missing"),
        (["a", ["b", "a"], "c"], "order: expected each task once, but 'a' stands twice"),
        (["a", "b", "c", "d"], "order: unknown task 'd'"),
        (["a", "b", "c", []], "order: expected at least one task in each group"),
        ([["a", "b", "c"]], "new_heads: expected at least two experiences, found 1"),
        ([], "order: expected each task once, but 'a' and 2 more are missing"),
    ],
)
def test_an_order_that_cannot_be(order: list[Any], message: str) -> None:
    tasks, heads = three_tasks()
    with pytest.raises(InputError, match=message):
        new_heads(tasks, heads, order=order)


def test_a_task_without_training_rows_is_refused() -> None:
    tasks, heads = three_tasks()
    tasks["c"] = task_of("letter", test=labelled([3]))
    with pytest.raises(InputError, match="experience 'c': expected at least one training row, found none"):
        new_heads(tasks, heads)
    assert len(new_heads(tasks, heads, order=["b", ["c", "a"]]).experiences) == 2


# domains as tasks


def test_each_task_is_a_domain() -> None:
    tasks = {"x": letters()["alphabet"], "y": task_of(train=labelled([1, 1]))}
    scenario = domain_incremental(tasks, letter_heads(), order=["y", "x"])
    assert scenario.kind == "domain_incremental"
    assert [experience.name for experience in scenario.experiences] == ["y", "x"]
    assert [experience.heads for experience in scenario.experiences] == [("letter",), ("letter",)]
    assert row_lists(scenario) == [
        {"y": {"train": [0, 1]}},
        {"x": {"train": [0, 1, 2, 3, 4, 5, 6], "test": [0, 1, 2]}},
    ]
    assert scenario.heads_after(0) == letter_heads()


def test_domains_feed_the_same_heads() -> None:
    tasks, heads = three_tasks()
    with pytest.raises(InputError, match="task 'b': expected the heads of task 'a', letter, found mood"):
        domain_incremental(tasks, heads)


def test_an_order_of_tasks_that_cannot_be() -> None:
    tasks = {"x": letters()["alphabet"], "y": letters()["alphabet"]}
    with pytest.raises(InputError, match="order: unknown task 'z'"):
        domain_incremental(tasks, letter_heads(), order=["x", "y", "z"])
    with pytest.raises(InputError, match="order: expected each task once, but 'y' is missing"):
        domain_incremental(tasks, letter_heads(), order=["x"])
    with pytest.raises(InputError, match="domain_incremental: expected at least two experiences, found 1"):
        domain_incremental(letters(), letter_heads())


# domains in a column


@pytest.mark.parametrize(
    ("values", "feature", "names"),
    [
        (["south", "north", "south", "east"], Value("string"), ["south", "north", "east"]),
        ([2, 0, 2, 1], ClassLabel(names=PLACES), PLACES),
        ([7, 5, 7, 6], Value("int32"), ["domain_7", "domain_5", "domain_6"]),
        (["de-AT", "en US", "de-AT", "class"], Value("string"), ["de_AT", "en_US", "domain_class"]),
        (["a b", "a-b", "a b", "c"], Value("string"), ["experience_00", "experience_01", "experience_02"]),
    ],
)
def test_each_value_is_a_domain(values: list[Any], feature: Any, names: list[str]) -> None:
    scenario = domain_incremental(places(values, feature, test=values[1:2]), letter_heads(), domain="place")
    assert [experience.name for experience in scenario.experiences] == names
    rows = {experience.name: experience.rows["reviews"] for experience in scenario.experiences}
    first, second = ("south", "north") if isinstance(feature, ClassLabel) else names[:2]
    assert rows[first]["train"].tolist() == [0, 2]
    assert rows[second]["train"].tolist() == [1]
    assert rows[second]["test"].tolist() == [0]
    # no test row is from there
    assert "test" not in rows[first]


def test_domains_come_in_the_order_that_is_given() -> None:
    tasks = places([2, 0, 2, 1], ClassLabel(names=PLACES))
    scenario = domain_incremental(tasks, letter_heads(), domain="place", order=["south", "east", "north"])
    assert row_lists(scenario) == [
        {"reviews": {"train": [0, 2]}},
        {"reviews": {"train": [3]}},
        {"reviews": {"train": [1]}},
    ]
    numbers = domain_incremental(places([7, 5, 7], Value("int64")), letter_heads(), domain="place", order=[5, "7"])
    assert row_lists(numbers) == [{"reviews": {"train": [1]}}, {"reviews": {"train": [0, 2]}}]


def test_a_declared_domain_without_rows_is_none() -> None:
    tasks = places([2, 0], ClassLabel(names=PLACES))
    scenario = domain_incremental(tasks, letter_heads(), domain="place")
    assert [experience.name for experience in scenario.experiences] == ["north", "south"]


def test_rows_without_a_domain_are_left_out_and_counted() -> None:
    tasks = places([2, -1, 0], ClassLabel(names=PLACES), test=[0, None])
    message = "task 'reviews', column 'place': 2 rows without a domain are left out \\(1 in train, 1 in test\\)"
    with pytest.warns(UserWarning, match=message) as caught:
        scenario = domain_incremental(tasks, letter_heads(), domain="place")
    assert [warning.filename for warning in caught] == [__file__]
    assert row_lists(scenario) == [{"reviews": {"train": [2], "test": [0]}}, {"reviews": {"train": [0]}}]
    with pytest.warns(UserWarning, match="1 row without a domain is left out"):
        domain_incremental(places(["x", None, "y"], Value("string")), letter_heads(), domain="place")


@given(st.lists(st.integers(0, 2), max_size=15), st.permutations(PLACES))
def test_every_row_is_in_the_experience_of_its_domain(values: list[int], order: list[str]) -> None:
    values = [0, 1, 2, *values]
    scenario = domain_incremental(
        places(values, ClassLabel(names=PLACES)), letter_heads(), domain="place", order=order
    )
    for domain, experience in zip(order, scenario.experiences, strict=True):
        expected = [row for row, value in enumerate(values) if PLACES[value] == domain]
        assert experience.rows["reviews"]["train"].tolist() == expected
        assert experience.name == domain


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (
            places(["x", "y"], Value("string")),
            {"domain": "plaze"},
            "column 'plaze', split 'train': unknown column 'pla",
        ),
        (places(["x", "x"], Value("string")), {}, "domain_incremental: expected at least two experiences, found 1"),
        (places([0.5, 1.5], Value("float32")), {}, "column 'place', split 'train': expected the name of a domain"),
        (places(["x"], Value("string"), test=["y"]), {}, "column 'place': no training row of the domain 'y'"),
        (
            places(["x", "y"], Value("string")),
            {"order": ["x"]},
            "order: expected each domain once, but 'y' is missing",
        ),
        (places(["x", "y"], Value("string")), {"order": ["x", "y", "x"]}, "each domain once, but 'x' stands twice"),
        (places(["x", "y"], Value("string")), {"order": ["x", "y", "z"]}, "order: unknown domain 'z'"),
        ({**places(["x", "y"], Value("string")), **letters()}, {}, "expected a single task with the column 'place'"),
    ],
)
def test_domains_that_cannot_be(tasks: dict[str, Task], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        domain_incremental(tasks, letter_heads(), **{"domain": "place", **options})


# real rows


def test_ten_domains_of_real_texts(data_folder: Path) -> None:
    files = {split: str(data_folder / "clinc150" / f"{split}.parquet") for split in ("train", "test")}
    splits = load_dataset("parquet", data_files=files)
    tasks = {"clinc": Task(dataset=splits, inputs={"text": "text"}, labels={"intent": "intent"})}
    heads = {"intent": get_head_config("intent", {"head_type": "sequence_classification"})}
    scenario = domain_incremental(tasks, heads, domain="domain")
    domains: Dataset = splits["train"].with_format("numpy")["domain"][:]
    assert [experience.name for experience in scenario.experiences] == splits["train"].features["domain"].names
    for number, experience in enumerate(scenario.experiences):
        assert np.array_equal(experience.rows["clinc"]["train"], np.flatnonzero(np.asarray(domains) == number))


@pytest.mark.parametrize("column", COLUMNS)
def test_the_labels_may_be_of_any_kind(column: str) -> None:
    tasks = {"x": letters(column)["alphabet"], "y": letters(column)["alphabet"]}
    for make in (new_heads, domain_incremental):
        assert row_lists(make(tasks, letter_heads()))[1] == {"y": {"train": [0, 1, 2, 3, 4, 5, 6], "test": [0, 1, 2]}}
