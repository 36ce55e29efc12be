"""Continual learning on two processes at once: the same run as on one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from launching import launch, load_script

LAUNCHED = load_script("launched_continual")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the weights of each run on each process."""
    folder = tmp_path_factory.mktemp("two")
    done = launch("launched_continual", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", LAUNCHED.RUNS)
def test_weights_are_those_of_one_process(name: str, two_processes: Path, tmp_path: Path) -> None:
    LAUNCHED.train(tmp_path, name, 1)
    expected = load_file(tmp_path / f"{name}-0.safetensors")
    for process in range(2):
        found = load_file(two_processes / f"{name}-{process}.safetensors")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-11, msg=lambda text, k=key: k + text)
