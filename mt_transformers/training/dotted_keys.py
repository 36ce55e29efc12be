"""Values at dotted keys, as overrides on the command line name them."""

from __future__ import annotations

from typing import Any

from ..errors import InputError

__all__ = ["set_value"]


def set_value(values: dict[str, Any], key: str, value: Any, where: str) -> None:
    """
    Set the value that a dotted key leads to.

    Args:
        values (`dict[str, Any]`): Nested mappings, which are changed; sections that are missing are made.
        key (`str`): The names on the way, such as `training.seed`.
        value (`Any`): The value.
        where (`str`): Where the key was given, for the message.

    Raises:
        InputError: If the key leads through something that is no mapping.

    Example:
        >>> recipe = {"training": {"seed": 0}, "loss_weights": None}
        >>> set_value(recipe, "loss_weights.slots", 2.0, "--loss_weights.slots")
        >>> recipe
        {'training': {'seed': 0}, 'loss_weights': {'slots': 2.0}}
    """
    place, names = values, key.split(".")
    for name in names[:-1]:
        # a section with nothing behind it is None in YAML
        place[name] = {} if place.get(name) is None else place[name]
        place = place[name]
        if not isinstance(place, dict):
            raise InputError(f"{where}: {name!r} is no mapping in the recipe.")
    place[names[-1]] = value
