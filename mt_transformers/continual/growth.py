"""A model that gets the heads, and the classes, of one experience after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import InputError
from ..heads import HeadConfig
from ..heads.labels import ClassHeadConfig
from ..modeling import MultiTaskModel

__all__ = ["grow_model"]


def grow_model(
    model: MultiTaskModel,
    heads: Mapping[str, HeadConfig],
    *,
    tasks: Mapping[str, Sequence[str]] | None = None,
    loss_weights: Mapping[str, float] | None = None,
) -> None:
    """
    Add the heads that a model lacks, and to those that it has the classes that they lack.

    Args:
        model ([`MultiTaskModel`]): The model; what it has already stays to the bit.
        heads (`Mapping[str, HeadConfig]`): The heads as they are to be.
        tasks (`Mapping[str, Sequence[str]]`, *optional*):
            For each task its heads, of which some may come later. A task joins the model's config with the first of
            its heads, unless that config names no tasks.
        loss_weights (`Mapping[str, float]`, *optional*): Weight of the loss of heads that join, 1 where none is given.

    Raises:
        InputError: If a head of the model is of another type, or has other classes in front.
    """
    for name, config in heads.items():
        if name not in model.named_heads:
            model.add_head(name, config.to_dict(), loss_weight=(loss_weights or {}).get(name))
            continue
        found = model.named_heads[name].config
        if found.head_type != config.head_type:
            raise InputError(
                f"head {name!r}: expected {config.head_type}, as the scenario has it, found {found.head_type}."
            )
        if isinstance(config, ClassHeadConfig) and isinstance(found, ClassHeadConfig):
            known, wanted = found.names, config.names
            if known != wanted[: len(known)]:
                raise InputError(f"head {name!r}: expected its classes to begin with {known}, as the model has them.")
            if len(wanted) > len(known):
                model.extend_head(name, wanted[len(known) :])
    if model.config.tasks:
        own = {task: [name for name in names if name in model.named_heads] for task, names in (tasks or {}).items()}
        model.config.tasks = {**model.config.tasks, **{task: names for task, names in own.items() if names}}
