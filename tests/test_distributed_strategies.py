"""Strategies of continual learning come to the same weights on two processes as on one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from launching import launch, load_script

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the weights of runs on one process and on two are."""
    folder = tmp_path_factory.mktemp("strategies")
    load_script("launched_strategies").main(folder)
    done = launch("launched_strategies", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", list(load_script("launched_strategies").STRATEGIES))
def test_two_processes_learn_what_one_does(name: str, folder: Path) -> None:
    one, two = (load_file(folder / f"{name}-{processes}.safetensors") for processes in (1, 2))
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=3e-4, msg=lambda text, key=key: f"{key}: {text}")
