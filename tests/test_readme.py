"""What the README shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mt_transformers.training import load_yaml, parse_recipe

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_python_example_runs(
    tiny_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = _block("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    for shown, used in (
        ("sentence-transformers/all-MiniLM-L6-v2", tiny_backbone),
        ("mt_transformers/demo/data/", f"{ROOT}/mt_transformers/demo/data/"),
        ("num_train_epochs=2,", "max_steps=2, use_cpu=True,"),
        # the tiny tokenizer knows hardly a word
        ("Play some jazz by Miles Davis", "play music"),
    ):
        assert shown in code
        code = code.replace(shown, used)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert "eval_banking77_banking_accuracy" in capsys.readouterr().out
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_the_recipe_parses(tmp_path: Path) -> None:
    recipe = parse_recipe(load_yaml(_block("yaml")), tmp_path)
    assert recipe.training["learning_rate"] == 5e-5
    assert list(recipe.tasks) == ["snips", "banking77"]


def test_ci_runs_the_test_command() -> None:
    command = "-n 2 --dist loadfile tests"
    assert f"python -m pytest {command}" in README
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'python -m pytest "$@"' in script
    assert f"run_pytest tests {command}" in script
