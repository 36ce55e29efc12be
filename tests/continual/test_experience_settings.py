"""What of a run's settings holds for one experience."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from continual_streams import class_stream, head_stream
from mt_transformers import Mixture, MultiTaskTrainingArguments
from mt_transformers.continual.experience_settings import arguments_for, check_run, mixture_for
from mt_transformers.continual.scenario import Scenario
from mt_transformers.errors import InputError


def arguments(folder: Path, **given: Any) -> MultiTaskTrainingArguments:
    return MultiTaskTrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[], **given)


def test_settings_of_heads_that_are_not_there_yet_are_left_out(tmp_path: Path) -> None:
    rates = {"backbone": 1e-5, "heads": 1e-3, "a": 1e-2, "b": 2e-2}
    args = arguments(tmp_path, learning_rates=rates, weight_decays={"b": 0.1}, freeze_until={"a": 3})
    own = arguments_for(args, ["a"], seed=7, output_dir="elsewhere")
    assert own.learning_rates == {"backbone": 1e-5, "heads": 1e-3, "a": 1e-2}
    assert (own.weight_decays, own.freeze_until, own.seed, own.output_dir) == ({}, {"a": 3}, 7, "elsewhere")
    assert (args.learning_rates, args.seed, args.output_dir) == (rates, 42, str(tmp_path))


def test_settings_of_other_tasks_are_left_out() -> None:
    mixture = Mixture(sampling="weighted", weights={"a": 1.0, "b": 2.0}, batches="homogeneous", batch_sizes={"b": 4})
    assert mixture_for(mixture, ["a"]) == replace(mixture, weights={"a": 1.0}, batch_sizes={})
    assert mixture_for(mixture, ["a", "b"]) == mixture
    assert mixture_for(None, ["a"]) is None
    assert mixture_for(Mixture(), ["a"]) == Mixture()


def without_validation(scenario: Scenario) -> Scenario:
    """Rows of the test split as validation rows, but for the last experience."""
    tasks = {
        name: replace(task, dataset={**task.dataset, "validation": task.dataset["test"]})
        for name, task in scenario.tasks.items()
    }
    experiences = [
        replace(each, rows={name: {**rows, "validation": rows["test"]} for name, rows in each.rows.items()})
        for each in scenario.experiences[:-1]
    ]
    return replace(scenario, tasks=tasks, experiences=(*experiences, scenario.experiences[-1]))


@pytest.mark.parametrize(
    ("given", "mixture", "loss_weights", "message"),
    [
        ({"balancing": "uw"}, None, {}, "balancing: expected none beside experiences, whose heads come one after an"),
        (
            {"conflict_steps": 5},
            None,
            {},
            "conflict_steps: expected none beside experiences",
        ),
        (
            {"learning_rates": {"mood_head": 1e-3}},
            None,
            {},
            "learning_rates: unknown component 'mood_head', did you m",
        ),
        ({}, None, {"mood_head": 1.0}, "loss_weights: unknown head 'mood_head', did you mean 'moods_head'"),
        ({}, Mixture(batches="homogeneous", batch_sizes={"nams": 1}), {}, "mixture, batch_sizes: unknown task 'nams'"),
        (
            {},
            Mixture(sampling="weighted", weights={"names": 1.0}),
            {},
            "a weight for each task, found none for 'moods'",
        ),
        ({"eval_strategy": "epoch"}, None, {}, "eval_strategy: experience 'moods' has no validation rows"),
        ({"fsdp": True}, None, {}, "fsdp: .*use DDP"),
    ],
)
def test_what_an_experience_would_stumble_over_is_refused(
    given: dict[str, Any], mixture: Mixture | None, loss_weights: dict[str, float], message: str, tmp_path: Path
) -> None:
    scenario = without_validation(head_stream())
    with pytest.raises(InputError, match=message):
        check_run(arguments(tmp_path, **given), mixture, loss_weights, scenario)


def test_accelerate_may_not_shard_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(tmp_path)
    check_run(args, None, {}, class_stream())
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match=r"fsdp: .*use DDP"):
        check_run(args, None, {}, class_stream())
