"""Methods of loss weighting by name, as recipes write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import Any

from ...errors import InputError, check_known
from ..option_checks import name_and_options
from .base import LossWeighting

__all__ = ["WEIGHTINGS", "make_weighting"]

WEIGHTINGS = {
    "mean": "MeanWeighting",
    "random": "RandomWeighting",
    "initial_loss": "InitialLossWeighting",
    "running_mean": "RunningMeanWeighting",
    "uw": "UncertaintyWeighting",
    "imtl_l": "ImpartialLossWeighting",
    "dwa": "DynamicWeightAverage",
    "famo": "FastAdaptiveWeighting",
    "geometric_mean": "GeometricMean",
    "stch": "SmoothTchebycheff",
    "pbi": "PenaltyBoundaryIntersection",
    "cosmos": "Cosmos",
}
"""Name of a method, which is that of its module -> its class."""


def make_weighting(given: str | Mapping[str, Any], heads: Sequence[str]) -> LossWeighting:
    """
    Make a method of loss weighting.

    Args:
        given (`str` or `Mapping[str, Any]`): A name, or a mapping with `name` and the method's options.
        heads (`Sequence[str]`): Names of the heads, in the order of the losses.

    Returns:
        [`LossWeighting`].

    Raises:
        InputError: If a name or an option is unknown, or an option has a wrong value.

    Example:
        >>> make_weighting({"name": "dwa", "temperature": 1.0}, ["intent", "slots"]).temperature
        1.0
    """
    name, options = name_and_options(given, "balancing")
    check_known([name], WEIGHTINGS, "balancing", "name")
    method: type[LossWeighting] = getattr(import_module(f".{name}", __package__), WEIGHTINGS[name])
    known = [each.name for each in signature(method).parameters.values() if each.kind is each.KEYWORD_ONLY]
    check_known(options, known, f"balancing: {name}", "option")
    try:
        return method(heads, **options)
    except InputError as error:
        raise InputError(f"balancing: {name}: {error}") from error
