"""What a scenario says of heads and scores, what it refuses, and how two of them differ."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from continual.answers import labelled, letter_heads, letters, task_of
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers import get_head_config
from mt_transformers.continual.class_scenarios import class_incremental, task_incremental
from mt_transformers.continual.scenario import Experience, Scenario, difference
from mt_transformers.continual.task_scenarios import domain_incremental, new_heads
from mt_transformers.errors import InputError

ORDER = ["c", "a", "d", "b"]


def growing(**options: Any) -> Scenario:
    return class_incremental(letters(), letter_heads(), **{"experiences": 3, "order": ORDER, **options})


def three_tasks() -> Scenario:
    """`first` and `third` feed the same head, `second` another one."""
    tasks = {
        "first": task_of("letter", train=labelled([0, 1])),
        "second": task_of("mood", train=labelled([1, 0], names=["bad", "good"])),
        "third": task_of("letter", train=labelled([2, 3])),
    }
    mood = get_head_config("mood", {"head_type": "sequence_classification"})
    return new_heads(tasks, {**letter_heads(), "mood": mood})


def answerable(scenario: Scenario) -> list[list[bool]]:
    """Rows: after experience -1, 0, 1, 2; columns: which experience."""
    return [[scenario.can_answer(after, experience) for experience in range(3)] for after in range(-1, 3)]


# what it says


def test_a_head_grows_and_no_class_changes_its_id() -> None:
    scenario = growing()
    found = [scenario.heads_after(experience)["letter"].to_dict()["id2label"] for experience in range(3)]
    assert found == [{0: "c", 1: "a"}, {0: "c", 1: "a", 2: "d"}, {0: "c", 1: "a", 2: "d", 3: "b"}]
    assert scenario.heads_after(2) == dict(scenario.heads)
    assert [scenario.classes_after("letter", experience) for experience in range(3)] == [2, 3, 4]


@given(st.permutations(ORDER), st.integers(2, 4))
def test_what_was_there_stays_where_it_is(order: list[str], experiences: int) -> None:
    scenario = class_incremental(letters(), letter_heads(), experiences=experiences, order=order)
    names = [scenario.heads_after(number)["letter"].to_dict()["id2label"] for number in range(experiences)]
    for earlier, later in pairwise(names):
        assert list(later.items())[: len(earlier)] == list(earlier.items())
        assert len(later) > len(earlier)
    assert list(names[-1].values()) == order


def test_the_configs_are_copies() -> None:
    scenario = three_tasks()
    scenario.heads_after(1)["mood"].metrics = ["f1_micro"]
    assert scenario.heads["mood"].metrics is None


def test_class_weights_go_with_their_classes() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    scenario = class_incremental(letters(), letter_heads(class_weights=weights), experiences=2, order=ORDER)
    assert [scenario.heads_after(experience)["letter"].to_dict()["class_weights"] for experience in range(2)] == [
        [3.0, 1.0],
        [3.0, 1.0, 4.0, 2.0],
    ]


def test_heads_join_in_the_order_of_the_experiences() -> None:
    scenario = three_tasks()
    assert [list(scenario.heads_after(experience)) for experience in range(3)] == [
        ["letter"],
        ["letter", "mood"],
        ["letter", "mood"],
    ]
    assert [scenario.classes_after("mood", experience) for experience in range(3)] == [0, 2, 2]
    assert scenario.classes_after("letter", 0) == 4


def test_a_head_without_classes_has_none() -> None:
    tasks = {name: task_of("stars", train=labelled([1, 2], "numbers")) for name in ("x", "y")}
    scenario = domain_incremental(tasks, {"stars": get_head_config("stars", {"head_type": "regression"})})
    assert scenario.classes_after("stars", 1) == 0


def test_which_scores_can_be_measured() -> None:
    yes, no = True, False
    assert answerable(growing()) == [[yes, no, no], [yes, no, no], [yes, yes, no], [yes, yes, yes]]
    own_heads = task_incremental(letters(), letter_heads(), experiences=3, order=ORDER)
    assert answerable(own_heads) == [[yes, no, no], [yes, no, no], [yes, yes, no], [yes, yes, yes]]
    assert answerable(three_tasks()) == [[yes, no, yes], [yes, no, yes], [yes, yes, yes], [yes, yes, yes]]
    domains = domain_incremental({name: letters()["alphabet"] for name in "xyz"}, letter_heads())
    assert answerable(domains) == [[yes, yes, yes]] * 4


def test_there_is_no_other_experience() -> None:
    scenario = growing()
    with pytest.raises(InputError, match="class_incremental: expected an experience from 0 to 2, found 3"):
        scenario.heads_after(3)
    with pytest.raises(InputError, match="from 0 to 2, found -1"):
        scenario.classes_after("letter", -1)
    with pytest.raises(InputError, match="from -1 to 2, found -2"):
        scenario.can_answer(-2, 0)
    with pytest.raises(InputError, match="from 0 to 2, found -1"):
        scenario.can_answer(0, -1)
    with pytest.raises(InputError, match="unknown head 'lettre', did you mean 'letter'"):
        scenario.classes_after("lettre", 0)


# what it refuses


def experience(**changes: Any) -> Experience:
    """An experience of `letters` with its first rows."""
    fields = {"name": "one", "rows": {"alphabet": {"train": np.arange(3)}}, "heads": ("letter",), "labels": {}}
    return Experience(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "one-two"}, "experience 'one-two': expected an identifier"),
        ({"name": "two"}, "experience 'two': expected a name of its own, found it 2 times"),
        ({"heads": ()}, "experience 'one': expected at least one head, found none"),
        ({"heads": ("mood",)}, "experience 'one': unknown head 'mood'"),
        ({"labels": {"mood": ("good",)}}, "experience 'one', labels: unknown head 'mood'"),
        ({"rows": {"moods": {"train": np.arange(1)}}}, "experience 'one': unknown task 'moods'"),
        ({"rows": {"alphabet": {"dev": np.arange(1)}}}, "experience 'one', task 'alphabet': unknown split 'dev'"),
        ({"rows": {"alphabet": {"test": np.arange(1)}}}, "experience 'one': expected at least one training row"),
        ({"rows": {}}, "experience 'one': expected at least one training row"),
        ({"rows": {"alphabet": {"train": np.arange(0)}}}, "task 'alphabet', split 'train': expected numbers of its 7"),
        ({"rows": {"alphabet": {"train": np.array([1, 0])}}}, "expected numbers of its 7 rows, ascending, int64, at"),
        ({"rows": {"alphabet": {"train": np.array([0, 0])}}}, "expected numbers of its 7 rows"),
        ({"rows": {"alphabet": {"train": np.array([0, 7])}}}, "expected numbers of its 7 rows"),
        ({"rows": {"alphabet": {"train": np.array([-1, 0])}}}, "expected numbers of its 7 rows"),
        ({"rows": {"alphabet": {"train": np.array([0.0])}}}, "expected numbers of its 7 rows"),
        ({"rows": {"alphabet": {"train": np.array([1, 0], dtype=np.uint8)}}}, "expected numbers of its 7 rows"),
        ({"rows": {"alphabet": {"train": np.array([[0, 1]])}}}, "expected numbers of its 7 rows"),
        (
            {"labels": {"letter": ("a", "b")}},
            r"head 'letter': expected the classes .*\['a', 'b'\], found \['a', 'b', ",
        ),
    ],
)
def test_an_experience_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scenario(
            kind="domain_incremental",
            tasks=letters(),
            heads=letter_heads(),
            experiences=(experience(**changes), experience(name="two")),
        )


def test_a_scenario_that_cannot_be() -> None:
    with pytest.raises(InputError, match="domain_incremental: expected at least two experiences, found 1"):
        Scenario(kind="domain_incremental", tasks=letters(), heads=letter_heads(), experiences=(experience(),))
    with pytest.raises(InputError, match="scenario: unknown kind 'class_incrementel', did you mean"):
        replace(growing(), kind="class_incrementel")


def test_only_a_head_that_chooses_one_class_grows() -> None:
    brings = experience(labels={"letter": ("a",)})
    heads = {"letter": get_head_config("letter", {"head_type": "token_classification", "id2label": ["a"]})}
    others = {"tasks": letters(), "experiences": (brings, experience(name="two"))}
    with pytest.raises(InputError, match="head 'letter': expected sequence_classification"):
        Scenario(kind="class_incremental", heads=heads, **others)


# state


def test_the_state_is_json_and_says_what_is_divided_how() -> None:
    state = growing().state()
    assert json.loads(json.dumps(state)) == state
    assert (state["kind"], state["classes"]) == ("class_incremental", {"letter": ORDER})
    second = state["experiences"][1]
    assert (second["name"], second["heads"], second["labels"]) == ("experience_01", ["letter"], {"letter": ["d"]})
    assert {split: found["count"] for split, found in second["rows"]["alphabet"].items()} == {"train": 2, "test": 2}


def test_equal_scenarios_have_no_difference() -> None:
    assert difference(json.loads(json.dumps(growing().state())), growing().state()) is None


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (growing(order=["c", "a", "b", "d"]), "classes, letter, 2 was 'd', is 'b'."),
        (growing(experiences=2), "experiences, 1, labels, letter, length was 1, is 2."),
        (three_tasks(), "kind was 'class_incremental', is 'new_heads'."),
    ],
)
def test_the_first_difference_is_named(other: Scenario, sentence: str) -> None:
    assert difference(growing().state(), other.state()) == f"The scenario is another one: {sentence}"


def test_other_rows_are_a_difference() -> None:
    rows = {"alphabet": {"train": np.array([0, 1, 3])}}
    before, now = (
        Scenario(
            kind="domain_incremental",
            tasks=letters(),
            heads=letter_heads(),
            experiences=(first, experience(name="two")),
        ).state()
        for first in (experience(), experience(rows=rows))
    )
    found = difference(before, now)
    assert found is not None
    assert found.startswith("The scenario is another one: experiences, 0, rows, alphabet, train, hash was '")


def test_what_lacks_is_a_difference() -> None:
    state = growing().state()
    assert difference({**state, "kind": None}, state) == (
        "The scenario is another one: kind was missing, is 'class_incremental'."
    )
    assert difference({}, state) is not None
    assert difference(state, {}) is not None
