"""FSDP2: the backbone is sharded by its blocks, the heads stay whole on every process."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.fsdp import FSDPModule
from transformers.modeling_layers import GradientCheckpointingLayer

from ..modeling import MultiTaskModel
from ..routing import get_forward_arguments

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["broadcast_model", "choose_shards", "give_heads_own_groups", "make_ready_again"]


def choose_shards(model: MultiTaskModel, accelerator: Accelerator) -> None:
    """
    Tell accelerate to shard the blocks of the backbone, each by itself, and to leave the heads whole.

    Processes run the heads that their rows have labels for. Gathering a shard takes all processes, so that a sharded
    head would have to be run by all of them.

    Args:
        model ([`MultiTaskModel`]): The model, before accelerate prepares it.
        accelerator (`Accelerator`): Its plugin is changed.
    """
    plugin = accelerator.state.fsdp_plugin
    plugin.ignored_modules = "heads"
    # all weights have come from the first process by then, see `broadcast_model`
    plugin.cpu_ram_efficient_loading = False
    if plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = sorted(_block_names(model))
    if plugin.mixed_precision_policy is not None:
        # labels that are numbers would be rounded on their way in, and the loss on its way out
        policy = replace(plugin.mixed_precision_policy, output_dtype=None, cast_forward_inputs=False)
        plugin.mixed_precision_policy = policy
    if any("token_embeddings" in get_forward_arguments(head) for head in model.heads.values()):
        model.backbone.register_forward_pre_hook(partial(_keep_embeddings, model))


def _block_names(model: MultiTaskModel) -> set[str]:
    """Classes of the backbone's blocks; what holds the token embeddings is none, they are a shard of their own."""
    embeddings = model.get_input_embeddings()
    modules = list(model.backbone.model.modules())
    present = {type(module).__name__ for module in modules}
    layers = {type(module).__name__ for module in modules if isinstance(module, GradientCheckpointingLayer)}
    around = {type(module).__name__ for module in modules if any(each is embeddings for each in module.modules())}
    return (set(model._no_split_modules or layers) & present) - around


def _keep_embeddings(model: MultiTaskModel, *_: Any) -> None:
    """
    Keep the token embeddings gathered from the forward pass to the backward pass, as heads read them in between.

    Their gradient is exchanged when all of the backward pass is done, the heads' part of it included.
    """
    embeddings = model.get_input_embeddings()
    shards = [each for each in model.modules() if isinstance(each, FSDPModule)]
    # modules come from the outside in
    around = [shard for shard in shards if any(each is embeddings for each in shard.modules())]
    if around:
        around[-1].set_reshard_after_forward(False, recurse=False)


def broadcast_model(model: MultiTaskModel, device: torch.device) -> None:
    """
    Give every process the weights of the first one, as DDP does; shards of different models would make up none.

    Args:
        model ([`MultiTaskModel`]): The model, before it is sharded. Its heads are put on the device.
        device (`torch.device`): The process's device.
    """
    model.heads.to(device)
    for tensor in [*model.parameters(), *model.buffers()]:
        sent = tensor.detach().to(device).contiguous()
        torch.distributed.broadcast(sent, src=0)
        tensor.data.copy_(sent)


def give_heads_own_groups(optimizer: torch.optim.Optimizer, model: MultiTaskModel) -> None:
    """
    Part the heads' parameters from the sharded ones, which cannot share a fused optimizer step.

    Args:
        optimizer (`torch.optim.Optimizer`): The optimizer, before its first step.
        model ([`MultiTaskModel`]): The model.
    """
    heads = {id(parameter) for parameter in model.heads.parameters()}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        for of_heads in (False, True):
            part = [each for each in group["params"] if (id(each) in heads) == of_heads]
            groups += [{**group, "params": part}] if part else []
    optimizer.param_groups[:] = groups


def make_ready_again(model: MultiTaskModel, accelerator: Accelerator) -> None:
    """
    Make a sharded model one that accelerate can prepare once more, for training after an evaluation or a training.

    Args:
        model ([`MultiTaskModel`]): The model; nothing happens unless it is sharded.
        accelerator (`Accelerator`): Its plugin is changed.
    """
    shards = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in shards:
        # an evaluation leaves some of them gathered
        module.reshard()
    if shards:
        # it is in place, and would be put around itself
        accelerator.state.fsdp_plugin.activation_checkpointing = False
    for place, parameter in enumerate(model.parameters()):
        shard = getattr(parameter, "_local_tensor", None)
        if shard is not None and shard.numel() == 0:
            # accelerate 1.15 knows a parameter again by the address of its data, which all empty shards share
            shard.data_ptr = partial(int, -1 - place)
