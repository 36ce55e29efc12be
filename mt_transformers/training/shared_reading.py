"""Processes whose rows go to other heads each: all run and differentiate the same parts of the backbone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..heads import HeadConfig, outputs_read
from ..heads.reading_config import SCALAR_MIX
from ..modeling import MultiTaskModel

__all__ = ["reading_alike"]

_Place = tuple[str, int | None]
"""Name of an output of the backbone, and the layer where the output is a tuple of layers."""


@contextmanager
def reading_alike(
    model: MultiTaskModel, fed: Collection[str], active: Callable[[], Collection[str]]
) -> Iterator[None]:
    """
    Make every process run and differentiate the same parts of the backbone in training, whatever its rows are, while
    a run lasts.

    DDP waits for a gradient of every parameter, and FSDP2 gathers a block before it runs and exchanges its gradients
    after, with all processes. So each runs what some head of a task reads, and has a gradient, zeros if need be, of
    all that the heads of the step read. What none of them reads has no gradient on any process, as on one.

    Args:
        model ([`MultiTaskModel`]): The model, to whose backbone hooks are added for that time.
        fed (`Collection[str]`): Heads that the tasks feed.
        active (`Callable`): Gives the heads that have a labelled row in the step on any process.
    """
    configs = {name: model.named_heads[name].config for name in fed}
    asked = {
        "layers": any(config.layer != -1 for config in configs.values()),
        "outputs": {name for config in configs.values() for name in outputs_read(config)} or None,
    }

    def ask(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return (args, kwargs | asked) if _is_training(module) and kwargs.get("returnt") is None else None

    def join(module: nn.Module, _: Any, encoded: Any) -> Any:
        # one who asks for layers or features alone is not the training
        if not _is_training(module) or not isinstance(encoded, dict):
            return encoded
        return _join(encoded, _places([configs[name] for name in active() or configs], encoded))

    handles = (
        model.backbone.register_forward_pre_hook(ask, with_kwargs=True),
        model.backbone.register_forward_hook(join),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_training(module: nn.Module) -> bool:
    return module.training and torch.is_grad_enabled()


def _places(configs: Collection[HeadConfig], encoded: Mapping[str, Any]) -> set[_Place]:
    """Where in the backbone's outputs the heads with these configs read."""
    places: set[_Place] = set()
    for config in configs:
        for name in outputs_read(config):
            layers = encoded.get(f"{name.removeprefix('encoded_')}_layers", ())
            if config.layer == -1:
                places.add((name, None))
            else:
                read = range(len(layers)) if config.layer == SCALAR_MIX else [int(config.layer) % max(len(layers), 1)]
                places |= {(f"{name.removeprefix('encoded_')}_layers", layer) for layer in read}
    return places


def _join(encoded: dict[str, Any], places: Collection[_Place]) -> dict[str, Any]:
    """Put the tensors at these places into one graph, and take all others out of theirs."""
    found: dict[_Place, torch.Tensor] = {
        (name, layer): tensor
        for name, value in encoded.items()
        for layer, tensor in (enumerate(value) if isinstance(value, tuple) else [(None, value)])
        if torch.is_tensor(tensor) and tensor.requires_grad
    }
    # a batch may be of another kind of input than these heads read
    if not found.keys() & places:
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
    """The tensors as they are; where one of them has a gradient the others have at least zeros."""

    @staticmethod
    def forward(_: Any, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(each.view_as(each) for each in tensors)

    @staticmethod
    def backward(_: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return gradients
