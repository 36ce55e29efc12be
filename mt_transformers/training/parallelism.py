"""Which ways of using several processes train what one process trains."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch.distributed.fsdp import CPUOffloadPolicy
from transformers import PreTrainedModel

from ..errors import InputError
from ..modeling import MultiTaskModel
from .arguments import NO_DEEPSPEED

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["check_parallelism"]

_LAYER_DROPS = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")

_TORCH = (2, 8)
"""The first torch in which a module can be told to stay gathered; parameters can be ignored from 2.7 on."""


def check_parallelism(model: MultiTaskModel, accelerator: Accelerator) -> bool:
    """
    Refuse what would stop the processes, or would train something else than one process does.

    Training arguments and the configuration of `accelerate launch` both end up in the accelerator.

    Args:
        model ([`MultiTaskModel`]): The model.
        accelerator (`Accelerator`): Knows the processes.

    Returns:
        `bool`: Whether the backbone is going to be sharded.

    Raises:
        InputError: If it is refused, saying what to use instead.
    """
    state = accelerator.state
    if state.deepspeed_plugin is not None:
        raise InputError(NO_DEEPSPEED)
    if getattr(state, "fsdp_plugin", None) is not None:
        for found, message in _refused(accelerator, model.backbone.model):
            if found:
                raise InputError(f"fsdp: {message}")
        return True
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        raise InputError(
            f"fsdp: accelerate shards nothing on {state.num_processes} process(es) of {state.device.type}: start one "
            "process a GPU, or leave fsdp out."
        )
    return False


def _refused(accelerator: Accelerator, backbone: PreTrainedModel) -> list[tuple[bool, str]]:
    plugin, kind = accelerator.state.fsdp_plugin, f"a {backbone.config.model_type!r} backbone"
    dropping = [name for name in _LAYER_DROPS if getattr(backbone.config, name, 0)]
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    return [
        (plugin.fsdp_version != 2, f"expected version 2 (fsdp_version), found {plugin.fsdp_version}."),
        (version < _TORCH, f"expected torch from {'.'.join(map(str, _TORCH))} up, found {torch.__version__}."),
        (isinstance(plugin.cpu_offload, CPUOffloadPolicy), "heads are never offloaded: expected no cpu_offload."),
        (accelerator.mixed_precision not in ("no", "bf16"), f"expected bf16, found {accelerator.mixed_precision}."),
        (accelerator.parallelism_config is not None, "cannot be combined with a parallelism_config."),
        (accelerator.state.dynamo_plugin.backend.value != "NO", "cannot be combined with torch_compile."),
        (bool(dropping), f"expected {' and '.join(dropping)} to be 0, or every process would drop layers of its own."),
        (bool(backbone.all_tied_weights_keys), f"{kind} has tied weights, of which accelerate shards one: use DDP."),
        (not _has_embeddings(backbone), f"{kind} has no input embeddings, for which accelerate asks: use DDP."),
    ]


def _has_embeddings(backbone: PreTrainedModel) -> bool:
    try:
        backbone.get_input_embeddings()
    except NotImplementedError:
        return False
    return True
