"""Which argument goes to which component, and which row to which head."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .backbone import Backbone
from .configuration import MultiTaskConfig
from .errors import InputError, check_known
from .heads import Head

__all__ = ["ArgumentRouter", "get_forward_arguments", "route_rows", "take_rows"]

Rows = torch.Tensor | None
"""Indices of rows; None for all rows of the batch."""


def get_forward_arguments(module: nn.Module) -> set[str]:
    """
    Names of the arguments that a module's `forward` takes (AllenNLP's `get_forward_arguments`).

    Args:
        module (`nn.Module`): A backbone, which answers for the model in it, or a head.

    Returns:
        `set[str]`: The names, without `self` and without catch-all arguments.

    Example:
        >>> sorted(get_forward_arguments(nn.Linear(1, 1)))
        ['input']
    """
    forward = module.model.forward if isinstance(module, Backbone) else module.forward
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name for name, each in inspect.signature(forward).parameters.items() if each.kind in named}


class ArgumentRouter:
    """
    Hands each component the arguments it takes, under the names it gives them.

    Args:
        config ([`MultiTaskConfig`]): Its `arg_name_mapping` and `allowed_arguments` are honoured.
        components (`Mapping[str, nn.Module]`): The backbone under `backbone`, and the heads.

    Raises:
        InputError: If a mapping or an allowed argument names no parameter of its component.
    """

    def __init__(self, config: MultiTaskConfig, components: Mapping[str, nn.Module]) -> None:
        self._names = config.arg_name_mapping
        self._allowed: dict[str, set[str]] = {}
        for component, module in components.items():
            taken = get_forward_arguments(module)
            open_ended = _has_catch_all(module)
            given = config.allowed_arguments.get(component)
            if given is not None and not open_ended:
                check_known(given, taken, f"allowed_arguments of {component!r}", "parameter")
            targets = self._names.get(component, {}).values()
            check_known(targets, taken | set(given or ()), f"arg_name_mapping of {component!r}", "parameter")
            self._allowed[component] = taken if given is None else set(given)

    def takes(self, component: str, argument: str) -> bool:
        """Whether a component's `forward` gets what has that name in the call."""
        return self._names.get(component, {}).get(argument, argument) in self._allowed[component]

    def arguments(self, component: str, available: Mapping[str, Any]) -> dict[str, Any]:
        """
        Choose and rename what a component takes.

        Args:
            component (`str`): `backbone` or the name of a head.
            available (`Mapping[str, Any]`): All that could be passed, by the names it has in the call.

        Returns:
            `dict[str, Any]`: Arguments for the component's `forward`.

        Raises:
            InputError: If two of them land on one name, naming both.
        """
        allowed, names = self._allowed[component], self._names.get(component, {})
        origin: dict[str, str] = {}
        for name in available:
            target = names.get(name, name)
            if target not in allowed:
                continue
            if target in origin:
                raise InputError(
                    f"component {component!r}: the arguments {origin[target]!r} and {name!r} both become {target!r}."
                )
            origin[target] = name
        return {target: available[name] for target, name in origin.items()}


def _has_catch_all(module: nn.Module) -> bool:
    forward = module.model.forward if isinstance(module, Backbone) else module.forward
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in inspect.signature(forward).parameters.values())


def route_rows(
    heads: Mapping[str, Head],
    labels: Mapping[str, torch.Tensor],
    tasks: Mapping[str, Sequence[str]],
    batch_size: int,
    only: Collection[str] | None = None,
    task: Sequence[str] | torch.Tensor | None = None,
) -> dict[str, Rows]:
    """
    Decide which heads run, and on which rows.

    A row goes to a head if its task leads there (where `task` is given) and if it has a label for the head (where
    the head has labels). Without labels and tasks every row goes to every head.

    Args:
        heads (`Mapping[str, Head]`): All heads of the model.
        labels (`Mapping[str, torch.Tensor]`): Labels of the heads that have some, over the whole batch.
        tasks (`Mapping[str, Sequence[str]]`): For each task its heads.
        batch_size (`int`): Rows of the batch.
        only (`Collection[str]`, *optional*): The heads that may run.
        task (`Sequence[str]` or `torch.Tensor`, *optional*): Task of each row, by name or by index in `tasks`.

    Returns:
        `dict[str, torch.Tensor | None]`: For each head that runs the indices of its rows, None for all.

    Raises:
        InputError: If a head or a row's task is unknown, or `task` has not one entry a row.
    """
    check_known(labels, heads, "labels", "head")
    chosen: Mapping[str, Any] = heads
    if only is not None:
        check_known(only, heads, "heads", "head")
        chosen = {name: None for name in heads if name in only}
    by_task = None if task is None else _rows_of_tasks(task, tasks, batch_size)
    if by_task is not None:
        chosen = {name: None for name in chosen if name in by_task}
    elif labels and only is None:
        chosen = labels
    routed: dict[str, Rows] = {}
    for name in chosen:
        rows = None if by_task is None else by_task[name]
        routed[name] = _labelled(heads[name], labels[name], rows) if name in labels else rows
    return routed


def _labelled(head: Head, labels: torch.Tensor, rows: list[int] | Rows) -> Rows:
    mask = head.config.count_items(labels) > 0
    if rows is not None:
        routed = torch.zeros_like(mask)
        routed[rows] = True
        mask &= routed
    found = mask.nonzero().squeeze(1)
    return None if len(found) == len(mask) else found


def _rows_of_tasks(
    task: Sequence[str] | torch.Tensor, tasks: Mapping[str, Sequence[str]], batch_size: int
) -> dict[str, Rows]:
    """For each head the rows whose task leads there."""
    names = list(tasks)
    values = task.tolist() if isinstance(task, torch.Tensor) else list(task)
    if len(values) != batch_size:
        raise InputError(f"task: expected one task for each of the {batch_size} rows, found {len(values)}.")
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        known = value in tasks if isinstance(value, str) else isinstance(value, int) and 0 <= value < len(names)
        if not known:
            raise InputError(f"task of row {row}: unknown task {value!r}. Known: {', '.join(names)}.")
        for head in tasks[value if isinstance(value, str) else names[value]]:
            rows.setdefault(head, []).append(row)
    return {head: None if len(found) == batch_size else torch.tensor(found) for head, found in rows.items()}


def take_rows(value: Any, rows: Rows, batch_size: int) -> Any:
    """
    Take some rows of an argument, if it has rows.

    Args:
        value (`Any`): Any argument; a tensor whose first dimension is the batch has rows.
        rows (`torch.Tensor` of shape `(rows,)`, *optional*): The rows; None for all.
        batch_size (`int`): Rows of the batch.

    Returns:
        `Any`: The rows of a tensor with rows, anything else as it is.

    Example:
        >>> take_rows(torch.tensor([5, 6, 7]), torch.tensor([0, 2]), batch_size=3)
        tensor([5, 7])
    """
    has_rows = isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape[0] == batch_size
    return value.index_select(0, rows.to(value.device)) if rows is not None and has_rows else value
