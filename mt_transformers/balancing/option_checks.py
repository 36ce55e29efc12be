"""How a method and its options are given, and checks of options that several methods have."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..errors import InputError

__all__ = ["check_fraction", "check_from_zero", "check_positive", "check_whole", "is_number", "name_and_options"]


def name_and_options(given: Any, where: str) -> tuple[str, dict[str, Any]]:
    """
    Read what a method is given as: its name, or a mapping with `name` and its options.

    Args:
        given (`str` or `Mapping[str, Any]`): What was given.
        where (`str`): Where, for the message.

    Returns:
        `tuple[str, dict[str, Any]]`: The name, and the options, both unchecked.

    Raises:
        InputError: If it is neither.

    Example:
        >>> name_and_options("uw", "balancing"), name_and_options({"name": "dwa", "period": 9}, "balancing")
        (('uw', {}), ('dwa', {'period': 9}))
    """
    values = {"name": given} if isinstance(given, str) else given
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise InputError(f"{where}: expected a name, or a mapping with a 'name', found {given!r}.")
    return values["name"], {key: value for key, value in values.items() if key != "name"}


def is_number(value: Any) -> bool:
    """
    Tell whether a value is a number that can be computed with.

    Args:
        value (`Any`): What was given.

    Returns:
        `bool`: False for truth values, texts, NaN, the infinities and what is beyond the range of floats.

    Example:
        >>> is_number(2), is_number(True), is_number("1e-3"), is_number(float("nan"))
        (True, False, False, False)
    """
    largest = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest


def check_positive(name: str, value: Any) -> None:
    """
    Refuse what is no number above 0.

    Args:
        name (`str`): The option.
        value (`Any`): What was given.

    Raises:
        InputError: If it is none.
    """
    if not is_number(value) or value <= 0:
        raise InputError(f"{name}: expected a number above 0, found {value!r}.")


def check_from_zero(name: str, value: Any) -> None:
    """
    Refuse what is no number from 0 up.

    Args:
        name (`str`): The option.
        value (`Any`): What was given.

    Raises:
        InputError: If it is none.
    """
    if not is_number(value) or value < 0:
        raise InputError(f"{name}: expected a number from 0 up, found {value!r}.")


def check_fraction(name: str, value: Any) -> None:
    """
    Refuse what is no number from 0 to below 1.

    Args:
        name (`str`): The option.
        value (`Any`): What was given.

    Raises:
        InputError: If it is none.
    """
    if not is_number(value) or not 0 <= value < 1:
        raise InputError(f"{name}: expected a number from 0 to below 1, found {value!r}.")


def check_whole(name: str, value: Any, expected: str, least: int) -> None:
    """
    Refuse what is no whole number.

    Args:
        name (`str`): The option.
        value (`Any`): What was given.
        expected (`str`): What the message says that was expected.
        least (`int`): The smallest that can be used.

    Raises:
        InputError: If it is none, or smaller.
    """
    if type(value) is not int or value < least:
        raise InputError(f"{name}: expected {expected}, found {value!r}.")
