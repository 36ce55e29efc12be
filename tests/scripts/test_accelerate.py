"""The configurations of `accelerate launch`: read by accelerate's own loader, and built into what it trains with."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.distributed.fsdp.fully_sharded_data_parallel import StateDictType
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scripts" / "accelerate"
FILES = sorted(FOLDER.glob("*.yaml"))


def launch_arguments(file: Path) -> Namespace:
    parser = launch_command_parser()
    given = parser.parse_args(["--config_file", str(file), "scripts/run_multitask.py", "recipe.yaml"])
    args: Namespace = _validate_launch_command(given)[0]
    return args


def test_the_files_are_those_that_are_tested() -> None:
    assert [file.name for file in FILES] == ["ddp.yaml", "fsdp2.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_head_of_a_file_gives_the_command_that_uses_it(file: Path) -> None:
    command = f"#     accelerate launch --config_file {file.relative_to(ROOT)} scripts/run_multitask.py RECIPE"
    assert command in file.read_text().splitlines()[:3]
    assert (ROOT / "scripts" / "run_multitask.py").exists()


@pytest.mark.parametrize(("name", "expected"), [("ddp", DistributedType.MULTI_GPU), ("fsdp2", DistributedType.FSDP)])
def test_accelerate_loads_the_file(name: str, expected: DistributedType) -> None:
    config: Any = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert config.distributed_type == expected
    assert (config.num_machines, config.num_processes, config.mixed_precision) == (1, 2, "no")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_launcher_knows_every_setting(file: Path) -> None:
    found = vars(launch_arguments(file))
    for name, value in (yaml.safe_load(file.read_text()).get("fsdp_config") or {}).items():
        assert found[name] == value, name


def test_ddp_uses_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    args = launch_arguments(FOLDER / "ddp.yaml")
    assert (args.multi_gpu, args.use_fsdp, args.use_deepspeed) == (True, False, False)


def test_fsdp2_builds_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    args = launch_arguments(FOLDER / "fsdp2.yaml")
    assert (args.use_fsdp, args.use_deepspeed) == (True, False)
    for name, value in prepare_multi_gpu_env(args).items():
        if name.startswith(("FSDP_", "ACCELERATE_USE_FSDP")):
            monkeypatch.setenv(name, value)
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.state_dict_type == StateDictType.FULL_STATE_DICT
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy
    assert not isinstance(plugin.cpu_offload, CPUOffloadPolicy)
    assert (plugin.cpu_ram_efficient_loading, plugin.activation_checkpointing) == (False, False)
