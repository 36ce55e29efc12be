"""Tables for a terminal, letter by letter."""

from __future__ import annotations

from mt_transformers.cli.table import format_plan, format_results, format_table
from mt_transformers.data import MixturePlan, TaskPlan
from mt_transformers.heads import get_head_config


def test_numbers_stand_right_and_text_left() -> None:
    text = format_table(["name", "rows", "share"], [["a", 5, 0.5], ["longer", 1400, 0.25]])
    assert text.split("\n") == [
        "name    rows  share",
        "------  ----  -----",
        "a          5    0.5",
        "longer  1400   0.25",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert format_table(["task", "rows"], []) == "task  rows\n----  ----"


def test_the_plan_has_a_line_for_each_task_and_head() -> None:
    task = TaskPlan(task_name="a", rows=6, share=0.75, rows_per_epoch=6, batches=2, repeats=1.0, never_seen=0)
    other = TaskPlan(task_name="bcd", rows=20, share=0.25, rows_per_epoch=2, batches=1, repeats=0.1, never_seen=18)
    plan = MixturePlan(tasks=[task, other], head_weights={"x": 1.0, "y": 0.5}, batches=2)
    assert format_plan(plan).split("\n") == [
        "task  rows  share  rows/epoch  batches  repeats  never seen",
        "----  ----  -----  ----------  -------  -------  ----------",
        "a        6  0.750           6        2     1.00           0",
        "bcd     20  0.250           2        1     0.10          18",
        "",
        "2 batches an epoch on one process",
        "",
        "head  effective weight",
        "----  ----------------",
        "x                1.000",
        "y                0.500",
    ]


def test_the_results_have_a_line_for_each_head_of_each_task() -> None:
    head = get_head_config("x", {"head_type": "sequence_classification", "num_labels": 2})
    results = {
        "eval_a_x_accuracy": 0.5,
        "eval_a_x_f1_macro": 0.25,
        "eval_b_x_accuracy": 1.0,
        "test_a_x_accuracy": 0.9,
        "eval_score": 0.75,
        "eval_loss": 1.5,
    }
    text = format_results(results, {"a": ["x"], "b": ["x"], "c": ["y"]}, {"x": head, "y": head}, "eval")
    assert text.split("\n") == [
        "task  head  eval metrics",
        "----  ----  --------------------------------",
        "a     x     accuracy 0.5000, f1_macro 0.2500",
        "b     x     accuracy 1.0000",
        "",
        "eval_score 0.7500, eval_loss 1.5000",
    ]
