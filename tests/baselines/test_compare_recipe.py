"""From a recipe to the report: all runs on real input, and what is refused before any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training.recipes import write_recipe

from mt_transformers.baselines import BaselineReport, BaselineRun, run_baselines
from mt_transformers.errors import InputError
from mt_transformers.training import load_recipe, read_recipe


def compared(folder: Path, values: dict[str, Any], *args: Any, **kwargs: Any) -> BaselineReport:
    return run_baselines(load_recipe(read_recipe(write_recipe(folder, values))), *args, **kwargs)


def test_all_runs(tmp_path: Path, values: dict[str, Any]) -> None:
    told: list[tuple[int, int, str, bool]] = []

    def tell(number: int, count: int, run: BaselineRun, is_done: bool) -> None:
        told.append((number, count, run.name, is_done))

    values["training"] |= {"seed": 3, "conflict_steps": 2}
    report = compared(tmp_path, values, 2, leave_one_out=True, on_run=tell)
    assert [name for _, _, name, _ in told[:7]] == [
        "multi-seed3",
        *(f"{kind}-{task}-seed3" for kind in ("single", "without") for task in ("requests", "moods", "tempers")),
    ]
    assert [number for number, _, _, _ in told] == list(range(1, 15))
    assert {(count, is_done) for _, count, _, is_done in told} == {(14, False)}
    assert (report.split, report.seeds) == ("validation", [3, 4])
    assert [(each.task, each.head, len(each.multi)) for each in report.comparisons] == [
        ("requests", "intent", 2),
        ("requests", "slots", 2),
        ("moods", "mood", 2),
        ("tempers", "temper", 2),
    ]
    assert len(report.left_out) == 3 * 4 - 4
    assert report.rows_seen == {"requests": 16, "moods": 8, "tempers": 8}
    # the backbone is three times there
    assert 2 < report.num_parameters.single / report.num_parameters.multi < 3
    assert report.training is not None
    # nothing is repeated
    told.clear()
    again = compared(tmp_path, values, 2, leave_one_out=True, on_run=tell)
    assert {is_done for _, _, _, is_done in told} == {True}
    assert (again.comparisons, again.training) == (report.comparisons, report.training)


@pytest.mark.parametrize(
    ("kept", "asked", "found"),
    [
        (("train", "validation", "test"), None, "validation"),
        (("train", "validation", "test"), "test", "test"),
        (("train", "test"), None, "test"),
    ],
)
def test_the_split(
    kept: tuple[str, ...], asked: str | None, found: str, tmp_path: Path, values: dict[str, Any]
) -> None:
    files = values["tasks"]["moods"]["dataset"]["data_files"]
    values["tasks"]["moods"]["dataset"]["data_files"] = {name: files[name] for name in kept}
    values["training"]["max_steps"] = 2
    assert compared(tmp_path, values, split=asked).split == found


def test_a_task_without_training_rows_is_left_out(tmp_path: Path, values: dict[str, Any]) -> None:
    del values["tasks"]["tempers"]["dataset"]["data_files"]["train"]
    values["tasks"]["tempers"]["labels"] = {"mood": "label"}
    del values["heads"]["temper"]
    values["training"]["max_steps"] = 2
    report = compared(tmp_path, values)
    assert list(report.rows_seen) == ["requests", "moods"]
    assert {each.task for each in report.comparisons} == {"requests", "moods"}


@pytest.mark.parametrize(
    ("change", "kwargs", "message"),
    [
        ({}, {"num_seeds": 0}, "seeds: expected a number of at least 1, found 0"),
        ({}, {"split": "train"}, "split: expected one of validation, test, found 'train'"),
        ({"mixture": {"sampling": "dynamic"}}, {}, "dynamic shares follow the scores"),
        ({"experiences": {"scenario": "new_tasks"}}, {}, "experiences: tasks that are learnt one after another"),
    ],
)
def test_what_is_refused(
    change: dict[str, Any], kwargs: dict[str, Any], message: str, tmp_path: Path, values: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=message):
        compared(tmp_path, {**values, **change}, **kwargs)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"balancing": "krum"}, "without-requests-seed42|krum"),
        ({"balancing": "sum", "fp16": True}, "balancing: 'sum' compares gradients, which fp16 scales"),
    ],
)
def test_methods_are_checked_before_any_training(
    change: dict[str, Any], message: str, tmp_path: Path, values: dict[str, Any]
) -> None:
    """Leaving a task out may leave too few for a method."""
    pytest.importorskip("torchjd")
    values["training"] |= change
    with pytest.raises(InputError, match=message):
        compared(tmp_path, values, leave_one_out=True)
    assert not (tmp_path / "out").exists()


def test_a_split_that_a_task_lacks(tmp_path: Path, values: dict[str, Any]) -> None:
    del values["tasks"]["moods"]["dataset"]["data_files"]["test"]
    with pytest.raises(InputError, match="task 'moods': it has no test split to be measured on"):
        compared(tmp_path, values, split="test")


def test_runs_of_another_recipe_are_refused_before_any_training(tmp_path: Path, values: dict[str, Any]) -> None:
    values["training"]["max_steps"] = 1
    compared(tmp_path, values)
    (tmp_path / "out" / "multi-seed42" / "run.json").unlink()
    values["training"]["learning_rate"] = 0.5
    with pytest.raises(InputError, match="out/multi-seed42: a run of another recipe is there"):
        compared(tmp_path, values)
