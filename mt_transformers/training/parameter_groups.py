"""Parameter groups: each component has its own learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from ..errors import InputError
from ..modeling import MultiTaskModel
from .arguments import MultiTaskTrainingArguments
from .components import find_component, settings_by_component
from .freezing import trainable_names

__all__ = ["ParameterGroupsMixin", "split_groups"]


class ParameterGroupsMixin(Trainer):
    """Adds `learning_rates` and `weight_decays` to a `Trainer`; without them its optimizer is what it always is."""

    model: MultiTaskModel
    args: MultiTaskTrainingArguments
    _optimized: frozenset[str] | None = None
    """Names of the parameters that the Trainer's own optimizer was made for."""

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As `Trainer.create_optimizer`; components with settings of their own are in groups of their own."""
        is_new, args = self.optimizer is None, self.args
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if is_new:
            self._optimized = trainable_names(self.model)
        if is_new and (args.learning_rates or args.weight_decays):
            heads = list(self.model.heads)
            split_groups(
                optimizer,
                self.model,
                settings_by_component(args.learning_rates, heads),
                settings_by_component(args.weight_decays, heads),
                set(self.get_decay_parameter_names(self.model)),
            )
        return optimizer

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        except ValueError as error:
            if "parameter group" not in str(error):
                raise
            raise InputError(
                f"resume_from_checkpoint: the optimizer in {checkpoint!r} has other groups of parameters. Set "
                "learning_rates and weight_decays, and freeze parts, as in the run that wrote it."
            ) from error


def split_groups(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    learning_rates: Mapping[str, float],
    weight_decays: Mapping[str, float],
    decaying: Collection[str],
) -> None:
    """
    Part an optimizer's groups by the learning rates and weight decays of components; all else stays as it is.

    Args:
        optimizer (`torch.optim.Optimizer`): The optimizer, before its first step.
        model (`nn.Module`): The model, with a `backbone` and `heads`.
        learning_rates (`Mapping[str, float]`): For components their learning rate.
        weight_decays (`Mapping[str, float]`): For components their weight decay.
        decaying (`Collection[str]`): Names of the parameters that weight decay is for.

    Raises:
        InputError: If the optimizer does not hold a component's parameters as they are.

    Example:
        >>> heads = nn.ModuleDict({"a": nn.Linear(1, 1)})
        >>> model = nn.ModuleDict({"backbone": nn.Linear(1, 1, bias=False), "heads": heads})
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.0)
        >>> split_groups(optimizer, model, {"a": 0.5}, {"a": 0.01}, ["backbone.weight", "heads.a.weight"])
        >>> [(len(group["params"]), group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
        [(1, 0.1, 0.0), (1, 0.5, 0.01), (1, 0.5, 0.0)]
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    _check_held(optimizer, model, learning_rates.keys() | weight_decays.keys())
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        parts: dict[tuple[float | None, float | None], list[nn.Parameter]] = {}
        for parameter in group["params"]:
            name = names.get(id(parameter), "")
            component = find_component(name)
            decay = weight_decays.get(component) if name in decaying else None
            parts.setdefault((learning_rates.get(component), decay), []).append(parameter)
        for (rate, decay), parameters in parts.items():
            part = {**group, "params": parameters}
            if rate is not None:
                part["lr"] = rate
            if decay is not None:
                part["weight_decay"] = decay
            groups.append(part)
    optimizer.param_groups[:] = groups


def _check_held(optimizer: torch.optim.Optimizer, model: nn.Module, components: Collection[str]) -> None:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        if find_component(name) in components and parameter.requires_grad and id(parameter) not in held:
            raise InputError(
                f"learning_rates, weight_decays: expected an optimizer that holds {name}, which "
                f"{type(optimizer).__name__} does not: choose another optim."
            )
