"""Head types by name, so that a head in a saved config is found again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError, check_known

if TYPE_CHECKING:
    from .base import Head, HeadConfig

__all__ = ["get_head_class", "get_head_config", "head_types", "register_head"]

_HEADS: dict[str, type[Head]] = {}

HeadClass = TypeVar("HeadClass", bound="type[Head]")


def register_head(head_type: str) -> Callable[[HeadClass], HeadClass]:
    """
    Make a [`Head`] class known under a name, to be used as a class decorator.

    The registry is open: a head defined in any package trains, saves and loads like the heads of this one, as long as
    the module that defines it is imported before a config that names it is used.

    Args:
        head_type (`str`): Name of the head type, in snake_case, as it stands in a config's `head_type`.

    Returns:
        The decorator, which hands the class back unchanged but for `config_class.head_type`.

    Raises:
        ValueError: If the name is taken by another class (says whose it is), or is no identifier.

    Example:
        >>> from mt_transformers.heads import SequenceClassificationHead, register_head
        >>> register_head("sequence_classification")(SequenceClassificationHead) is SequenceClassificationHead
        True
    """
    if not head_type.isidentifier():
        raise ValueError(f"A head type is an identifier in snake_case, found {head_type!r}.")

    def register(head_class: HeadClass) -> HeadClass:
        owner = _HEADS.get(head_type)
        if owner is not None and (owner.__module__, owner.__qualname__) != (
            head_class.__module__,
            head_class.__qualname__,
        ):
            raise ValueError(
                f"The head type {head_type!r} belongs to {owner.__module__}.{owner.__qualname__}: "
                f"{head_class.__module__}.{head_class.__qualname__} needs another name."
            )
        head_class.config_class.head_type = head_type
        _HEADS[head_type] = head_class
        return head_class

    return register


def head_types() -> tuple[str, ...]:
    """Names of all registered head types, in alphabetical order."""
    return tuple(sorted(_HEADS))


def get_head_class(head_type: str) -> type[Head]:
    """
    Find the head class registered under a name.

    Args:
        head_type (`str`): Name of the head type.

    Returns:
        `type[Head]`: The class.

    Raises:
        InputError: If no class is registered under that name.
    """
    check_known([head_type], _HEADS, "heads", "head_type")
    return _HEADS[head_type]


def get_head_config(name: str, values: HeadConfig | dict[str, Any]) -> HeadConfig:
    """
    Build the config of one head from what a config file or a recipe says of it.

    Args:
        name (`str`): Name of the head, for messages.
        values (`HeadConfig` or `dict[str, Any]`):
            The fields, with `head_type` among them. A [`HeadConfig`] is copied, not shared.

    Returns:
        [`HeadConfig`]: The config, of the class that belongs to the `head_type`.

    Raises:
        InputError: If `head_type` is missing or unknown, or a field is unknown or has a value that cannot be used.

    Example:
        >>> get_head_config("intent", {"head_type": "sequence_classification", "num_labels": 3}).num_labels
        3
    """
    if not isinstance(values, dict):
        if not hasattr(values, "head_type"):
            raise InputError(f"head {name!r}: expected its fields, found {values!r}.")
        values = values.to_dict()
    if "head_type" not in values:
        raise InputError(f"head {name!r}: no 'head_type' given. Known head types: {', '.join(head_types())}.")
    config_class = get_head_class(values["head_type"]).config_class
    fields = {key: value for key, value in values.items() if key != "head_type"}
    check_known(fields, config_class.field_names(), f"head {name!r} ({config_class.head_type})")
    try:
        return config_class(**fields)
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"head {name!r} ({config_class.head_type}): {error}") from error
