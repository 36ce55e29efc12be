"""Two processes give what one gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from launching import launch, load_script

pytestmark = pytest.mark.distributed


launched = load_script("launched")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one launch that makes all runs."""
    folder = tmp_path_factory.mktemp("two_processes")
    done = launch("launched", str(folder))
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same runs on this process."""
    folder = tmp_path_factory.mktemp("one_process")
    for name in launched.RUNS:
        launched.train(name, folder)
    launched.evaluate(folder)
    return folder


def _report(folder: Path, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return report


@pytest.mark.parametrize("name", launched.RUNS)
def test_weights_are_those_of_one_process(name: str, one_process: Path, two_processes: Path) -> None:
    one, two = (torch.load(folder / f"{name}.pt", weights_only=True) for folder in (one_process, two_processes))
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-9, atol=1e-11, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", launched.RUNS)
def test_a_head_without_rows_is_left_alone(name: str, two_processes: Path) -> None:
    report = _report(two_processes, name)
    assert report["stray"] == []
    assert not report["idle_moved"]


@pytest.mark.parametrize("name", launched.RUNS)
def test_metrics_and_log_are_those_of_one_process(name: str, one_process: Path, two_processes: Path) -> None:
    one, two = _report(one_process, name), _report(two_processes, name)
    timing = ("runtime", "per_second", "preparation_time")
    for key, value in one["metrics"].items():
        if not key.endswith(timing):
            assert two["metrics"][key] == pytest.approx(value, rel=1e-6), key
    for ours, theirs in zip(one["log"], two["log"], strict=True):
        for key in ours:
            if key.startswith(("loss", "share", "grad_norm", "skipped")):
                assert theirs[key] == pytest.approx(ours[key], rel=1e-6), key


def test_a_head_that_is_skipped_on_one_process_is_skipped_on_both(two_processes: Path) -> None:
    counts = [line.get("skipped_intent", 0) for line in _report(two_processes, "skipping")["log"] if "loss" in line]
    assert 1 <= sum(counts) <= launched.STEPS // 4


@pytest.mark.parametrize("size", launched.EVALUATED)
def test_every_row_is_evaluated_once_whatever_the_size(size: int, one_process: Path, two_processes: Path) -> None:
    one, two = (_report(folder, "evaluated")[str(size)] for folder in (one_process, two_processes))
    assert len(two["logits"]["intent"]) == size < len(two["logits"]["slots"])
    for head, logits in one["logits"].items():
        torch.testing.assert_close(torch.tensor(two["logits"][head]), torch.tensor(logits), rtol=1e-9, atol=1e-11)
    counts = {name: value for name, value in one["metrics"].items() if not name.endswith("_loss")}
    assert len(counts) > 5
    # to the last digit: they count rows and words
    assert {name: two["metrics"][name] for name in counts} == counts
    assert two["metrics"]["eval_requests_loss"] == pytest.approx(one["metrics"]["eval_requests_loss"], rel=1e-12)


@pytest.mark.parametrize("rank", [0, 1])
def test_running_metrics_are_over_the_rows_of_all_processes(rank: int, two_processes: Path) -> None:
    expected = launched.track(0, 1)
    found = json.loads((two_processes / f"tracked_{rank}.json").read_text())
    assert [sorted(report) for report in found] == [sorted(report) for report in expected]
    assert found == [pytest.approx(report, rel=1e-9) for report in expected]
    assert {name.split("_")[0] for name in found[0]} == {"tags", "score", "odd"}
    assert found[2] == {}
    # the rows of either process alone score otherwise
    assert [launched.track(own, 2)[0]["score_mse"] for own in (0, 1)] != [found[0]["score_mse"]] * 2
