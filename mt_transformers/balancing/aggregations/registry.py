"""Methods of gradient aggregation by name, as recipes write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import Any

from ...errors import InputError, check_known
from ..option_checks import name_and_options
from .base import GradientAggregation

__all__ = ["AGGREGATIONS", "LEFT_OUT", "make_aggregation"]

AGGREGATIONS = {
    "upgrad": "dual_cone.UPGrad",
    "dualproj": "dual_cone.DualProj",
    "mgda": "plain.Mgda",
    "pcgrad": "drawn.PCGrad",
    "cagrad": "plain.CAGrad",
    "nash_mtl": "nash_mtl.NashMtl",
    "imtl_g": "plain.ImtlG",
    "aligned_mtl": "aligned_mtl.AlignedMtl",
    "gradvac": "gradvac.GradVac",
    "config": "config.Config",
    "fairgrad": "fairgrad.FairGrad",
    "krum": "krum.Krum",
    "pcd": "pcd.Pcd",
    "sum": "plain.Sum",
    "graddrop": "graddrop.GradDrop",
    "trimmed_mean": "trimmed_mean.TrimmedMean",
}
"""Name of a method -> its module, and its class."""

LEFT_OUT = {
    "modo": "it compares the gradients of two independent batches, and a step has one",
    "sdmgrad": "it compares the gradients of independent batches, and a step has one",
    "excess_mtl": "it keeps a number for each task and each parameter, as much memory again as the gradients",
    "cr_mogm": "it is no method of its own but smooths the weights of another",
    "mean": "the mean of the gradients is the gradient of the mean, a method that weighs losses",
    "random": "random weights of the gradients are those of the losses, a method that weighs losses",
    "constant": "constant weights are loss_weights, and need no gradient for each task",
}
"""Name of a method of TorchJD that is not offered -> why."""


def make_aggregation(given: str | Mapping[str, Any], tasks: Sequence[str]) -> GradientAggregation:
    """
    Make a method of gradient aggregation.

    Args:
        given (`str` or `Mapping[str, Any]`): A name, or a mapping with `name` and the method's options.
        tasks (`Sequence[str]`): Names of the tasks.

    Returns:
        [`GradientAggregation`].

    Raises:
        InputError: If the name or an option is unknown, an option has a wrong value, there are too few tasks, or a
            package is missing.

    Example:
        >>> make_aggregation({"name": "cagrad", "c": 0.4}, ["pos", "ner"]).name
        'cagrad'
    """
    name, options = name_and_options(given, "balancing")
    if name in LEFT_OUT:
        raise InputError(f"balancing: {name!r} is not offered: {LEFT_OUT[name]}.")
    check_known([name], AGGREGATIONS, "balancing", "method")
    module, class_name = AGGREGATIONS[name].split(".")
    method: type[GradientAggregation] = getattr(import_module(f".{module}", __package__), class_name)
    check_known(
        options, [each for each in signature(method).parameters if each != "tasks"], f"balancing: {name}", "option"
    )
    try:
        return method(tasks, **options)
    except InputError as error:
        raise InputError(f"balancing: {error}") from error
