"""Methods of balancing give on two processes, and with accumulated batches, what they give on one with one batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from launching import launch, load_script
from mt_transformers.balancing import ConflictReport

pytest.importorskip("torchjd")
pytestmark = pytest.mark.distributed

launched = load_script("launched_balancing")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one launch that makes all runs."""
    folder = tmp_path_factory.mktemp("two_processes")
    done = launch("launched_balancing", str(folder))
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("name", launched.METHODS)
def test_weights_are_those_of_one_process(name: str, tmp_path: Path, two_processes: Path) -> None:
    assert_same_weights(two_processes, name, tmp_path)


@pytest.mark.parametrize("name", ["looking", "sum"])
def test_gradients_agree_as_on_one_process(name: str, tmp_path: Path, two_processes: Path) -> None:
    launched.train(name, 1, tmp_path)
    found, expected = (ConflictReport.load(folder / f"{name}.json").records for folder in (two_processes, tmp_path))
    assert [each.step for each in found] == [each.step for each in expected]
    assert len(expected) == (3 if name == "looking" else 6)
    for one, other in zip(found, expected, strict=True):
        assert one.conflicts == other.conflicts
        numbers = [[*each.norms, *(cosine for row in each.cosines for cosine in row)] for each in (one, other)]
        assert [number is None for number in numbers[0]] == [number is None for number in numbers[1]]
        known = [[number for number in each if number is not None] for each in numbers]
        assert known[0] == pytest.approx(known[1], rel=1e-5)


@pytest.mark.parametrize("name", [name for name, given in launched.METHODS.items() if "at" not in given])
def test_weights_are_those_of_one_batch(name: str, tmp_path: Path) -> None:
    launched.train(name, 4, tmp_path)
    assert_same_weights(tmp_path, name, tmp_path / "one")


def assert_same_weights(folder: Path, name: str, other: Path) -> None:
    """Compare the weights in a folder with those that one process gets."""
    other.mkdir(exist_ok=True)
    launched.train(name, 1, other)
    found, expected = (torch.load(each / f"{name}.pt", weights_only=True) for each in (folder, other))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
