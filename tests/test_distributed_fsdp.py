"""Two processes that share one sharded backbone give what one process gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from launching import launch, load_script
from mt_transformers import MultiTaskModel

pytestmark = pytest.mark.distributed


launched = load_script("launched_fsdp")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one launch that makes all runs."""
    folder = tmp_path_factory.mktemp("two_sharded_processes")
    done = launch("launched_fsdp", str(folder))
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same runs on this process."""
    folder = tmp_path_factory.mktemp("one_process")
    for name in [*launched.RUNS, *launched.APART]:
        launched.train(name, folder, sharded=False)
    return folder


def _report(folder: Path, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return report


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of a saved folder, which loads as any other."""
    return dict(MultiTaskModel.from_pretrained(folder, dtype=torch.float64).state_dict())


def _same(one: Path, two: Path) -> None:
    expected, found = _weights(one), _weights(two)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, rtol=1e-9, atol=1e-11, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize("name", launched.RUNS)
def test_weights_are_those_of_one_process(name: str, one_process: Path, two_processes: Path) -> None:
    _same(one_process / name, two_processes / name)


@pytest.mark.parametrize("name", launched.RUNS)
def test_the_backbone_is_sharded_and_the_heads_are_whole(name: str, two_processes: Path) -> None:
    assert _report(two_processes, name)["sharded"] == ["backbone"]


@pytest.mark.parametrize("name", launched.RUNS)
def test_a_head_without_rows_is_left_alone(name: str, two_processes: Path) -> None:
    report = _report(two_processes, name)
    assert report["stray"] == []
    assert not report["idle_moved"]


@pytest.mark.parametrize("name", launched.RUNS)
def test_metrics_and_log_are_those_of_one_process(name: str, one_process: Path, two_processes: Path) -> None:
    one, two = _report(one_process, name), _report(two_processes, name)
    timing = ("runtime", "per_second", "preparation_time")
    for when in ("untrained", "metrics"):
        for key, value in one[when].items():
            if not key.endswith(timing):
                assert two[when][key] == pytest.approx(value, rel=1e-6), key
    for ours, theirs in zip(one["log"], two["log"], strict=True):
        for key in ours:
            if key.startswith(("loss", "share", "grad_norm")):
                assert theirs[key] == pytest.approx(ours[key], rel=1e-6), key


@pytest.mark.parametrize("name", launched.WHOLE)
def test_whole_models_train_alike_after_an_evaluation(name: str, one_process: Path, two_processes: Path) -> None:
    """The evaluation before it must not keep DDP away, and each process has gradients of its own layers."""
    report = _report(two_processes / "whole", name)
    assert (report["sharded"], report["stray"], report["idle_moved"]) == ([], [], False)
    _same(one_process / name, two_processes / "whole" / name)


def test_the_configuration_of_accelerate_shards_alike(one_process: Path, two_processes: Path) -> None:
    assert _report(two_processes, "launched")["sharded"] == ["backbone"]
    _same(one_process / "rows", two_processes / "launched")


def test_half_precision_comes_near(one_process: Path, two_processes: Path) -> None:
    one, two = _report(one_process, "half"), _report(two_processes, "half")
    for when in ("untrained", "metrics"):
        assert two[when]["eval_loss"] == pytest.approx(one[when]["eval_loss"], rel=1e-2)
    assert two["metrics"]["eval_loss"] < 0.95 * two["untrained"]["eval_loss"]
    assert (two["sharded"], two["stray"], two["idle_moved"]) == (["backbone"], [], False)


@pytest.mark.parametrize("state_dict_type", launched.SHARDED_TYPES)
def test_saving_changes_nothing(state_dict_type: str, one_process: Path, two_processes: Path) -> None:
    """A checkpoint needs a state of every parameter, which a head without rows so far must not keep."""
    _same(one_process / "sequential", two_processes / state_dict_type / "whole")
    names = json.loads((two_processes / state_dict_type / "checkpoint-5" / "optimizer_stateless.json").read_text())
    assert {name.split(".")[1] for name in names} == {"mood", "idle"}


@pytest.mark.parametrize("state_dict_type", launched.SHARDED_TYPES)
def test_a_resumed_run_ends_bit_equal(state_dict_type: str, two_processes: Path) -> None:
    folder = two_processes / state_dict_type
    whole, resumed = (load_file(folder / name / "model.safetensors") for name in ("whole", "resumed"))
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


@pytest.mark.parametrize("state_dict_type", launched.SHARDED_TYPES)
def test_the_best_model_is_loaded_from_its_checkpoint(state_dict_type: str, two_processes: Path) -> None:
    folder = two_processes / state_dict_type
    best = Path(json.loads((folder / "best.json").read_text()))
    assert best.name in ("checkpoint-5", "checkpoint-10")
    # both kinds of checkpoint are of the same runs, and the one kind holds the weights as a folder, too
    expected = load_file(two_processes / "FULL_STATE_DICT" / best.name / "model.safetensors")
    found, last = (load_file(folder / name / "model.safetensors") for name in ("best", "whole"))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert any(not torch.equal(last[name], found[name]) for name in found)


def test_a_sharded_checkpoint_is_in_parts(two_processes: Path) -> None:
    folder = two_processes / "SHARDED_STATE_DICT" / "checkpoint-5"
    assert not (folder / "model.safetensors").exists()
    assert sorted(file.name for file in (folder / "pytorch_model_fsdp_0").glob("*.distcp")) == [
        "__0_0.distcp",
        "__1_0.distcp",
    ]
