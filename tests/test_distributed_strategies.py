"""Strategies of continual learning give on two processes what they give on one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from launching import launch, load_script

pytestmark = pytest.mark.distributed

launched = load_script("launched_strategies")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one launch that makes all runs."""
    folder = tmp_path_factory.mktemp("two_processes")
    done = launch("launched_strategies", str(folder))
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize(("name", "kind"), launched.RUNS)
def test_weights_are_those_of_one_process(name: str, kind: str, tmp_path: Path, two_processes: Path) -> None:
    launched.train(name, kind, tmp_path)
    one, two = (torch.load(folder / f"{name}-{kind}.pt", weights_only=True) for folder in (tmp_path, two_processes))
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-7, atol=1e-8, msg=lambda text, key=key: f"{key}: {text}")
