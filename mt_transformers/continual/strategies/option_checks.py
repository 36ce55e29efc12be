"""Checks of options that several strategies have."""

from __future__ import annotations

from typing import Any

from ...balancing.option_checks import check_from_zero, check_whole

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
    check_from_zero(name, value)


def check_rows(name: str, value: Any) -> None:
    """
    Refuse what is no number of rows.

    Args:
        name (`str`): The option.
        value (`Any`): What was given.

    Raises:
        InputError: If it is no whole number above 0.
    """
    check_whole(name, value, "a whole number of rows above 0", least=1)


def check_seed(value: Any) -> None:
    """
    Refuse what is no seed.

    Args:
        value (`Any`): What was given.

    Raises:
        InputError: If it is no whole number from 0 up.
    """
    check_whole("seed", value, "a whole number from 0 up", least=0)
