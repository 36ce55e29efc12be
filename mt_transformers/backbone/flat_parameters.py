"""All parameters of a module, or all their gradients, as one flat tensor: what continual learning computes with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ..errors import InputError

__all__ = ["FlatParametersMixin"]


class FlatParametersMixin(nn.Module):
    """
    Adds `get_params`, `set_params`, `get_grads`, `get_grads_list` and `set_grads` to a module.

    The order is that of `named_parameters()`, in which parameters that are tied stand once. Several dtypes come to one
    that holds all of them, so that what was read goes back to the bit; several devices come to the first parameter's.
    Methods take `trainable_only=True` to leave out what is frozen: with peft's adapters that is all but the adapters
    and the heads. What is frozen between reading and writing changes the length.

    Source: Mammoth's `MammothBackbone`, `backbone/__init__.py` of https://github.com/aimagelab/mammoth.

    Example:
        >>> class Scale(FlatParametersMixin):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.weight = nn.Parameter(torch.tensor([[1.0, 2.0]]))
        ...         self.bias = nn.Parameter(torch.tensor([3.0]))
        >>> scale = Scale()
        >>> scale.get_params()
        tensor([1., 2., 3.])
        >>> scale.set_params(torch.tensor([4.0, 5.0, 6.0]))
        >>> scale.weight.tolist(), scale.bias.tolist(), scale.get_grads()
        ([[4.0, 5.0]], [6.0], tensor([0., 0., 0.]))
    """

    def get_params(self, *, trainable_only: bool = False) -> torch.Tensor:
        """
        Copy all parameters into one flat tensor.

        Args:
            trainable_only (`bool`, *optional*, defaults to `False`): Whether to leave out those that are frozen.

        Returns:
            `torch.Tensor` of shape `(parameters,)`: The values, without a history; empty if there are none.

        Raises:
            InputError: If parameters are sharded over processes.
        """
        parameters = self._flattened(trainable_only)
        return _flatten([parameter.detach() for parameter in parameters])

    def set_params(self, flat: torch.Tensor, *, trainable_only: bool = False) -> None:
        """
        Copy the values of a flat tensor into the parameters, which stay the same objects.

        Args:
            flat (`torch.Tensor` of shape `(parameters,)`): The values, in the order of [`get_params`].
            trainable_only (`bool`, *optional*, defaults to `False`): As `flat` was read.

        Raises:
            InputError: If the shape is another, or parameters are sharded over processes.
        """
        parameters = self._flattened(trainable_only)
        with torch.no_grad():
            for parameter, part in zip(parameters, _parts(flat, parameters, "set_params"), strict=True):
                parameter.copy_(part)

    def get_grads(self, *, trainable_only: bool = False) -> torch.Tensor:
        """
        Copy all gradients into one flat tensor, zeros where a parameter has none.

        Args:
            trainable_only (`bool`, *optional*, defaults to `False`): Whether to leave out parameters that are frozen.

        Returns:
            `torch.Tensor` of shape `(parameters,)`: The gradients, in the order of [`get_params`].

        Raises:
            InputError: If parameters are sharded over processes.
        """
        return _flatten([_gradient(parameter) for parameter in self._flattened(trainable_only)])

    def get_grads_list(self, *, trainable_only: bool = False) -> list[torch.Tensor]:
        """
        Copy the gradient of each parameter, zeros where it has none.

        Args:
            trainable_only (`bool`, *optional*, defaults to `False`): Whether to leave out parameters that are frozen.

        Returns:
            `list[torch.Tensor]`: For each parameter a tensor of its own shape, dtype and device.

        Raises:
            InputError: If parameters are sharded over processes.
        """
        gradients = [_gradient(parameter) for parameter in self._flattened(trainable_only)]
        return [gradient.clone(memory_format=torch.contiguous_format) for gradient in gradients]

    def set_grads(self, flat: torch.Tensor, *, trainable_only: bool = False) -> None:
        """
        Give every parameter that is trained its part of a flat tensor as gradient, in place of the one it has.

        Args:
            flat (`torch.Tensor` of shape `(parameters,)`):
                The gradients, in the order of [`get_params`]. Parts of frozen parameters have to be there, unless
                `trainable_only`, and go nowhere: an optimizer would step along them.
            trainable_only (`bool`, *optional*, defaults to `False`): As `flat` was read.

        Raises:
            InputError: If the shape is another, or parameters are sharded over processes.
        """
        parameters = self._flattened(trainable_only)
        for parameter, part in zip(parameters, _parts(flat, parameters, "set_grads"), strict=True):
            if parameter.requires_grad:
                # a copy, or the gradients of all parameters would be views of what the caller goes on computing with
                parameter.grad = part.to(device=parameter.device, dtype=parameter.dtype, copy=True)

    def _flattened(self, trainable_only: bool) -> list[nn.Parameter]:
        """The parameters in question, in their order."""
        named = self.named_parameters()
        parameters = {name: each for name, each in named if each.requires_grad or not trainable_only}
        sharded = next((name for name, each in parameters.items() if isinstance(each, DTensor)), None)
        if sharded is not None:
            raise InputError(
                f"parameter {sharded!r} is sharded over processes (DTensor): expected whole parameters. Train with "
                "DDP, or gather them with torch.distributed.checkpoint.state_dict.get_model_state_dict."
            )
        return list(parameters.values())


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    """The gradient, dense and without a history; zeros if there is none."""
    gradient = parameter.grad
    if gradient is None:
        # one zero that is seen everywhere: a backbone may be frozen because a second copy of it has no room
        return parameter.new_zeros(()).expand_as(parameter)
    return gradient.detach().to_dense()


def _flatten(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """One copy of all values, one after the other."""
    if not values:
        return torch.empty(0)
    sizes = [value.numel() for value in values]
    flat = torch.empty(sum(sizes), dtype=_common_dtype(values), device=values[0].device)
    for part, value in zip(flat.split(sizes), values, strict=True):
        part.view(value.shape).copy_(value)
    return flat


def _common_dtype(values: Sequence[torch.Tensor]) -> torch.dtype:
    """A dtype that holds all values to the bit, those of weights that are quantized among them."""
    dtypes = {value.dtype for value in values}
    if len(dtypes) == 1:
        return dtypes.pop()
    # torch promotes no floats of 8 bits, and integers to any float, however few its digits
    if len({each.is_floating_point for each in dtypes}) > 1:
        dtypes.add(torch.float64)
    eights = {each for each in dtypes if each.is_floating_point and each.itemsize == 1}
    return reduce(torch.promote_types, (dtypes - eights) | ({torch.float32} if eights else set()))


def _parts(flat: torch.Tensor, parameters: Sequence[nn.Parameter], caller: str) -> list[torch.Tensor]:
    """The part of each parameter, in its shape."""
    sizes = [parameter.numel() for parameter in parameters]
    if flat.dim() != 1 or len(flat) != sum(sizes):
        raise InputError(
            f"{caller}: expected a flat tensor of {sum(sizes)} values, found "
            + (f"{len(flat)}." if flat.dim() == 1 else f"one of shape {tuple(flat.shape)} ({flat.numel()} values).")
        )
    split = flat.detach().split(sizes)
    return [part.view(each.shape) for part, each in zip(split, parameters, strict=True)]
