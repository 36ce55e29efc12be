"""A run that is killed and goes on ends as the run that was not killed: the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from launching import launch, load_script

pytestmark = pytest.mark.distributed

RUNS = {
    1: [
        "on_step-mixed",
        "in_save-mixed",
        "on_step-homogeneous",
        "on_step-dynamic",
        "in_save-dynamic",
        "on_step-streamed",
        "in_save-streamed",
    ],
    2: ["in_save-mixed", "on_step-dynamic", "on_step-streamed"],
}
"""For each number of processes how a run is killed, and of which kind it is."""


killed = load_script("killed")


@pytest.fixture(scope="module", params=[1, 2])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Number of processes, and the folder in which all runs came to their end, those that were killed too."""
    processes, folder = request.param, tmp_path_factory.mktemp(f"runs_on_{request.param}")
    names = RUNS[processes]
    whole = dict.fromkeys("whole-" + name.split("-")[1] for name in names)
    # one process makes a process of its own for each run, several are killed together
    launches = [[*whole, *names]] if processes == 1 else [[*whole], *([name] for name in names)]
    started = [launch("killed", str(folder), "start", *each, processes=processes) for each in launches]
    assert (folder / f"{[*whole][-1]}.pt").exists(), started[0].stderr[-4000:]
    for name in names:
        assert not (folder / f"{name}.pt").exists(), f"{name} was not killed"
    resumed = launch("killed", str(folder), "resume", *names, processes=processes)
    assert resumed.returncode == 0, resumed.stderr[-4000:]
    return processes, folder


def _log(folder: Path, name: str) -> list[dict[str, Any]]:
    """What the log says of losses and shares, step for step."""
    report = json.loads((folder / f"{name}.json").read_text())
    kept = ("step", "loss", "share_", "grad_norm")
    lines = [line for line in report["log"] if "loss" in line]
    return [{key: value for key, value in line.items() if key.startswith(kept)} for line in lines]


def test_weights_and_losses_are_those_of_the_run_that_was_not_killed(finished: tuple[int, Path]) -> None:
    processes, folder = finished
    for name in RUNS[processes]:
        whole = "whole-" + name.split("-")[1]
        one, other = (torch.load(folder / f"{each}.pt", weights_only=True) for each in (whole, name))
        assert [key for key in one if not torch.equal(one[key], other[key])] == [], name
        assert len(_log(folder, name)) == killed.STEPS
        assert _log(folder, name) == _log(folder, whole), name


def test_a_half_written_checkpoint_is_passed_over_with_a_message(finished: tuple[int, Path]) -> None:
    processes, folder = finished
    for name in RUNS[processes]:
        found = [
            text
            for text in json.loads((folder / f"{name}.json").read_text())["warnings"]
            if "was not written to its end and is passed over" in text
        ]
        expected = [f"checkpoint-{killed.HALF_WRITTEN}"] if name.startswith("in_save") else []
        assert [Path(text.split(" ")[0]).name for text in found] == expected
