"""What a method of balancing can be combined with, checked before any long work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from inspect import signature
from typing import Any

from ..balancing import GradientAggregation, LossWeighting, make_balancing
from ..errors import InputError
from ..modeling import MultiTaskModel
from .arguments import MultiTaskTrainingArguments

__all__ = ["check_balancing"]


def check_balancing(
    args: MultiTaskTrainingArguments, model: MultiTaskModel, heads: Sequence[str], tasks: Sequence[str]
) -> LossWeighting | GradientAggregation | None:
    """
    Make the method of balancing that the training arguments ask for.

    Args:
        args ([`MultiTaskTrainingArguments`]): The training arguments.
        model ([`MultiTaskModel`]): The model.
        heads (`Sequence[str]`): Heads that some task feeds.
        tasks (`Sequence[str]`): Tasks that are trained on.

    Returns:
        [`LossWeighting`] or [`GradientAggregation`]; None for none.

    Raises:
        InputError: If there is no such method, or it cannot be combined with the model or the other arguments.
    """
    method = make_balancing(args.balancing, heads, tasks)
    if args.conflict_steps is not None:
        _check_probe(method, args, model, tasks)
    if isinstance(method, LossWeighting):
        _check_weighting(method, args)
    elif method is not None:
        _check_aggregation(method, args, model)
        if method.at == "features":
            _check_features(method, args, model)
    return method


def _is_sharded(args: MultiTaskTrainingArguments) -> bool:
    return bool(args.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def _check_probe(
    method: LossWeighting | GradientAggregation | None,
    args: MultiTaskTrainingArguments,
    model: MultiTaskModel,
    tasks: Sequence[str],
) -> None:
    if isinstance(method, GradientAggregation):
        raise InputError(f"conflict_steps: balancing {method.name!r} compares the gradients of every step anyway.")
    if len(tasks) < 2:
        raise InputError(f"conflict_steps: expected at least two tasks to be compared, found {', '.join(tasks)}.")
    _check_comparable("conflict_steps:", args, model)
    checkpointing: Any = args.gradient_checkpointing_kwargs or {}
    if checkpointing.get("use_reentrant"):
        raise InputError("conflict_steps: expected activation checkpointing with use_reentrant: false, found true.")


def _check_weighting(method: LossWeighting, args: MultiTaskTrainingArguments) -> None:
    if not any(each.requires_grad for each in method.parameters()):
        return
    where = f"balancing: {method.name!r} has parameters of its own"
    if _is_sharded(args):
        raise InputError(f"{where}, which fsdp cannot shard: use DDP, or a method without.")
    if args.fp16:
        raise InputError(f"{where}, whose gradients fp16 would not scale: use bf16.")


def _check_aggregation(method: GradientAggregation, args: MultiTaskTrainingArguments, model: MultiTaskModel) -> None:
    where = f"balancing: {method.name!r}"
    if len(method.tasks) < 2:
        raise InputError(f"{where} needs at least two {method.between}, found {', '.join(method.tasks)}.")
    _check_comparable(where, args, model)
    if args.nonfinite_loss == "skip":
        raise InputError(f"{where} cannot be combined with nonfinite_loss: skip.")


def _check_comparable(where: str, args: MultiTaskTrainingArguments, model: MultiTaskModel) -> None:
    """Refuse what leaves no gradients to be compared."""
    if _is_sharded(args):
        raise InputError(
            f"{where} needs each gradient as a whole, which fsdp keeps in shards: use DDP, or a method that weighs "
            "losses."
        )
    if model.task_adapters:
        raise InputError(f"{where} needs parameters that tasks share, but each task has an adapter of its own.")
    if model.backbone.is_frozen:
        raise InputError(f"{where} needs parameters that tasks share, but the backbone is frozen.")
    if args.fp16:
        raise InputError(f"{where} compares gradients, which fp16 scales: use bf16.")


def _check_features(method: GradientAggregation, args: MultiTaskTrainingArguments, model: MultiTaskModel) -> None:
    where = f"balancing: {method.name!r} at the features"
    if args.gradient_accumulation_steps > 1:
        raise InputError(
            f"{where} needs all rows of an optimizer step in one batch, found gradient_accumulation_steps "
            f"{args.gradient_accumulation_steps}."
        )
    for name in method.tasks:
        head = model.named_heads[name]
        if head.config.layer != -1 or "token_embeddings" in signature(head.forward).parameters:
            raise InputError(f"{where} needs heads that read the last layer and nothing else, unlike {name!r}.")
