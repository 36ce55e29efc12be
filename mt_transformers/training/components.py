"""Components of a model, the backbone and the heads, and settings that are given for some of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from ..errors import InputError, check_known
from .arguments import MultiTaskTrainingArguments

__all__ = ["ALL_HEADS", "check_components", "check_settings", "find_component", "settings_by_component"]

ALL_HEADS = "heads"
"""What stands for all heads in such settings."""

_PEFT_PREFIX = "base_model.model."
"""What stands before the names of the model's parameters in peft's model around it."""

Setting = TypeVar("Setting")


def check_components(settings: Mapping[str, Setting], heads: Collection[str], where: str) -> None:
    """
    Refuse settings for components that the model does not have.

    Args:
        settings (`Mapping[str, Any]`): For `backbone`, `heads` or a head's name its setting.
        heads (`Collection[str]`): Names of the heads.
        where (`str`): Where they were given, for the message.

    Raises:
        InputError: If a name is unknown, or may mean two things.

    Example:
        >>> check_components({"intnet": 1e-3}, ["intent"], "learning_rates")
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: learning_rates: unknown component 'intnet', did you mean 'intent'? Known: \
backbone, heads, intent.
    """
    check_known(settings, ["backbone", ALL_HEADS, *heads], where, "component")
    if ALL_HEADS in settings and ALL_HEADS in heads:
        raise InputError(f"{where}: {ALL_HEADS!r} means all heads, but one of them has that name: name each head.")


def check_settings(args: MultiTaskTrainingArguments, heads: Collection[str]) -> None:
    """
    Refuse training arguments for components that the model does not have.

    Args:
        args ([`MultiTaskTrainingArguments`]): The training arguments.
        heads (`Collection[str]`): Names of the heads.

    Raises:
        InputError: As [`check_components`].
    """
    for where in ("learning_rates", "weight_decays", "freeze_until"):
        check_components(getattr(args, where), heads, where)


def settings_by_component(settings: Mapping[str, Setting], heads: Collection[str]) -> dict[str, Setting]:
    """
    Give every component the setting that holds for it: a head's own one, or that of all heads.

    Args:
        settings (`Mapping[str, Any]`): For `backbone`, `heads` or a head's name its setting.
        heads (`Collection[str]`): Names of the heads.

    Returns:
        `dict[str, Any]`: For `backbone` and each head its setting; components without one are left out.

    Example:
        >>> settings_by_component({"heads": 1e-3, "intent": 1e-4}, ["intent", "slots"])
        {'intent': 0.0001, 'slots': 0.001}
    """
    of_all = dict.fromkeys(heads, settings[ALL_HEADS]) if ALL_HEADS in settings else {}
    return of_all | {name: value for name, value in settings.items() if name != ALL_HEADS}


def find_component(name: str) -> str:
    """
    Find the component that a parameter of the model belongs to.

    Args:
        name (`str`): The parameter's name in the model, or in peft's model around it.

    Returns:
        `str`: `backbone`, or the name of a head.

    Example:
        >>> find_component("heads.intent.classifier.weight"), find_component("backbone.model.pooler.dense.bias")
        ('intent', 'backbone')
    """
    part, _, rest = name.removeprefix(_PEFT_PREFIX).partition(".")
    return rest.partition(".")[0] if part == "heads" else part
