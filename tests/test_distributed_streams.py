"""Streams on two processes: what one process makes of the same batches, also from a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from launching import launch, load_script

pytestmark = [pytest.mark.distributed, pytest.mark.filterwarnings("ignore:This DataLoader will create")]


launched = load_script("launched_streams")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one launch that makes all runs."""
    folder = tmp_path_factory.mktemp("two_processes")
    done = launch("launched_streams", str(folder))
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def report_of(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / f"{name}_{rank}.json").read_text())
    return report


def weights_of(folder: Path, name: str, rank: int = 0) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(folder / f"{name}_{rank}.pt", weights_only=True)
    return weights


def losses_of(report: dict[str, Any]) -> list[dict[str, float]]:
    return [
        {key: value for key, value in line.items() if key.startswith(("loss", "share", "grad_norm", "step"))}
        for line in report["log"]
        if "loss" in line
    ]


@pytest.mark.parametrize("name", launched.RUNS)
def test_two_processes_make_the_same_steps(name: str, folder: Path) -> None:
    reports = [report_of(folder, name, rank) for rank in range(2)]
    assert [report["steps"] for report in reports] == [launched.STEPS] * 2
    one, other = (weights_of(folder, name, rank) for rank in range(2))
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.parametrize("name", launched.RUNS)
def test_losses_and_weights_are_those_of_all_rows_in_one_process(name: str, folder: Path, tmp_path: Path) -> None:
    """Each head's loss is divided by its items in the whole step, on both processes."""
    reference = launched.make_trainer(name, tmp_path, reference=True)
    reference.train()
    launched.save(reference, tmp_path, name)
    expected = losses_of(report_of(tmp_path, name))
    found = losses_of(report_of(folder, name))
    assert [line["step"] for line in expected] == list(range(1, launched.STEPS + 1))
    assert [sorted(line) for line in found] == [sorted(line) for line in expected]
    assert found == [pytest.approx(line, rel=1e-6) for line in expected]
    weights = weights_of(folder, name)
    for key, value in weights_of(tmp_path, name).items():
        torch.testing.assert_close(
            weights[key], value, rtol=1e-9, atol=1e-11, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize("name", launched.RESUMED)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, folder: Path) -> None:
    """Bit for bit, on either process, with dropout and with evaluations between the steps."""
    for rank in range(2):
        whole, resumed = (weights_of(folder, f"{name}_{label}", rank) for label in ("whole", "resumed"))
        assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []
    whole, resumed = (losses_of(report_of(folder, f"{name}_{label}")) for label in ("whole", "resumed"))
    assert len(whole) == launched.STEPS
    assert resumed == whole
