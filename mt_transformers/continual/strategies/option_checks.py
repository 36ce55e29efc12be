"""Checks of options that several strategies have."""

from __future__ import annotations

import math
from typing import Any

from ...errors import InputError

__all__ = ["check_rows", "check_seed", "check_weight"]


def check_weight(name: str, value: Any) -> None:
    """
    Refuse a weight of a loss that is none.

    Args:
        name (`str`): The option.
        value (`Any`): What was given.

    Raises:
        InputError: If it is no finite number from 0 up.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        raise InputError(f"{name}: expected a number from 0 up, found {value!r}.")


def check_rows(name: str, value: Any) -> None:
    """
    Refuse what is no number of rows.

    Args:
        name (`str`): The option.
        value (`Any`): What was given.

    Raises:
        InputError: If it is no whole number above 0.
    """
    if type(value) is not int or value < 1:
        raise InputError(f"{name}: expected a whole number of rows above 0, found {value!r}.")


def check_seed(value: Any) -> None:
    """
    Refuse what is no seed.

    Args:
        value (`Any`): What was given.

    Raises:
        InputError: If it is no whole number from 0 up.
    """
    if type(value) is not int or value < 0:
        raise InputError(f"seed: expected a whole number from 0 up, found {value!r}.")
