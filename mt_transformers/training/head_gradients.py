"""Gradients of the heads over several processes: exchanged for the heads that ran, and for no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.parallel import DistributedDataParallel

from ..data import MEDIA, Task
from ..heads import outputs_read
from ..heads.reading_config import SCALAR_MIX
from ..modeling import MultiTaskModel

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = [
    "average_gradients",
    "average_head_gradients",
    "backbone_may_idle",
    "broadcast_heads",
    "leave_heads_out_of_ddp",
]


def leave_heads_out_of_ddp(model: MultiTaskModel) -> None:
    """
    Keep the heads out of DDP's buckets, which wait for a gradient of every parameter in them.

    A process whose rows do not reach a head has no gradient for it. With `find_unused_parameters` DDP would search
    the graph at every step and fill zeros in, with which weight decay and momentum would still move the head. Here
    the head is left alone unless some process has a row for it; [`average_head_gradients`] does the exchange.

    Args:
        model ([`MultiTaskModel`]): The model, before it is wrapped.
    """
    own = {id(each) for each in (*model.heads.parameters(), *model.heads.buffers())}
    # the model may be in another one, peft's, and its names are longer there
    names = [name for name, each in (*model.named_parameters(), *model.named_buffers()) if id(each) in own]
    # the function behind DDP's `_ddp_params_and_buffers_to_ignore`; there is no public one up to torch 2.13
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, names)


def backbone_may_idle(model: MultiTaskModel, tasks: Mapping[str, Task]) -> bool:
    """
    Tell whether parts of the backbone may get no gradient in a step, so that DDP has to look for them.

    A step may have rows of one task only.

    Args:
        model ([`MultiTaskModel`]): The model.
        tasks (`Mapping[str, Task]`): The tasks it is trained on.

    Returns:
        `bool`: True if some head reads a lower layer, heads read different outputs of the backbone, or tasks read
        different kinds of input.
    """
    configs = [model.named_heads[name].config for task in tasks.values() for name in task.labels]
    below = any(config.layer not in (-1, SCALAR_MIX) for config in configs)
    outputs = {outputs_read(config) for config in configs}
    kinds = {frozenset(MEDIA.get(name, "encoded_text") for name in task.inputs) for task in tasks.values()}
    return below or len(outputs) > 1 or len(kinds) > 1


def broadcast_heads(model: MultiTaskModel) -> None:
    """
    Give every process the heads of the first one, as DDP does with the parameters that it knows.

    Args:
        model ([`MultiTaskModel`]): The model.
    """
    for tensor in [*model.heads.parameters(), *model.heads.buffers()]:
        torch.distributed.broadcast(tensor.data, src=0)


def average_head_gradients(model: MultiTaskModel, heads: Iterable[str], accelerator: Accelerator) -> None:
    """
    Average the gradients of some heads over all processes; a process without a gradient counts as zeros.

    Args:
        model ([`MultiTaskModel`]): The model.
        heads (`Iterable[str]`): Heads with a row in the step on any process; the same on all of them.
        accelerator (`Accelerator`): Knows the processes.
    """
    average_gradients(
        [each for name in sorted(heads) for each in model.heads[name].parameters() if each.requires_grad], accelerator
    )


def average_gradients(parameters: Sequence[torch.nn.Parameter], accelerator: Accelerator) -> None:
    """
    Average the gradients of some parameters over all processes; a process without a gradient counts as zeros.

    Args:
        parameters (`Sequence[nn.Parameter]`): The parameters; the same, in the same order, on all processes.
        accelerator (`Accelerator`): Knows the processes.
    """
    for dtype in {each.dtype: None for each in parameters}:
        group = [each for each in parameters if each.dtype == dtype]
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in group]
        # one exchange for all heads: (elements,)
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        torch.distributed.all_reduce(flat)
        flat /= accelerator.num_processes
        for each, part in zip(group, flat.split([each.numel() for each in group]), strict=True):
            each.grad = part.view_as(each).clone()
