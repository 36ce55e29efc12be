"""Training where some of the model is frozen: from the start, or for some steps."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from torch import nn

from ..errors import InputError
from ..modeling import MultiTaskModel
from .components import find_component
from .sharding import broadcast_model

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = [
    "check_same_parameters",
    "check_trainable",
    "drop_gradients",
    "prepare_without_ddp",
    "trainable_names",
    "warn_of_drift",
]


_WRAPPED = "_checkpoint_wrapped_module."
"""What torch puts into a name where activations are computed again (FSDP2's `activation_checkpointing`)."""


def trainable_names(model: MultiTaskModel) -> frozenset[str]:
    """Names of the parameters that are not frozen, which are the same before and after accelerate wraps the blocks."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return frozenset(name.replace(_WRAPPED, "") for name in names)


def check_trainable(model: MultiTaskModel, fed: Collection[str]) -> None:
    """
    Refuse a training that changes nothing.

    Args:
        model ([`MultiTaskModel`]): The model.
        fed (`Collection[str]`): Heads that the tasks feed.

    Raises:
        InputError: If all that the tasks could train is frozen.
    """
    idle = set(model.named_heads) - set(fed)
    if all(find_component(name) in idle for name in trainable_names(model)):
        raise InputError(
            f"nothing to train: the backbone is frozen, and so is every head that a task feeds ({', '.join(fed)})."
        )


def check_same_parameters(before: frozenset[str], now: frozenset[str], in_ddp: bool) -> None:
    """
    Refuse to train on with an optimizer, or with DDP's buckets, that were made when other parts were frozen.

    Args:
        before (`frozenset[str]`): The parameters that were trained when the optimizer was made.
        now (`frozenset[str]`): Those that are to be trained.
        in_ddp (`bool`): Whether DDP waits for the gradients of those before.

    Raises:
        InputError: If the optimizer lacks a parameter, or DDP would wait for one in vain, naming it.
    """
    changed = sorted(now - before or (before - now if in_ddp else ()))
    if changed:
        raise InputError(
            f"{changed[0]} was {'unfrozen' if changed[0] in now else 'frozen'} after this trainer had begun to train: "
            "make a new trainer."
        )


def warn_of_drift(model: MultiTaskModel) -> None:
    """
    Warn of frozen heads over a backbone that is trained.

    Args:
        model ([`MultiTaskModel`]): The model.
    """
    parameters = {name: list(head.parameters()) for name, head in model.named_heads.items()}
    frozen = [name for name, own in parameters.items() if own and not any(each.requires_grad for each in own)]
    if frozen and not model.backbone.is_frozen:
        warnings.warn(
            f"The heads {', '.join(frozen)} are frozen and the backbone is not: their answers will drift as the "
            "backbone moves. Freeze it as well (model.freeze_backbone()), or evaluate these heads again.",
            stacklevel=3,
        )


def drop_gradients(model: MultiTaskModel, freeze_until: Mapping[str, int], step: int) -> None:
    """
    Take the gradients of components that are not to change yet, with which the optimizer passes them over.

    It comes when all of the step's gradients are there and exchanged, so that no process waits for one.

    Args:
        model ([`MultiTaskModel`]): The model.
        freeze_until (`Mapping[str, int]`): For components the number of optimizer steps without a change.
        step (`int`): Number of optimizer steps that were made.
    """
    for component, until in freeze_until.items():
        if step < until:
            part: nn.Module = model.backbone if component == "backbone" else model.named_heads[component]
            part.zero_grad(set_to_none=True)


def prepare_without_ddp(model: MultiTaskModel, accelerator: Accelerator) -> None:
    """
    Prepare a model for several processes whose backbone is frozen, or has an adapter for each task.

    DDP refuses one that has nothing to exchange, and would wait for a gradient of every task's adapter at each step.
    The gradients of heads and of tasks' adapters are exchanged without it.

    Args:
        model ([`MultiTaskModel`]): The model; every process gets the weights of the first one.
        accelerator (`Accelerator`): Knows the processes; it takes the model as prepared from then on.
    """
    broadcast_model(model, accelerator.device)
    accelerator.prepare_model(model, evaluation_mode=True)
