"""Gradients of rows that a strategy has chosen, apart from those that training adds up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...heads.base import full_precision
from ..learner import Learner

__all__ = ["flatten_gradients", "loss_gradients", "loss_scale", "trained_parameters"]


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """
    The parameters that are not frozen, in the order in which `get_grads(trainable_only=True)` has them.

    Args:
        model (`nn.Module`): The model.

    Returns:
        `dict[str, nn.Parameter]`: By name.

    Example:
        >>> list(trained_parameters(nn.Linear(2, 1)))
        ['weight', 'bias']
    """
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def loss_scale(learner: Learner) -> torch.Tensor:
    """
    What losses, and with them the gradients of a step, are multiplied with under fp16; 1 otherwise.

    Args:
        learner ([`Learner`]): Of the experience.

    Returns:
        `torch.Tensor` of shape `()`: On the device, so that nobody has to wait for it.
    """
    scaler = learner.accelerator.scaler
    one = torch.ones((), device=learner.args.device)
    return one if scaler is None else scaler.scale(one)


def loss_gradients(loss: torch.Tensor, parameters: Sequence[nn.Parameter]) -> list[torch.Tensor | None]:
    """
    Compute the gradient of a loss without a trace in the parameters, nor in what waits for their gradients (DDP).

    Args:
        loss (`torch.Tensor` of shape `()`): The loss.
        parameters (`Sequence[nn.Parameter]`): The parameters.

    Returns:
        `list[torch.Tensor | None]`: For each parameter a tensor of its shape; None if the loss does not reach it.

    Example:
        >>> first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))
        >>> loss_gradients(3 * first.sum(), [first, second]), first.grad
        ([tensor([3., 3.]), None], None)
    """
    if not loss.requires_grad:
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, parameters, allow_unused=True))


def flatten_gradients(gradients: Sequence[torch.Tensor | None], parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """
    Put gradients one after the other, zeros where there is none.

    Args:
        gradients (`Sequence[torch.Tensor | None]`): The gradient of each parameter.
        parameters (`Sequence[nn.Parameter]`): The parameters, at least one.

    Returns:
        `torch.Tensor` of shape `(elements,)`: In at least float32.

    Example:
        >>> flatten_gradients([None, torch.tensor([2.0])], [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))])
        tensor([0., 0., 2.])
    """
    parts = [
        parameter.new_zeros(parameter.numel()) if gradient is None else gradient.reshape(-1)
        for gradient, parameter in zip(gradients, parameters, strict=True)
    ]
    return full_precision(torch.cat(parts))
