"""`mt-transformers affinity`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mt_transformers.balancing.affinity import AffinityReport
from mt_transformers.cli import affinity
from mt_transformers.cli.main import main

Captured = pytest.CaptureFixture[str]


def test_tables_and_files(capsys: Captured, recipe: str, tmp_path: Path) -> None:
    assert main(["affinity", recipe, "--steps", "3", "--training.per_device_train_batch_size=8"]) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "out" / "affinity"
    report = AffinityReport(**json.loads((folder / "affinity.json").read_text(encoding="utf-8")))
    assert affinity.format_affinity(report) in out
    assert "Gradients in 3 optimizer steps" in out
    assert f"Saved to {folder}" in out
    assert not (tmp_path / "out" / "config.json").exists()


def test_without_matplotlib_there_is_no_picture(
    capsys: Captured, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.utils.is_matplotlib_available", lambda: False)
    assert main(["affinity", recipe, "--steps", "1"]) == 0
    assert "No picture is drawn without matplotlib" in capsys.readouterr().out
    assert not (tmp_path / "out" / "affinity" / "affinity.png").exists()


def test_the_tables() -> None:
    report = AffinityReport(
        names=["a", "b"],
        looks=2,
        norms=[1.5, None],
        cosines=[[1.0, -0.25], [-0.25, None]],
        conflicts=[[0.0, 0.5], [0.5, None]],
        lookahead=[[0.0125, None], [-0.001, 0.002]],
    )
    assert affinity.format_affinity(report).splitlines() == [
        "Gradients in 2 optimizer steps: mean cosine, and share of steps in conflict",
        "",
        "task  norm  a             b",
        "----  ----  ------------  ------------",
        "a     1.5   +1.00 (0 %)   -0.25 (50 %)",
        "b     -     -0.25 (50 %)  -",
        "",
        "A step for the row's task alone: by how much it lowers the loss of the column's task (thousandths)",
        "",
        "task  a       b",
        "----  ------  -----",
        "a     +12.50  -",
        "b     -1.00   +2.00",
    ]


def test_what_is_refused(capsys: Captured, recipe: str) -> None:
    assert main(["affinity", recipe, "--steps", "0"]) == 2
    assert capsys.readouterr().err.startswith("mt-transformers: steps: expected a number of optimizer steps from 1 up")
