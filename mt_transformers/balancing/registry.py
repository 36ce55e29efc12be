"""Methods of balancing by name, as recipes write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError, check_known
from .aggregations import AGGREGATIONS, LEFT_OUT, CoordinateAggregation, GradientAggregation, make_aggregation
from .option_checks import name_and_options
from .weightings import WEIGHTINGS, LossWeighting, make_weighting

__all__ = ["make_balancing"]


def make_balancing(
    given: str | Mapping[str, Any] | None, heads: Sequence[str], tasks: Sequence[str]
) -> LossWeighting | GradientAggregation | None:
    """
    Make the method that balances tasks.

    Args:
        given (`str` or `Mapping[str, Any]`, *optional*):
            The name of a method, or a mapping with `name` and the method's options. Methods that aggregate gradients
            also take `between`, `tasks` (the default) or `heads`, and `at`, `parameters` (the default) or, between
            heads, `features`. None for none.
        heads (`Sequence[str]`): Heads whose losses are weighed.
        tasks (`Sequence[str]`): Tasks whose gradients are aggregated.

    Returns:
        [`LossWeighting`] or [`GradientAggregation`]; None for none.

    Raises:
        InputError: If the name or an option is unknown, an option has a wrong value, or a package is missing.

    Example:
        >>> make_balancing("uw", ["intent", "slots"], ["snips"]).name
        'uw'
    """
    if given is None:
        return None
    name, options = name_and_options(given, "balancing")
    if name in WEIGHTINGS:
        return make_weighting(given, heads)
    if name not in LEFT_OUT:
        check_known([name], [*WEIGHTINGS, *AGGREGATIONS], "balancing", "method")
    return _aggregation(name, options, heads, tasks)


def _aggregation(
    name: str, options: Mapping[str, Any], heads: Sequence[str], tasks: Sequence[str]
) -> GradientAggregation:
    between, at = options.get("between", "tasks"), options.get("at", "parameters")
    where = f"balancing: {name}"
    check_known([between], ("tasks", "heads"), where, "between")
    check_known([at], ("parameters", "features"), where, "at")
    own = {key: value for key, value in options.items() if key not in ("between", "at")}
    method = make_aggregation({"name": name, **own}, heads if between == "heads" else tasks)
    method.between, method.at = between, at
    if at == "features" and between == "tasks":
        raise InputError(
            f"{where}: gradients at the features are compared between heads (between: heads); tasks share no row, so "
            "that theirs have nothing in common."
        )
    if at == "features" and isinstance(method, CoordinateAggregation):
        raise InputError(f"{where} gives no weights, and so needs the gradients at the parameters.")
    return method
