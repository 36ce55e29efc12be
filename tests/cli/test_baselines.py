"""`mt-transformers baselines`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mt_transformers.cli.main import main

Captured = pytest.CaptureFixture[str]


def test_tables_files_and_warnings(capsys: Captured, recipe: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(["baselines", recipe, "--seeds", "2", "--split=test", "--training.seed", "1"]) == 0
    captured = capsys.readouterr()
    out = captured.out
    assert out.index("run 1 of 6: multi-seed1\n") < out.index("run 6 of 6: single-moods-seed2\n")
    assert "Primary metric on the test split, 2 seeds" in out
    folder = tmp_path / "out"
    assert (folder / "baselines.md").read_text(encoding="utf-8").strip() in out
    assert (folder / "baselines.png").stat().st_size > 0
    stored = json.loads((folder / "baselines.json").read_text(encoding="utf-8"))
    worse = [each["head"] for each in stored["comparisons"] if sum(each["multi"]) < sum(each["other"])]
    warnings = [line for line in captured.err.splitlines() if line.startswith("warning: ")]
    assert [line.split("head ")[1].split(":")[0].strip("'") for line in warnings] == worse
    assert main(["baselines", recipe, "--seeds", "2", "--split=test", "--training.seed", "1"]) == 0
    assert "run 4 of 6: multi-seed2, done before\n" in capsys.readouterr().out


def test_the_model_card_shows_the_comparison_of_its_own_recipe(recipe: str, tmp_path: Path) -> None:
    assert main(["baselines", recipe, "--training.max_steps", "2"]) == 0
    folder = tmp_path / "out"
    tables = (folder / "baselines.md").read_text(encoding="utf-8").strip()
    assert main(["train", recipe, "--training.max_steps", "3"]) == 0
    assert "Against a model for each task" not in (folder / "README.md").read_text(encoding="utf-8")
    assert main(["train", recipe, "--training.max_steps", "2"]) == 0
    assert f"## Against a model for each task\n\n{tables}\n" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_broken_comparison_is_named(capsys: Captured, recipe: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "baselines.json").write_text("[]", encoding="utf-8")
    assert main(["train", recipe]) == 2
    assert "baselines.json: expected what `mt-transformers baselines` writes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--leave-one-out"], "expected at least three tasks, of which one is left out, found requests, moods"),
        (["--seeds", "0"], "seeds: expected a number of at least 1, found 0"),
        (["--training.sede", "1"], "training: unknown key 'sede', did you mean 'seed'?"),
    ],
)
def test_what_is_refused(argv: list[str], message: str, capsys: Captured, recipe: str) -> None:
    assert main(["baselines", recipe, *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mt-transformers: ")
    assert message in error
    assert "Traceback" not in error
