"""FSDP2: the backbone is sharded by its blocks, the heads stay whole on every process."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ..errors import InputError
from ..heads import outputs_read
from ..heads.reading_config import SCALAR_MIX, ReadingConfig
from ..modeling import MultiTaskModel
from ..routing import get_forward_arguments

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["broadcast_model", "check_parallelism", "choose_shards", "give_heads_own_groups", "make_ready_again", "read_alike"]

_DEEPSPEED = (
    "deepspeed: its gradients are exchanged for all parameters or for none, so that weight decay and momentum would "
    "move heads without a row, and ZeRO-3 waits for every process to run every head: use FSDP2 "
    "(fsdp=True, or fsdp_version: 2 in accelerate's config), which shards as much of the backbone."
)


def check_parallelism(model: MultiTaskModel, accelerator: Accelerator) -> bool:
    """
    Refuse what would stop the processes, or train something else than one process trains.

    Args:
        model ([`MultiTaskModel`]): The model.
        accelerator (`Accelerator`): Knows how it is distributed.

    Returns:
        `bool`: True if the backbone is going to be sharded.

    Raises:
        InputError: If so.
    """
    state = accelerator.state
    if state.deepspeed_plugin is not None:
        raise InputError(_DEEPSPEED)
    if getattr(state, "fsdp_plugin", None) is None:
        if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
            raise InputError(
                f"fsdp: accelerate shards nothing here, found {state.num_processes} process(es) on "
                f"{state.device.type}: start one process a GPU, or leave fsdp out."
            )
        return False
    for found, message in _refused(accelerator, model.backbone.model):
        if found:
            raise InputError(f"fsdp: {message}")
    return True


def _refused(accelerator: Accelerator, backbone: PreTrainedModel) -> list[tuple[bool, str]]:
    plugin, config = accelerator.state.fsdp_plugin, backbone.config
    dropped = [name for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop") if getattr(config, name, 0)]
    kind = f"a {config.model_type!r} backbone"
    return [
        (plugin.fsdp_version != 2, f"expected version 2, found {plugin.fsdp_version}."),
        (_version(torch.__version__) < (2, 7), f"expected torch from 2.7 up, found {torch.__version__}."),
        (isinstance(plugin.cpu_offload, CPUOffloadPolicy), "offloading the parameters is not supported, the heads stay on the device."),
        (accelerator.mixed_precision not in ("no", "bf16"), f"expected bf16, found {accelerator.mixed_precision}."),
        (accelerator.parallelism_config is not None, "it cannot be combined with another parallelism_config."),
        (accelerator.state.dynamo_plugin.backend.value != "NO", "it cannot be combined with torch_compile."),
        (bool(dropped), f"set {' and '.join(dropped)} to 0 in the backbone's config, processes would drop others."),
        (bool(backbone.all_tied_weights_keys), f"{kind} has tied weights, of which only one would be sharded."),
    ]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".")[:2])


def choose_shards(model: MultiTaskModel, accelerator: Accelerator) -> None:
    """
    Tell accelerate to shard the blocks of the backbone, each by itself, and to leave the heads whole.

    Processes run the heads that their rows have labels for. Gathering a shard takes all processes, so that a sharded
    head would have to be run by all of them.

    Args:
        model ([`MultiTaskModel`]): The model, before it is prepared.
        accelerator (`Accelerator`): Its plugin is changed.
    """
    plugin = accelerator.state.fsdp_plugin
    plugin.ignored_modules = "heads"
    # all weights have come from the first process by then
    plugin.cpu_ram_efficient_loading = False
    if plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = sorted(_block_names(model))
    if plugin.mixed_precision_policy is not None:
        # labels that are numbers would be rounded on their way in, and the loss on its way out
        plugin.mixed_precision_policy = replace(
            plugin.mixed_precision_policy, output_dtype=None, cast_forward_inputs=False
        )


def _block_names(model: MultiTaskModel) -> set[str]:
    """Classes of the backbone's blocks; token embeddings become a shard of their own."""
    embeddings = model.get_input_embeddings()
    modules = list(model.backbone.model.modules())
    named = set(model._no_split_modules or ()) or {
        type(module).__name__ for module in modules if isinstance(module, GradientCheckpointingLayer)
    }
    around = {type(module).__name__ for module in modules if embeddings in module.modules()}
    return named - around


def broadcast_model(model: MultiTaskModel, device: torch.device) -> None:
    """
    Give every process the weights of the first one, as DDP does; a shard of each would make a model of its own.

    Args:
        model ([`MultiTaskModel`]): The model, before it is sharded. Its heads are put on the device.
        device (`torch.device`): The process's device.
    """
    model.heads.to(device)
    for tensor in [*model.parameters(), *model.buffers()]:
        sent = tensor.detach().to(device).contiguous()
        torch.distributed.broadcast(sent, src=0)
        with torch.no_grad():
            tensor.copy_(sent)


def give_heads_own_groups(optimizer: torch.optim.Optimizer, model: MultiTaskModel) -> None:
    """
    Part the heads' parameters from the sharded ones, with which no fused step can be shared.

    Args:
        optimizer (`torch.optim.Optimizer`): The optimizer, before its first step.
        model ([`MultiTaskModel`]): The model.
    """
    heads = {id(parameter) for parameter in model.heads.parameters()}
    groups = []
    for group in optimizer.param_groups:
        parts = ([], [])  # type: tuple[list[nn.Parameter], list[nn.Parameter]]
        for parameter in group["params"]:
            parts[id(parameter) in heads].append(parameter)
        groups += [{**group, "params": part} for part in parts if part]
    optimizer.param_groups[:] = groups


def make_ready_again(model: MultiTaskModel, accelerator: Accelerator) -> None:
    """
    Make a sharded model one that accelerate can prepare once more: for training behind an evaluation or a training.

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
            # accelerate 1.15 knows a parameter again by the address of its data, and all empty shards are at 0
            shard.data_ptr = partial(int, -1 - place)


def read_alike(model: MultiTaskModel, fed: Collection[str], active: Callable[[], Collection[str]]) -> None:
    """
    Make every process run and differentiate the same parts of the backbone, whichever heads its rows go to.

    FSDP gathers a block before it runs and exchanges its gradients after, with all processes. A block that no head of
    the step reads gets no gradient on any of them, as on one process.

    Args:
        model ([`MultiTaskModel`]): The model.
        fed (`Collection[str]`): Heads that the tasks feed.
        active (`Callable`): Gives the heads that have a labelled row in the step on any process.
    """
    configs = {name: model.named_heads[name].config for name in fed}
    asked = {
        "layers": any(config.layer != -1 for config in configs.values()),
        "outputs": {name for config in configs.values() for name in outputs_read(config)} or None,
    }

    reads_embeddings = any("token_embeddings" in get_forward_arguments(head) for head in model.heads.values())

    def ask(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        if reads_embeddings:
            _keep_embeddings(model)
        return (args, kwargs | asked) if module.training and torch.is_grad_enabled() else None

    def join(module: nn.Module, args: Any, encoded: dict[str, Any]) -> dict[str, Any]:
        if not (module.training and torch.is_grad_enabled()):
            return encoded
        return _join(encoded, _places([configs[name] for name in active()], encoded))

    model.backbone.register_forward_pre_hook(ask, with_kwargs=True)
    model.backbone.register_forward_hook(join)


def _keep_embeddings(model: MultiTaskModel) -> None:
    """
    Keep the token embeddings gathered until the backward pass where heads read them once the backbone has run.

    FSDP sends their gradient when all of the backward pass is done, the heads' part of it included.
    """
    shards = [each for each in model.modules() if isinstance(each, FSDPModule)]
    embeddings = model.get_input_embeddings()
    around = [each for each in shards if any(module is embeddings for module in each.modules())]
    # modules come from the outside in
    if around:
        around[-1].set_reshard_after_forward(False, recurse=False)


def _places(configs: Collection[ReadingConfig], encoded: Mapping[str, Any]) -> set[tuple[str, int | None]]:
    """Where in the backbone's outputs the heads with these configs read: a name, and the layer if it is a tuple."""
    places: set[tuple[str, int | None]] = set()
    for config in configs:
        for name in outputs_read(config):
            layers = f"{name.removeprefix('encoded_')}_layers"
            if config.layer == -1 or config.reads_pooled:
                places.add((name, None))
            elif layers in encoded:
                number = len(encoded[layers])
                read = range(number) if config.layer == SCALAR_MIX else [int(config.layer) % number]
                places |= {(layers, layer) for layer in read}
    return places


def _join(encoded: dict[str, Any], places: Collection[tuple[str, int | None]]) -> dict[str, Any]:
    """Put the tensors at these places into one graph, and cut all others out of any."""
    found = {
        (name, layer): tensor
        for name, value in encoded.items()
        for layer, tensor in (enumerate(value) if isinstance(value, tuple) else [(None, value)])
        if torch.is_tensor(tensor) and tensor.requires_grad
    }
    if not places or not found.keys() & places:
        return encoded
    joined = _OneGraph.apply(*(each if place in places else each.detach() for place, each in found.items()))
    new = dict(zip(found, joined, strict=True))
    return {
        name: tuple(new.get((name, layer), each) for layer, each in enumerate(value))
        if isinstance(value, tuple)
        else new.get((name, None), value)
        for name, value in encoded.items()
    }


class _OneGraph(torch.autograd.Function):
    """The tensors as they are; a gradient of one of them brings zeros for those that have none."""

    @staticmethod
    def forward(context: Any, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(each.view_as(each) for each in tensors)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return gradients
