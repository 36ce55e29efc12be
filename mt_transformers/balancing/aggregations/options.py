"""What options of methods of gradient aggregation are held to, beyond what TorchJD checks itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import InputError, check_known
from ..option_checks import is_number

__all__ = ["number", "numbers_by_task", "one_of", "whole_number"]


def number(method: str, option: str, value: Any, *, least: float = -math.inf, most: float = math.inf) -> float:
    """
    Read an option that is a number.

    Args:
        method (`str`): Name of the method, for the message.
        option (`str`): Name of the option, for the message.
        value (`Any`): What was given.
        least (`float`, *optional*): The least value that is allowed.
        most (`float`, *optional*): The greatest.

    Returns:
        `float`: The number.

    Raises:
        InputError: If it is no finite number in that range.

    Example:
        >>> number("cagrad", "c", 1)
        1.0
    """
    if not is_number(value) or not least <= value <= most:
        raise InputError(f"{method}: {option}: expected a number{_range(least, most)}, found {value!r}.")
    return float(value)


def whole_number(method: str, option: str, value: Any, *, least: int) -> int:
    """
    Read an option that is a whole number.

    Args:
        method (`str`): Name of the method, for the message.
        option (`str`): Name of the option, for the message.
        value (`Any`): What was given.
        least (`int`): The least value that is allowed.

    Returns:
        `int`: The number.

    Raises:
        InputError: If it is none, or less than that.

    Example:
        >>> whole_number("krum", "n_byzantine", 1, least=0)
        1
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{method}: {option}: expected a whole number of at least {least}, found {value!r}.")
    return value


def one_of(method: str, option: str, value: Any, names: Sequence[str]) -> str:
    """
    Read an option that is one of a few names.

    Args:
        method (`str`): Name of the method, for the message.
        option (`str`): Name of the option, for the message.
        value (`Any`): What was given.
        names (`Sequence[str]`): Those that exist.

    Returns:
        `str`: The name.

    Raises:
        InputError: If it is none of them.

    Example:
        >>> one_of("aligned_mtl", "scale_mode", "min", ["min", "median"])
        'min'
    """
    check_known([value], names, f"{method}: {option}", "value")
    return str(value)


def numbers_by_task(
    method: str, option: str, given: Any, tasks: Sequence[str], *, least: float = -math.inf, most: float = math.inf
) -> torch.Tensor:
    """
    Read an option that has a number for each task.

    Args:
        method (`str`): Name of the method, for the message.
        option (`str`): Name of the option, for the message.
        given (`Any`): What was given: a mapping from the name of each task to its number.
        tasks (`Sequence[str]`): Names of the tasks.
        least (`float`, *optional*): The least number that is allowed.
        most (`float`, *optional*): The greatest.

    Returns:
        `torch.Tensor` of shape `(len(tasks),)`: The numbers in the order of the tasks, float64.

    Raises:
        InputError: If it is no mapping, a task is unknown or has no number, or a number is out of range.

    Example:
        >>> numbers_by_task("graddrop", "leak", {"ner": 0.5, "pos": 0}, ["pos", "ner"], least=0, most=1)
        tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{method}: {option}: expected a mapping from tasks to numbers, found {given!r}.")
    check_known(given, tasks, f"{method}: {option}", "task")
    left_out = [task for task in tasks if task not in given]
    if left_out:
        raise InputError(f"{method}: {option}: expected a number for each task, found none for {', '.join(left_out)}.")
    values = [number(method, f"{option}: {task}", given[task], least=least, most=most) for task in tasks]
    return torch.tensor(values, dtype=torch.float64)


def _range(least: float, most: float) -> str:
    if math.isfinite(least) and math.isfinite(most):
        return f" from {least:g} to {most:g}"
    return f" of at least {least:g}" if math.isfinite(least) else ""
