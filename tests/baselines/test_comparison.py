"""Differences, relative changes and their mean, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from training.recipes import write_recipe

from mt_transformers.baselines.comparison import Comparison, compare, mean_relative_change
from mt_transformers.baselines.costs import Cost, inference_cost, training_cost
from mt_transformers.baselines.run_result import RunResult
from mt_transformers.baselines.runs import BaselineRun
from mt_transformers.training import LoadedRecipe, load_recipe, read_recipe

TASKS = ["requests", "moods", "tempers"]
Changes = dict[str, Any]


def pair(**changes: Any) -> Comparison:
    given: Changes = {"task": "t", "head": "h", "metric": "accuracy", "sign": 1, "other": (0.5,), "multi": (0.6,)}
    return Comparison(**{**given, **changes})


def test_differences_and_changes_by_seed() -> None:
    found = pair(other=(0.5, 0.8), multi=(0.6, 0.6))
    assert found.differences == pytest.approx([0.1, -0.2])
    assert found.relative_changes == pytest.approx([0.2, -0.25])
    assert found.is_worse


def test_lower_is_better_for_some() -> None:
    found = pair(sign=-1, other=(2.0,), multi=(1.5,))
    assert found.differences == [-0.5]
    assert found.relative_changes == [0.25]
    assert not found.is_worse
    # a correlation below 0 that rises
    assert pair(other=(-0.5,), multi=(-0.25,)).relative_changes == [0.5]


@pytest.mark.parametrize(
    ("other", "multi", "expected"),
    [
        ((0.5,), (0.4,), False),
        ((0.5, 0.5), (0.5, 0.4), True),
        ((0.5, 0.5), (0.45, 0.4), False),
        ((0.5, 0.5), (0.5, 0.5), True),
    ],
)
def test_a_difference_within_that_of_the_seeds(
    other: tuple[float, ...], multi: tuple[float, ...], expected: bool
) -> None:
    assert pair(other=other, multi=multi).is_within_deviation is expected


def test_a_head_that_is_0_alone_does_not_count() -> None:
    nothing = pair(other=(0.0, 0.5), multi=(0.3, 0.5))
    assert math.isnan(nothing.relative_changes[0])
    assert mean_relative_change([nothing, pair(other=(0.5, 0.5), multi=(0.6, 0.7))]) == pytest.approx([0.2, 0.2])
    assert math.isnan(mean_relative_change([pair(other=(0.0,), multi=(0.3,))])[0])


@pytest.fixture
def loaded(tmp_path: Path, values: dict[str, Any]) -> LoadedRecipe:
    values["heads"]["temper"]["metrics"] = ["f1_macro"]
    return load_recipe(read_recipe(write_recipe(tmp_path, values)))


def result(seconds: float | None = 1.0, **scores: float) -> RunResult:
    metrics = {
        "test_requests_intent_accuracy": scores.get("intent", 0.5),
        "test_requests_slots_entity_f1": scores.get("slots", 0.5),
        "test_moods_mood_accuracy": scores.get("mood", 0.5),
        "test_tempers_temper_f1_macro": scores.get("temper", 0.5),
    }
    return RunResult(metrics=metrics, seconds=seconds, num_parameters=10)


def multi(seed: int) -> BaselineRun:
    return BaselineRun(kind="multi", seed=seed)


def single(task: str, seed: int) -> BaselineRun:
    return BaselineRun(kind="single", task=task, seed=seed)


def test_runs_are_compared_seed_by_seed(loaded: LoadedRecipe) -> None:
    results = {
        multi(0): result(intent=0.9, slots=0.8, mood=0.7),
        multi(1): result(intent=0.8, mood=0.6),
        single("requests", 0): result(intent=0.6, slots=0.4),
        single("moods", 1): result(mood=0.4),
        single("moods", 0): result(mood=0.5),
        BaselineRun(kind="without", task="moods", seed=0): result(temper=0.25),
    }
    found = {(each.left_out, each.task, each.head): each for each in compare(results, loaded, TASKS, "test")}
    assert list(found) == [
        (None, "requests", "intent"),
        (None, "requests", "slots"),
        (None, "moods", "mood"),
        ("moods", "requests", "intent"),
        ("moods", "requests", "slots"),
        ("moods", "tempers", "temper"),
    ]
    intent, mood = found[None, "requests", "intent"], found[None, "moods", "mood"]
    assert (intent.metric, intent.other, intent.multi) == ("accuracy", (0.6,), (0.9,))
    # each seed beside itself, whatever order they came in
    assert (mood.other, mood.multi) == ((0.4, 0.5), (0.6, 0.7))
    temper = found["moods", "tempers", "temper"]
    assert (temper.metric, temper.other, temper.multi) == ("f1_macro", (0.25,), (0.5,))


def test_cost_of_training_is_that_of_whole_seeds() -> None:
    results = {
        multi(0): result(seconds=10.0),
        single("a", 0): result(seconds=3.0),
        single("b", 0): result(seconds=5.0),
        multi(1): result(seconds=20.0),
        single("a", 1): result(seconds=7.0),
        single("b", 1): result(seconds=9.0),
    }
    assert training_cost(results, ["a", "b"]) == Cost(single=12.0, multi=15.0)
    # one of them was interrupted, so that its time is not known
    assert training_cost({**results, single("b", 1): result(seconds=None)}, ["a", "b"]) == Cost(single=8.0, multi=10.0)
    assert training_cost({multi(0): result(seconds=1.0)}, ["a", "b"]) is None


def test_one_model_answers_sooner_than_one_for_each_task(loaded: LoadedRecipe) -> None:
    found = inference_cost(loaded, TASKS, "test")
    assert 0 < found.multi < found.single
