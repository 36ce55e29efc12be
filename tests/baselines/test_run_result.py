"""A run is kept, not repeated, and goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training.recipes import write_recipe
from transformers import TrainerCallback

from mt_transformers import MultiTaskTrainer
from mt_transformers.baselines import run_result
from mt_transformers.baselines.budget import measure_budget
from mt_transformers.baselines.recipes import recipe_of_run
from mt_transformers.baselines.run_result import find_result, train_run
from mt_transformers.baselines.runs import BaselineRun
from mt_transformers.errors import InputError
from mt_transformers.training import LoadedRecipe, load_recipe, read_recipe, run_recipe


def loaded(folder: Path, values: dict[str, Any], *overrides: str) -> LoadedRecipe:
    return load_recipe(read_recipe(write_recipe(folder, values), overrides))


def test_what_is_kept(tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    values["training"] |= {"save_strategy": "steps", "save_steps": 2}
    recipe = loaded(tmp_path, values)
    assert find_result(recipe) is None
    found = train_run(recipe)
    assert {"eval_score", "test_score", "eval_moods_mood_accuracy"} <= set(found.metrics)
    assert found.seconds is not None
    assert found.seconds > 0
    # no weights
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run.json", "setting.sha256"]
    monkeypatch.setattr(run_result, "build_trainer", None)
    assert find_result(recipe) == train_run(recipe) == train_run(loaded(tmp_path, values)) == found


def test_another_recipe_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    train_run(loaded(tmp_path, values))
    with pytest.raises(InputError, match="a run of another recipe is there: remove it"):
        train_run(loaded(tmp_path, values, "--loss_weights.mood", "2.0"))


@pytest.mark.parametrize("name", ["checkpoint-4", "notes.txt"])
def test_what_is_not_ours_is_left_alone(name: str, tmp_path: Path, values: dict[str, Any]) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(InputError, match="out: something else is there: remove it, or give another"):
        train_run(loaded(tmp_path, values))
    assert (tmp_path / "out" / name).is_dir()


def test_another_number_of_processes_is_another_run(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run(loaded(tmp_path, values))
    monkeypatch.setattr("mt_transformers.MultiTaskTrainingArguments.world_size", 2)
    with pytest.raises(InputError, match="a run of another recipe is there"):
        find_result(loaded(tmp_path, values))


def test_a_broken_result_is_named(tmp_path: Path, values: dict[str, Any]) -> None:
    train_run(loaded(tmp_path, values))
    (tmp_path / "out" / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"run.json: expected the result of a run, found KeyError"):
        find_result(loaded(tmp_path, values))


def test_an_interrupted_run_goes_on(tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    values["training"] |= {"save_strategy": "steps", "save_steps": 2}
    whole = train_run(loaded(tmp_path, values, "--training.output_dir", str(tmp_path / "whole")))

    class Interrupt(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 5:
                raise KeyboardInterrupt

    def interrupted(recipe: LoadedRecipe) -> MultiTaskTrainer:
        trainer = build(recipe)
        trainer.add_callback(Interrupt())
        return trainer

    build = run_result.build_trainer
    monkeypatch.setattr(run_result, "build_trainer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_run(loaded(tmp_path, values))
    assert (tmp_path / "out" / "checkpoint-4").is_dir()
    monkeypatch.setattr(run_result, "build_trainer", build)
    found = train_run(loaded(tmp_path, values))
    times = ("runtime", "per_second")
    learnt = {name: value for name, value in whole.metrics.items() if not name.endswith(times)}
    assert {name: found.metrics[name] for name in learnt} == learnt
    # the time of its first part is not known
    assert found.seconds is None


def test_a_task_alone_is_what_its_own_recipe_gives(tmp_path: Path, values: dict[str, Any]) -> None:
    """With nothing of the other tasks in it, and the same rows in the same order."""
    joint = loaded(tmp_path, values)
    run = BaselineRun(kind="single", seed=7, task="moods")
    found = train_run(recipe_of_run(run, joint, measure_budget(joint), []))
    own = {
        **values,
        "heads": {"mood": values["heads"]["mood"]},
        "tasks": {"moods": values["tasks"]["moods"]},
        "training": {**values["training"], "seed": 7, "output_dir": str(tmp_path / "own")},
    }
    expected = run_recipe(loaded(tmp_path, own))
    names = [name for name in expected if name.startswith(("eval_moods", "test_moods", "eval_loss"))]
    assert names
    assert {name: found.metrics[name] for name in names} == {name: expected[name] for name in names}


def test_nan_is_kept(tmp_path: Path, values: dict[str, Any]) -> None:
    found = train_run(loaded(tmp_path, values))
    file = tmp_path / "out" / "run.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    stored["metrics"]["eval_score"] = None
    file.write_text(json.dumps(stored), encoding="utf-8")
    again = find_result(loaded(tmp_path, values))
    assert again is not None
    assert again.metrics["eval_score"] != again.metrics["eval_score"]
    assert again.metrics["test_score"] == found.metrics["test_score"]
