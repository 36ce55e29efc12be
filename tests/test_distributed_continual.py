"""Two processes learn experiences as one does; a run that is killed goes on to the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from launching import launch, load_script

pytestmark = pytest.mark.distributed

launched = load_script("launched_continual")


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs on this process."""
    folder = tmp_path_factory.mktemp("one_process")
    for name in launched.RUNS:
        launched.train(name, folder)
    return folder


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one launch that makes all runs."""
    folder = tmp_path_factory.mktemp("two_processes")
    done = launch("launched_continual", str(folder), "train")
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def _report(folder: Path, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return report


def _weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / f"{name}.pt", weights_only=True)
    return found


@pytest.mark.parametrize("name", launched.RUNS)
def test_weights_are_those_of_one_process(name: str, one_process: Path, two_processes: Path) -> None:
    one, two = (_weights(folder, name) for folder in (one_process, two_processes))
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-7, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", launched.RUNS)
def test_scores_are_those_of_one_process(name: str, one_process: Path, two_processes: Path) -> None:
    one, two = (_report(folder, name) for folder in (one_process, two_processes))
    assert two["results"] == one["results"]
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-6)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_was_killed_ends_as_one_that_was_not(
    processes: int, tmp_path: Path, one_process: Path, two_processes: Path
) -> None:
    """Killed within the second experience, behind a checkpoint: the same bits and the same results."""
    name = launched.RESUMED
    killed = launch("launched_continual", str(tmp_path), "kill", processes=processes)
    assert killed.returncode != 0
    assert json.loads((tmp_path / name / "continual.json").read_text())["finished"] == 1
    assert (tmp_path / name / "experience-001" / "checkpoint-2").is_dir()
    resumed = launch("launched_continual", str(tmp_path), "resume", processes=processes)
    assert resumed.returncode == 0, resumed.stderr[-4000:]
    whole = one_process if processes == 1 else two_processes
    one, other = _weights(whole, name), _weights(tmp_path, f"{name}-resumed")
    assert [key for key in one if not torch.equal(one[key], other[key])] == []
    assert _report(tmp_path, f"{name}-resumed") == _report(whole, name)
