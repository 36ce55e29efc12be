"""Strategies by name, as recipes write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any

from ...balancing.option_checks import name_and_options
from ...errors import InputError, check_known
from .base import Strategy
from .combination import Combination

__all__ = ["STRATEGIES", "make_strategy"]

STRATEGIES = {
    "naive": "Naive",
    "joint": "Joint",
    "cumulative": "Cumulative",
    "replay": "Replay",
    "er_ace": "ErAce",
    "der": "Der",
    "derpp": "DerPP",
    "twf": "TransferWithoutForgetting",
    "icarl": "ICarl",
    "gdumb": "GDumb",
    "agem": "AGem",
    "gem": "Gem",
    "ewc_online": "EwcOnline",
    "si": "SynapticIntelligence",
    "lwf": "LwF",
    "l2p": "LearningToPrompt",
    "ncm": "NearestClassMean",
    "ranpac": "RanPAC",
}
"""Name of a strategy, which is that of its module -> its class."""


def make_strategy(given: str | Mapping[str, Any] | Strategy | Sequence[Any]) -> Combination:
    """
    Make a strategy, or several side by side.

    Args:
        given (`str`, `Mapping[str, Any]`, [`Strategy`] or a list of them):
            A name; a mapping with `name` and the strategy's options; or a strategy of one's own.

    Returns:
        [`Combination`].

    Raises:
        InputError: If a name or an option is unknown, an option has a wrong value, or strategies cannot be combined.

    Example:
        >>> make_strategy("naive").options()
        [{'name': 'naive'}]
    """
    several = isinstance(given, Sequence) and not isinstance(given, str)
    parts: Sequence[Any] = given if several else [given]  # type: ignore[assignment]
    if not parts:
        raise InputError("strategy: expected at least one, found none.")
    return Combination([each if isinstance(each, Strategy) else _make(each) for each in parts])


def _make(given: Any) -> Strategy:
    name, options = name_and_options(given, "strategy")
    check_known([name], STRATEGIES, "strategy", "name")
    strategy: type[Strategy] = getattr(import_module(f".{name}", __package__), STRATEGIES[name])
    check_known(options, [each.name for each in fields(strategy) if each.init], f"strategy {name!r}", "option")
    try:
        return strategy(**options)
    except InputError as error:
        raise InputError(f"strategy {name!r}: {error}") from error
