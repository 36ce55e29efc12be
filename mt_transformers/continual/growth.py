"""A model that gets the heads, and the classes, of one experience after another."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError
from ..heads import HeadConfig
from ..heads.labels import ClassHeadConfig
from ..modeling import MultiTaskModel

__all__ = ["grow_model"]


def grow_model(model: MultiTaskModel, heads: Mapping[str, HeadConfig]) -> None:
    """
    Add the heads that a model lacks, and to those that it has the classes that they lack.

    Args:
        model ([`MultiTaskModel`]): The model; what it has already stays to the bit.
        heads (`Mapping[str, HeadConfig]`): The heads as they are to be.

    Raises:
        InputError: If a head of the model is of another type, or has other classes in front.
    """
    for name, config in heads.items():
        if name not in model.named_heads:
            model.add_head(name, config.to_dict())
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
