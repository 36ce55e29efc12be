"""The table of a mixture: numbers worked out by hand, and that it says what the sampler does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.data import Mixture, MultiTaskBatchSampler, TaskPlan, plan_mixture
from mt_transformers.errors import InputError

Arguments = st.SearchStrategy[dict[str, Any]]

HEADS = {"a": ["x"], "b": ["y"]}


def with_drop_last(arguments: dict[str, Any], drop_last: bool) -> dict[str, Any]:
    """The arguments with `drop_last`, unless that leaves no batch."""
    try:
        MultiTaskBatchSampler(**arguments, drop_last=drop_last)
    except InputError:
        return arguments
    return {**arguments, "drop_last": drop_last}


def test_the_table_of_a_small_mixture() -> None:
    # the batches are [a a a a] [a a b b]
    plan = plan_mixture({"a": 6, "b": 2}, Mixture(order="sequential"), 4, HEADS)
    assert plan.tasks == [
        TaskPlan(task_name="a", rows=6, share=0.75, rows_per_epoch=6, batches=2, repeats=1.0, never_seen=0),
        TaskPlan(task_name="b", rows=2, share=0.25, rows_per_epoch=2, batches=1, repeats=1.0, never_seen=0),
    ]
    assert plan.batches == 2
    assert plan.head_weights == {"x": 1.0, "y": 0.5}


@pytest.mark.parametrize(
    ("sizes", "kind", "batch_size", "options", "expected"),
    [
        # [a a a a] [a a b b]
        ((6, 2), "mixed", 4, {"per_row": True}, (0.75, 0.25)),
        ((6, 2), "mixed", 4, {"loss_weights": {"y": 3.0}}, (1.0, 1.5)),
        ((6, 2), "mixed", 4, {"loss_weights": {"x": 0.0, "y": 2.0}, "per_row": True}, (0.0, 0.5)),
        # both batches in one step
        ((6, 2), "mixed", 4, {"gradient_accumulation_steps": 2}, (1.0, 1.0)),
        ((6, 2), "mixed", 4, {"gradient_accumulation_steps": 2, "per_row": True}, (0.75, 0.25)),
        # two processes of 2 rows make the same steps as one of 4
        ((6, 2), "mixed", 2, {"num_processes": 2}, (1.0, 0.5)),
        ((6, 2), "mixed", 2, {"num_processes": 2, "per_row": True}, (0.75, 0.25)),
        # [a a] [a a] | [a a] [b b]
        ((6, 2), "mixed", 2, {"gradient_accumulation_steps": 2}, (1.0, 0.5)),
        # [a a] [a a] [a a] [b b]
        ((6, 2), "homogeneous", 2, {}, (0.75, 0.25)),
        ((6, 2), "homogeneous", 2, {"per_row": True}, (0.75, 0.25)),
        # [a a] [a a] [a a] | [b b]
        ((6, 2), "homogeneous", 2, {"gradient_accumulation_steps": 3}, (0.5, 0.5)),
        # [a a a a] [a b]: a mean over steps, not over rows
        ((5, 1), "mixed", 4, {"per_row": True}, (0.75, 0.25)),
        # [a a a a], the rest left out
        ((5, 1), "mixed", 4, {"drop_last": True}, (1.0, 0.0)),
    ],
)
def test_head_weights(sizes: tuple, kind: Any, batch_size: int, options: dict, expected: tuple) -> None:
    by_name = dict(zip("ab", sizes, strict=True))
    plan = plan_mixture(by_name, Mixture(order="sequential", batches=kind), batch_size, HEADS, **options)
    assert plan.head_weights == {"x": pytest.approx(expected[0]), "y": pytest.approx(expected[1])}


def test_a_head_of_two_tasks_counts_the_rows_of_both() -> None:
    heads = {"a": ["x", "z"], "b": ["z"], "c": ["y"]}
    # [a a] [b b] [c c] [c c]
    sizes, mixture = {"a": 2, "b": 2, "c": 4}, Mixture(order="sequential")
    assert plan_mixture(sizes, mixture, 2, heads).head_weights == {"x": 0.25, "z": 0.5, "y": 0.5}
    # [a a b b] [c c c c]
    assert plan_mixture(sizes, mixture, 4, heads, per_row=True).head_weights == {"x": 0.25, "z": 0.5, "y": 0.5}


def test_repeats() -> None:
    plan = plan_mixture({"a": 8, "b": 2}, Mixture(sampling="uniform"), 4, HEADS)
    assert [(task.repeats, task.rows_per_epoch, task.share) for task in plan.tasks] == [(1.0, 8, 0.5), (4.0, 8, 0.5)]


@pytest.mark.parametrize(("num_epochs", "never_seen"), [(1, [6, 0]), (3, [2, 0]), (4, [0, 0])])
def test_never_seen(num_epochs: int, never_seen: list[int]) -> None:
    # two rows of each task in an epoch
    mixture = Mixture(sampling="uniform", instances_per_epoch=4)
    plan = plan_mixture({"a": 8, "b": 2}, mixture, 4, HEADS, num_epochs=num_epochs)
    assert [task.never_seen for task in plan.tasks] == never_seen


@pytest.mark.parametrize(
    ("sizes", "options", "num_epochs", "never_seen"),
    [
        # [a a a a] in every epoch, b is always left out
        ((4, 1), {"order": "sequential"}, 5, [0, 1]),
        # a task without a full batch of its own
        ((8, 3), {"batches": "homogeneous"}, 5, [0, 3]),
        # [a a a a] [b b b b], one a left out
        ((5, 4), {"batches": "homogeneous"}, 1, [1, 0]),
    ],
)
def test_never_seen_with_drop_last(sizes: tuple, options: dict, num_epochs: int, never_seen: list[int]) -> None:
    by_name = dict(zip("ab", sizes, strict=True))
    plan = plan_mixture(by_name, Mixture(**options), 4, HEADS, num_epochs=num_epochs, drop_last=True)
    assert [task.never_seen for task in plan.tasks] == never_seen


def test_rows_that_every_epoch_leaves_out_are_counted() -> None:
    # 4 of 6 rows an epoch are 8 in two, yet the same row may be left out twice
    found = set()
    for seed in range(10):
        sampler, seen = MultiTaskBatchSampler({"a": 6}, Mixture(), 4, seed, drop_last=True), set()
        for epoch in range(2):
            sampler.set_epoch(epoch)
            seen.update(row for batch in sampler for row in batch)
        plan = plan_mixture({"a": 6}, Mixture(), 4, {"a": ["x"]}, num_epochs=2, seed=seed, drop_last=True)
        assert plan.tasks[0].never_seen == 6 - len(seen)
        found.add(plan.tasks[0].never_seen)
    assert {0, 1} <= found


@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
@pytest.mark.parametrize("per_row", [False, True])
def test_rows_that_fill_up_are_not_counted(kind: Any, per_row: bool) -> None:
    # [a a] [a a] | [b] and one without labels
    mixture = Mixture(order="sequential", batches=kind)
    plan = plan_mixture({"a": 4, "b": 1}, mixture, 2, HEADS, num_processes=2, per_row=per_row)
    assert plan.tasks == [
        TaskPlan(task_name="a", rows=4, share=0.8, rows_per_epoch=4, batches=2, repeats=1.0, never_seen=0),
        TaskPlan(task_name="b", rows=1, share=0.2, rows_per_epoch=1, batches=1, repeats=1.0, never_seen=0),
    ]
    assert (plan.batches, plan.head_weights) == (2, {"x": 0.5, "y": 0.5})


def test_rows_that_fill_up_have_no_part_in_a_step() -> None:
    # [a] [a] | [b] _, all in one step
    plan = plan_mixture(
        {"a": 2, "b": 1},
        Mixture(order="sequential"),
        1,
        HEADS,
        num_processes=2,
        gradient_accumulation_steps=2,
        per_row=True,
    )
    assert plan.head_weights == {"x": pytest.approx(2 / 3), "y": pytest.approx(1 / 3)}


@pytest.mark.parametrize(("num_epochs", "never_seen"), [(1, 4), (2, 1), (3, 0)])
def test_rows_that_fill_up_are_not_seen(num_epochs: int, never_seen: int) -> None:
    # 3 of 7 rows in an epoch of two steps, the last batch without labels
    plan = plan_mixture(
        {"a": 7}, Mixture(instances_per_epoch=3), 1, {"a": ["x"]}, num_epochs=num_epochs, num_processes=2
    )
    assert (plan.batches, plan.tasks[0].never_seen) == (2, never_seen)


def test_a_task_of_weight_0() -> None:
    mixture = Mixture(sampling="weighted", weights={"a": 1, "b": 0})
    plan = plan_mixture({"a": 4, "b": 3}, mixture, 2, HEADS)
    assert plan.tasks[1] == TaskPlan(
        task_name="b", rows=3, share=0.0, rows_per_epoch=0, batches=0, repeats=0.0, never_seen=3
    )
    assert plan.head_weights == {"x": 1.0, "y": 0.0}


@pytest.mark.parametrize(("num_processes", "batches", "of_a", "of_b"), [(1, 4, 3, 1), (2, 2, 3, 1)])
def test_batches_are_counted_on_one_process_and_over_all(
    num_processes: int, batches: int, of_a: int, of_b: int
) -> None:
    mixture = Mixture(order="sequential")
    plan = plan_mixture({"a": 6, "b": 2}, mixture, 2, HEADS, num_processes=num_processes)
    assert (plan.batches, [task.batches for task in plan.tasks]) == (batches, [of_a, of_b])


def test_the_seed_is_that_of_the_sampler() -> None:
    sizes, found = {"a": 12, "b": 6}, set()
    for seed in range(8):
        batches = list(MultiTaskBatchSampler(sizes, Mixture(), 2, seed))
        of_b = sum(any(row >= 12 for row in batch) for batch in batches)
        assert plan_mixture(sizes, Mixture(), 2, HEADS, seed=seed).tasks[1].batches == of_b
        found.add(of_b)
    assert len(found) > 1


@given(data=st.data(), drop_last=st.booleans())
def test_the_plan_is_what_the_sampler_does(sampler_arguments: Arguments, data: st.DataObject, drop_last: bool) -> None:
    arguments = with_drop_last(data.draw(sampler_arguments), drop_last)
    sizes, num_processes = arguments["sizes"], arguments["num_processes"]
    plan = plan_mixture(**arguments, heads={name: [f"head_{name}"] for name in sizes})
    batches = list(MultiTaskBatchSampler(**arguments))
    names = [name for name, size in sizes.items() for _ in range(size)]
    # negative numbers fill up a batch and train nothing
    batches = [[row for row in batch if row >= 0] for batch in batches]
    rows = Counter(names[row] for batch in batches for row in batch)
    if not arguments.get("drop_last"):
        assert {name: rows[name] for name in sizes} == arguments["mixture"].rows_per_epoch(sizes)
    steps = [
        [row for batch in batches[first : first + num_processes] for row in batch]
        for first in range(0, len(batches), num_processes)
    ]
    assert plan.batches == len(steps)
    assert [task.task_name for task in plan.tasks] == list(sizes)
    for task in plan.tasks:
        name = task.task_name
        assert (task.rows, task.rows_per_epoch) == (sizes[name], rows[name])
        assert task.share == pytest.approx(rows[name] / sum(rows.values()))
        assert task.repeats == pytest.approx(rows[name] / sizes[name])
        assert task.batches == sum(any(names[row] == name for row in batch) for batch in batches)
        serving = sum(any(names[row] == name for row in step) for step in steps)
        assert plan.head_weights[f"head_{name}"] == pytest.approx(serving / len(steps))
    per_row = plan_mixture(**arguments, heads={name: [f"head_{name}"] for name in sizes}, per_row=True).head_weights
    for name in sizes:
        parts = [sum(names[row] == name for row in step) / len(step) for step in steps]
        assert per_row[f"head_{name}"] == pytest.approx(sum(parts) / len(parts))


@given(data=st.data())
def test_the_plan_of_many_processes_is_that_of_one(sampler_arguments: Arguments, data: st.DataObject) -> None:
    arguments = data.draw(sampler_arguments)
    heads = {name: [f"head_{name}"] for name in arguments["sizes"]}
    batch_size = arguments["batch_size"] * arguments["num_processes"]
    for per_row in (False, True):
        many = plan_mixture(**arguments, heads=heads, per_row=per_row)
        one = plan_mixture(**{**arguments, "batch_size": batch_size, "num_processes": 1}, heads=heads, per_row=per_row)
        assert (many.batches, many.head_weights) == (one.batches, pytest.approx(one.head_weights))
        # the batches are counted over all processes
        assert [replace(task, batches=0) for task in many.tasks] == [replace(task, batches=0) for task in one.tasks]


@pytest.mark.parametrize("drop_last", [False, True])
@given(data=st.data(), num_epochs=st.integers(1, 4))
def test_never_seen_is_what_no_epoch_of_the_run_sees(
    sampler_arguments: Arguments, data: st.DataObject, drop_last: bool, num_epochs: int
) -> None:
    arguments = with_drop_last(data.draw(sampler_arguments), drop_last)
    sampler, seen = MultiTaskBatchSampler(**arguments), set()
    for epoch in range(num_epochs):
        sampler.set_epoch(epoch)
        seen.update(row for batch in sampler for row in batch if row >= 0)
    names = [name for name, size in arguments["sizes"].items() for _ in range(size)]
    left = Counter(names[row] for row in range(len(names)) if row not in seen)
    heads = {name: ["x"] for name in arguments["sizes"]}
    plan = plan_mixture(**arguments, heads=heads, num_epochs=num_epochs)
    assert {task.task_name: task.never_seen for task in plan.tasks} == {name: left[name] for name in heads}
