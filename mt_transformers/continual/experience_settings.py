"""Settings of a run, and what of them holds for one experience, whose heads and tasks are not all yet."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..data import Mixture
from ..errors import InputError, check_known
from ..training import MultiTaskTrainingArguments
from ..training.components import ALL_HEADS, check_settings
from .scenario import Scenario

__all__ = ["arguments_for", "check_run", "mixture_for"]

_BY_COMPONENT = ("learning_rates", "weight_decays", "freeze_until")
_BY_TASK = ("weights", "targets", "batch_sizes")


def check_run(
    args: MultiTaskTrainingArguments, mixture: Mixture | None, loss_weights: Mapping[str, float], scenario: Scenario
) -> None:
    """
    Refuse what an experience would stumble over, perhaps the last one.

    Args:
        args ([`MultiTaskTrainingArguments`]): The training arguments.
        mixture ([`Mixture`], *optional*): How rows are interleaved.
        loss_weights (`Mapping[str, float]`): Weight of the loss of heads that join.
        scenario ([`Scenario`]): The experiences.

    Raises:
        InputError: If weights are to be sharded or tasks balanced, a setting is for a head or a task that no
            experience has, or one without validation rows is to be evaluated while it is trained.
    """
    if args.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        raise InputError(
            "fsdp: heads join, and strategies read gradients and weights, while the model learns one experience after "
            "another, for which each process needs all of it: use DDP."
        )
    if args.balancing is not None:
        raise InputError(
            "balancing: expected none beside experiences, whose heads come one after another and whose strategies "
            f"revise losses and gradients themselves, found {args.balancing!r}."
        )
    if args.conflict_steps is not None:
        raise InputError(
            f"conflict_steps: expected none beside experiences, which are learnt one at a time, found "
            f"{args.conflict_steps!r}."
        )
    check_settings(args, scenario.heads)
    check_known(loss_weights, scenario.heads, "loss_weights", "head")
    for name in _BY_TASK:
        check_known(getattr(mixture, name, None) or {}, scenario.tasks, f"mixture, {name}", "task")
    weights = None if mixture is None else mixture.weights
    for task, own in scenario.tasks.items():
        if weights is not None and task not in weights and "train" in own.dataset:
            raise InputError(f"mixture: expected a weight for each task, found none for {task!r}.")
    if args.eval_strategy != "no":
        for experience in scenario.experiences:
            if not any("validation" in splits for splits in experience.rows.values()):
                raise InputError(
                    f"eval_strategy: experience {experience.name!r} has no validation rows to be evaluated on while "
                    "it is trained: expected some, or eval_strategy 'no'."
                )


def arguments_for(
    args: MultiTaskTrainingArguments, heads: Collection[str], **changed: Any
) -> MultiTaskTrainingArguments:
    """
    The training arguments of one experience.

    Args:
        args ([`MultiTaskTrainingArguments`]): Those of the run; they stay as they are.
        heads (`Collection[str]`): The heads that there are.
        changed (`Any`): Arguments that are others.

    Returns:
        [`MultiTaskTrainingArguments`]: Without the settings of heads that are not there yet.
    """
    own = copy.copy(args)
    for name in _BY_COMPONENT:
        settings = getattr(args, name)
        changed[name] = {key: settings[key] for key in settings if key in ("backbone", ALL_HEADS, *heads)}
    for name, value in changed.items():
        setattr(own, name, value)
    return own


def mixture_for(mixture: Mixture | None, tasks: Collection[str]) -> Mixture | None:
    """
    The mixture of one experience.

    Args:
        mixture ([`Mixture`], *optional*): That of the run; it stays as it is.
        tasks (`Collection[str]`): The tasks that are trained on.

    Returns:
        [`Mixture`] or None: Without the settings of other tasks.
    """
    if mixture is None:
        return None
    given = {name: getattr(mixture, name) for name in _BY_TASK}
    changed: dict[str, Any] = {
        name: {task: each[task] for task in each if task in tasks} for name, each in given.items() if each is not None
    }
    return replace(mixture, **changed)
