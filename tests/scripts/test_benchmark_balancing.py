"""The benchmark of gradient aggregation at toy size: what is measured is what is said."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = ["--repeats", "1", "--tasks", "2,3", "--batch_sizes", "6", "--max_length", "16"]

Main = Callable[[list[str]], int]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Main:
    """The script's `main`; its modules are those of the checkout."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    function: Main = runpy.run_path(str(SCRIPTS / "benchmark_balancing.py"))["main"]
    return function


def test_at_toy_size(main: Main, data: Path, quiet_backbone: str, tmp_path: Path) -> None:
    pytest.importorskip("torchjd")
    out = tmp_path / "out"
    assert main(["--output_dir", str(out), "--data", str(data), "--backbone", quiet_backbone, *SMALL]) == 0
    report = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    found = {each["name"]: each for each in report["measures"]}
    assert report["arguments"]["tasks"] == [2, 3]
    for count in (2, 3):
        split, torchjd, both = (
            found[f"{count} tasks, 6 rows, {what}"]
            for what in ("split by task", "mtl_backward of TorchJD", "split / mtl_backward")
        )
        assert split["min"] > 0
        assert both["values"] == [pytest.approx(split["values"][0] / torchjd["values"][0])]
        assert both["at_most"] == 0.5


def test_all_variants_take_the_same_step(data: Path, quiet_backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first rows, with two tasks, for which PCGrad knows no chance."""
    pytest.importorskip("torchjd")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import torch
    from benchmarks.balancing import BalancedSteps
    from benchmarks.settings import Settings
    from torch.nn.utils import parameters_to_vector

    steps = BalancedSteps(Settings(backbone=quiet_backbone, data=data, batch_size=6, max_length=16), 2)
    steps.model.eval()
    steps.optimizer = torch.optim.SGD(steps.model.parameters(), lr=0.1)
    start = parameters_to_vector(steps.model.parameters()).detach().clone()
    moved = []
    for variant in (steps.split, steps.torchjd):
        torch.nn.utils.vector_to_parameters(start.clone(), steps.model.parameters())
        variant()
        moved.append(parameters_to_vector(steps.model.parameters()).detach() - start)
    assert moved[0].norm() > 1e-4
    assert (moved[1] - moved[0]).norm() / moved[0].norm() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "1"], "--tasks: expected numbers from 2 up"),
        (["--batch_sizes", "many"], "--batch_sizes: expected numbers from 1 up"),
        (["--repeats", "0"], "--repeats: expected 1 or more, found 0"),
        (["--data", "nowhere"], "--data: expected the folder of the data sets, found nowhere"),
    ],
)
def test_what_cannot_be_used_is_one_message(
    main: Main,
    data: Path,
    quiet_backbone: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    given = ["--output_dir", str(tmp_path / "out"), "--data", str(data), "--backbone", quiet_backbone]
    assert main([*given, *SMALL, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("benchmark_balancing: ")
