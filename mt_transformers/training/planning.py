"""The plan of a run's mixture, under its training arguments."""

from __future__ import annotations

from collections.abc import Mapping

from ..data import Mixture, MixturePlan, Task, plan_mixture
from .arguments import MultiTaskTrainingArguments

__all__ = ["plan_training"]


def plan_training(
    sizes: Mapping[str, int],
    tasks: Mapping[str, Task],
    mixture: Mixture,
    args: MultiTaskTrainingArguments,
    loss_weights: Mapping[str, float],
    loss_reduction: str,
) -> MixturePlan:
    """
    Count what a mixture does in a run.

    Args:
        sizes (`Mapping[str, int]`): Training rows of each task that has some.
        tasks (`Mapping[str, Task]`): The tasks.
        mixture ([`Mixture`]): How their rows are interleaved.
        args ([`MultiTaskTrainingArguments`]): The training arguments.
        loss_weights (`Mapping[str, float]`): Weight of each head's loss, 1 where none is given.
        loss_reduction (`str`): `per_head` or `per_row`.

    Returns:
        [`MixturePlan`].

    Raises:
        InputError: If the mixture does not fit the tasks.
    """
    return plan_mixture(
        sizes,
        mixture,
        args.per_device_train_batch_size,
        {name: list(tasks[name].labels) for name in sizes},
        num_epochs=max(1, int(args.num_train_epochs)),
        seed=args.seed if args.data_seed is None else args.data_seed,
        num_processes=args.world_size,
        drop_last=args.dataloader_drop_last,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        loss_weights=loss_weights,
        per_row=loss_reduction == "per_row",
    )
