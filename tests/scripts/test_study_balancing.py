"""The study of balancing at toy size, and its recipe."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training.recipes import recipe_values, write_recipe

from mt_transformers.heads import get_head_config
from mt_transformers.training import load_recipe, read_recipe

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

Main = Callable[[list[str]], int]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Main:
    """The script's `main`; its modules are those of the checkout."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    function: Main = runpy.run_path(str(SCRIPTS / "study_balancing.py"))["main"]
    return function


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "run.json").read_text(encoding="utf-8"))["metrics"]
    return found


def test_methods_stand_beside_the_baselines(
    main: Main, tmp_path: Path, tiny_backbone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values: dict[str, Any] = recipe_values(tiny_backbone, tmp_path)
    recipe, output = write_recipe(tmp_path, values), tmp_path / "study"
    argv = ["--recipe", str(recipe), "--output", str(output), "--methods", "running_mean,per_row", "--seeds", "2"]
    assert main([*argv, "--split", "validation", "--training.seed", "5"]) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "baselines.json",
        "baselines.md",
        "baselines.png",
        "methods.png",
        *(f"multi-seed{seed}" for seed in (5, 6)),
        "per_row-seed5",
        "report.md",
        "running_mean-seed5",
        *(f"single-{task}-seed{seed}" for task in ("moods", "requests") for seed in (5, 6)),
    ]
    report = (output / "report.md").read_text(encoding="utf-8")
    assert report in capsys.readouterr().out
    lines = {line.split(" | ")[0]: line.strip("| ").split(" | ") for line in report.splitlines() if " | " in line}
    assert lines["| method"] == ["method", "intent", "slots", "mood", "mean", "change (%)", "training (s)", "seeds"]
    found, alone = metrics(output / "per_row-seed5"), metrics(output / "single-moods-seed5")
    row = lines["| per_row"]
    assert row[3] == f"{100 * found['eval_moods_mood_accuracy']:.1f}"
    assert row[-1] == "1"
    assert lines["| a model each"][5] == "0.0 ± 0.0"
    # the losses of both reductions differ, and so do the weights
    assert metrics(output / "multi-seed5")["eval_loss"] != found["eval_loss"] != alone["eval_loss"]
    assert metrics(output / "running_mean-seed5")["eval_loss"] != metrics(output / "multi-seed5")["eval_loss"]


def test_more_seeds_of_a_method_than_of_the_baselines(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", "x", "--seeds", "1", "--method-seeds", "2"]) == 2
    assert "study_balancing: --method-seeds: expected a number from 1 to 1, found 2." in capsys.readouterr().err


def test_an_unknown_method_is_refused_before_any_run(
    main: Main, tmp_path: Path, tiny_backbone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, recipe_values(tiny_backbone, tmp_path))
    assert main(["--recipe", str(recipe), "--output", str(tmp_path / "study"), "--methods", "uww"]) == 2
    assert "unknown method 'uww', did you mean 'uw'" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_recipe_that_balances_is_no_plain_sum(
    main: Main, tmp_path: Path, tiny_backbone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, recipe_values(tiny_backbone, tmp_path))
    argv = ["--recipe", str(recipe), "--output", str(tmp_path / "study")]
    assert main([*argv, "--training.balancing", "uw"]) == 2
    assert "balancing: expected none in the recipe, found 'uw'" in capsys.readouterr().err
    assert main([*argv, "--methods", "sum", "--training.fp16", "true"]) == 2
    assert "'sum' compares gradients, which fp16 scales" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_heads_are_scored_as_tweeteval_does() -> None:
    recipe = read_recipe(SCRIPTS / "studies" / "tweeteval.yaml")
    heads = {name: get_head_config(name, values) for name, values in recipe.heads.items()}
    assert {config.metric_names[0] for config in heads.values()} == {"f1_macro"}
    labels = {name: values.get("f1_labels") for name, values in recipe.heads.items()}
    assert labels == {
        "emotion": None,
        "irony": ["irony"],
        "offensive": None,
        "hate": None,
        "stance": ["against", "favor"],
        "emoji": None,
    }


def test_the_recipe_on_the_full_datasets(data_folder: Path, tiny_backbone: str, tmp_path: Path) -> None:
    overrides = ["--backbone", tiny_backbone, "--training.output_dir", str(tmp_path), "--training.use_cpu", "true"]
    loaded = load_recipe(read_recipe(SCRIPTS / "studies" / "tweeteval.yaml", overrides))
    irony, stance = loaded.heads["irony"], loaded.heads["stance"]
    assert irony.metric_options("f1_macro") == {"labels": [1]}
    assert stance.metric_options("f1_macro") == {"labels": [1, 2]}
    assert len(loaded.recipe.tasks["emoji"].dataset["test"]) == 2000
