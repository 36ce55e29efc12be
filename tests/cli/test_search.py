"""`mt-transformers search`: what it prints, and that what it writes can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training.recipes import write_recipe

from mt_transformers.cli.main import main
from mt_transformers.cli.search import format_ranking
from mt_transformers.search import SearchRecord, TrialRecord


def test_a_search_prints_its_trials_and_how_to_train_the_best(
    values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    values["training"]["max_steps"] = 2
    values["search"] = {"loss_weights.slots": [0.5, 2.0], "training.balancing": [None, "dwa"]}
    path = str(write_recipe(tmp_path, values))
    assert main(["search", path, "--trials", "2", "--training.learning_rate", "0.01"]) == 0
    lines = capsys.readouterr().out.splitlines()
    trials = [line for line in lines if line.startswith("trial ") and "eval_score " in line and ":" in line]
    assert [line.split(":")[0] for line in trials] == ["trial 0", "trial 1"]
    assert all("loss_weights.slots " in line and "training.balancing " in line for line in trials)
    best = tmp_path / "out" / "search" / "best.yaml"
    assert lines[-1].split() == ["mt-transformers", "train", str(best)]
    assert "learning_rate: 0.01" in best.read_text()
    assert main(["train", str(best)]) == 0
    # a recipe with the section trains as it stands
    assert main(["train", path, "--training.output_dir", str(tmp_path / "plain")]) == 0
    assert (tmp_path / "plain" / "model.safetensors").exists()


def test_a_search_of_nothing_is_refused(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    assert main(["search", recipe]) == 2
    assert "expected a section 'search'" in capsys.readouterr().err


def test_the_table_has_the_best_ten() -> None:
    trials = [
        TrialRecord(number=number, values={"a.b": number / 3}, eval_score=number % 7 / 10, seconds=1.6)
        for number in range(14)
    ]
    record = SearchRecord(folder=Path("search"), recipe={}, search={"a.b": {}}, trials=trials)
    lines = format_ranking(record).splitlines()
    assert len(lines) == 12
    assert lines[0].split() == ["trial", "a.b", "eval_score", "seconds"]
    assert [line.split() for line in lines[2:4]] == [["6", "2", "0.6000", "2"], ["13", "4.333", "0.6000", "2"]]
