"""Each run sees the same rows of its tasks, and nothing that belongs to others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training.recipes import write_recipe

from mt_transformers.baselines.budget import measure_budget
from mt_transformers.baselines.recipes import recipe_of_run
from mt_transformers.baselines.runs import BaselineRun
from mt_transformers.errors import InputError
from mt_transformers.training import LoadedRecipe, build_trainer, load_recipe, plan_recipe, read_recipe

RUNS = [
    BaselineRun(kind="multi", seed=5),
    BaselineRun(kind="single", seed=5, task="requests"),
    BaselineRun(kind="single", seed=5, task="moods"),
    BaselineRun(kind="without", seed=5, task="moods"),
    BaselineRun(kind="without", seed=5, task="requests"),
]
ALONE, WITHOUT = RUNS[2], RUNS[3]


def of_run(run: BaselineRun, folder: Path, values: dict[str, Any], parameters: Any = ()) -> LoadedRecipe:
    loaded = load_recipe(read_recipe(write_recipe(folder, values)))
    return recipe_of_run(run, loaded, measure_budget(loaded), parameters)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
@pytest.mark.parametrize(
    "mixture",
    [
        {},
        {"sampling": "uniform"},
        {"sampling": "uniform", "stop": "first", "order": "round_robin"},
        {"sampling": "temperature", "temperature": 3.0, "instances_per_epoch": 17},
        {"batches": "homogeneous", "batch_sizes": {"moods": 3, "requests": 5}},
        {"batches": "homogeneous", "same_task_on_all_ranks": False, "order": "sequential"},
    ],
    ids=str,
)
def test_a_task_has_the_same_rows_in_every_run(
    mixture: dict[str, Any], run: BaselineRun, tmp_path: Path, values: dict[str, Any]
) -> None:
    values["mixture"] = mixture
    together = {
        task.task_name: task for task in plan_recipe(load_recipe(read_recipe(write_recipe(tmp_path, values)))).tasks
    }
    found = of_run(run, tmp_path, values)
    plan = plan_recipe(found)
    assert [task.task_name for task in plan.tasks] == run.tasks(list(together))
    for task in plan.tasks:
        assert task.rows_per_epoch == together[task.task_name].rows_per_epoch
        if mixture.get("batches") == "homogeneous":
            assert task.batches == together[task.task_name].batches
    made = found.recipe.mixture
    assert (made.order, made.batches) == (mixture.get("order", "random"), mixture.get("batches", "mixed"))
    assert made.same_task_on_all_ranks == mixture.get("same_task_on_all_ranks", True)


def test_heads_weights_and_settings_of_other_tasks_are_left_out(tmp_path: Path, values: dict[str, Any]) -> None:
    values["loss_weights"] = {"slots": 2.0, "mood": 3.0}
    values["training"] |= {
        "learning_rates": {"backbone": 1e-4, "heads": 1e-3, "intent": 2e-3, "mood": 5e-3},
        "weight_decays": {"mood": 0.1, "slots": 0.2},
        "freeze_until": {"backbone": 4, "intent": 2},
    }
    found = of_run(ALONE, tmp_path, values)
    assert list(found.heads) == list(found.recipe.heads) == ["mood"]
    assert found.recipe.loss_weights == {"mood": 3.0}
    assert found.arguments.learning_rates == {"backbone": 1e-4, "heads": 1e-3, "mood": 5e-3}
    assert found.arguments.weight_decays == {"mood": 0.1}
    # a fourth of all rows, and of all steps
    assert found.arguments.freeze_until == {"backbone": 1}
    assert (found.arguments.seed, found.arguments.output_dir) == (5, str(tmp_path / "out" / "single-moods-seed5"))
    others = of_run(WITHOUT, tmp_path, values)
    assert list(others.heads) == ["intent", "slots", "temper"]
    assert others.arguments.freeze_until == {"backbone": 3, "intent": 2}


def test_numbers_of_steps_stay_the_same_part_of_the_run(tmp_path: Path, values: dict[str, Any]) -> None:
    # 32 rows, of which 8 are moods, batches of 4, 3 epochs
    values["training"] |= {
        "num_train_epochs": 3,
        "eval_strategy": "steps",
        "eval_steps": 6,
        "save_steps": 12,
        "logging_steps": 8,
        "warmup_steps": 4,
    }
    arguments = of_run(ALONE, tmp_path, values).arguments
    found = (arguments.eval_steps, arguments.save_steps, arguments.logging_steps, arguments.warmup_steps)
    assert found == (2, 4, 2, 1)
    assert of_run(RUNS[0], tmp_path, values).arguments.eval_steps == 6
    values["training"]["warmup_steps"] = 0.1
    assert of_run(ALONE, tmp_path, values).arguments.warmup_steps == 0.1


@pytest.mark.parametrize(
    "given",
    [
        {"eval_steps": 1, "save_steps": 3},
        {"eval_steps": 3, "save_steps": 9},
        {"eval_steps": 2},
        {"eval_steps": 7, "save_steps": 7},
    ],
    ids=str,
)
def test_the_best_model_is_found_in_runs_of_fewer_tasks(
    given: dict[str, int], tmp_path: Path, values: dict[str, Any]
) -> None:
    """Each number of evaluations between two that are saved stays, whatever the rounding."""
    values["training"] |= {
        "num_train_epochs": 9,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "load_best_model_at_end": True,
        **given,
    }
    arguments = of_run(ALONE, tmp_path, values).arguments
    assert arguments.save_steps % arguments.eval_steps == 0
    assert arguments.save_steps // arguments.eval_steps == given.get("save_steps", 500) // given["eval_steps"]
    if given.get("save_steps") == given["eval_steps"]:
        trainer = build_trainer(of_run(ALONE, tmp_path, values))
        trainer.train()
        assert trainer.state.best_model_checkpoint is not None


def test_what_is_only_looked_at_is_left_out(tmp_path: Path, values: dict[str, Any]) -> None:
    values["training"]["conflict_steps"] = 2
    assert [of_run(run, tmp_path, values).arguments.conflict_steps for run in RUNS] == [None] * len(RUNS)


def test_a_number_of_steps_in_place_of_epochs(tmp_path: Path, values: dict[str, Any]) -> None:
    values["training"] |= {"max_steps": 12, "num_train_epochs": 50, "warmup_steps": 3}
    arguments = of_run(ALONE, tmp_path, values).arguments
    # 12 of 8 steps an epoch
    assert (arguments.max_steps, arguments.num_train_epochs, arguments.warmup_steps) == (-1, 1.5, 1)
    loaded = load_recipe(read_recipe(write_recipe(tmp_path, values)))
    assert measure_budget(loaded).rows_seen(["moods"]) == 12
    trainer = build_trainer(of_run(ALONE, tmp_path, values))
    trainer.train()
    # 12 rows in batches of 4
    assert trainer.state.global_step == 3


@pytest.mark.parametrize("accumulation", [1, 2])
def test_steps_of_the_budget_are_those_of_the_trainer(
    accumulation: int, tmp_path: Path, values: dict[str, Any]
) -> None:
    values["training"] |= {"gradient_accumulation_steps": accumulation, "per_device_train_batch_size": 5}
    values["training"]["num_train_epochs"] = 1.5
    loaded = load_recipe(read_recipe(write_recipe(tmp_path, values)))
    trainer = build_trainer(loaded)
    trainer.train()
    assert measure_budget(loaded).num_steps == trainer.state.global_step


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("eval_score", "eval_score"),
        ("loss", "loss"),
        ("eval_moods_mood_accuracy", "eval_moods_mood_accuracy"),
        ("eval_requests_intent_accuracy", "eval_score"),
    ],
)
def test_the_best_model_is_chosen_by_what_the_run_has(
    given: str, kept: str, tmp_path: Path, values: dict[str, Any]
) -> None:
    values["training"]["metric_for_best_model"] = given
    assert of_run(ALONE, tmp_path, values).arguments.metric_for_best_model == kept


def test_one_task_is_not_balanced(tmp_path: Path, values: dict[str, Any]) -> None:
    values["training"]["balancing"] = "uw"
    assert of_run(ALONE, tmp_path, values).arguments.balancing is None
    assert of_run(WITHOUT, tmp_path, values).arguments.balancing == "uw"
    assert of_run(RUNS[0], tmp_path, values).arguments.balancing == "uw"


def test_a_method_that_names_a_task_which_is_left_out(tmp_path: Path, values: dict[str, Any]) -> None:
    values["training"]["balancing"] = {"name": "cosmos", "preferences": {"mood": 1.0, "temper": 2.0}}
    with pytest.raises(InputError, match=r"run without-moods-seed5: .*'mood'"):
        of_run(WITHOUT, tmp_path, values)


def test_initializers_of_other_heads_are_left_out(tmp_path: Path, values: dict[str, Any]) -> None:
    rules = [
        ["mood.*weight", {"type": "constant", "val": 0.5}],
        ["slots.*weight", {"type": "zeros"}],
        ["classifier.bias", {"type": "constant", "val": 2.0}],
    ]
    values["initializer"] = rules
    parameters = [f"heads.{head}.classifier.{name}" for head in values["heads"] for name in ("weight", "bias")]
    found = of_run(ALONE, tmp_path, values, parameters)
    assert found.recipe.initializer == [rules[0], rules[2]]
    assert build_trainer(found).model.heads["mood"].classifier.weight.unique().tolist() == [0.5]


def test_shares_that_follow_the_scores_are_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    values["mixture"] = {"sampling": "dynamic"}
    with pytest.raises(InputError, match="mixture: dynamic shares follow the scores of a run"):
        of_run(ALONE, tmp_path, values)


def test_one_task_after_another_needs_whole_epochs(tmp_path: Path, values: dict[str, Any]) -> None:
    values["mixture"] = {"order": "sequential"}
    assert of_run(ALONE, tmp_path, values).recipe.mixture.order == "sequential"
    values["training"]["max_steps"] = 3
    with pytest.raises(InputError, match=r"the rows of 0\.375 epochs depend on which task comes first"):
        of_run(ALONE, tmp_path, values)


def test_a_task_without_a_share_is_in_no_comparison(tmp_path: Path, values: dict[str, Any]) -> None:
    values["mixture"] = {"sampling": "weighted", "weights": {"requests": 2, "moods": 1, "tempers": 0}}
    assert list(measure_budget(load_recipe(read_recipe(write_recipe(tmp_path, values)))).rows) == ["requests", "moods"]
