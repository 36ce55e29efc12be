"""How many rows of each task a recipe sees, and what gives fewer tasks the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..data import Mixture
from ..errors import InputError
from ..training import LoadedRecipe, plan_recipe

__all__ = ["Budget", "measure_budget"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """
    What a recipe spends on its tasks.

    Args:
        rows (`dict[str, int]`): Rows of each task in an epoch.
        num_epochs (`float`): Epochs of the run.
        num_steps (`int`): Optimizer steps of the run.
    """

    rows: dict[str, int]
    num_epochs: float
    num_steps: int

    def rows_seen(self, tasks: Sequence[str]) -> int:
        """
        Count the rows of some tasks in the whole run.

        Args:
            tasks (`Sequence[str]`): The tasks.

        Returns:
            `int`: A row that comes again counts again. About as many, where the run ends within an epoch.
        """
        return round(self.num_epochs * sum(self.rows[name] for name in tasks))

    def share(self, tasks: Sequence[str]) -> float:
        """
        Share of some tasks in all rows.

        Args:
            tasks (`Sequence[str]`): The tasks.

        Returns:
            `float`: Between 0 and 1.
        """
        return sum(self.rows[name] for name in tasks) / sum(self.rows.values())

    def mixture(self, mixture: Mixture, tasks: Sequence[str]) -> Mixture:
        """
        Make a mixture of fewer tasks that takes as many rows of each as the one of all does.

        Args:
            mixture ([`Mixture`]): That of all tasks.
            tasks (`Sequence[str]`): The tasks that are left.

        Returns:
            [`Mixture`]: With the same order and the same kind of batches.
        """
        sizes = {name: size for name, size in (mixture.batch_sizes or {}).items() if name in tasks}
        return Mixture(
            sampling="weighted",
            weights={name: float(self.rows[name]) for name in tasks},
            instances_per_epoch=sum(self.rows[name] for name in tasks),
            order=mixture.order,
            batches=mixture.batches,
            batch_sizes=sizes or None,
            same_task_on_all_ranks=mixture.same_task_on_all_ranks,
        )


def measure_budget(loaded: LoadedRecipe) -> Budget:
    """
    Measure what a recipe spends on its tasks.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        [`Budget`].

    Raises:
        InputError: If that is not settled beforehand: a task is streamed, the shares follow the scores, or the run
            ends within an epoch that goes through one task after another.
    """
    if loaded.recipe.mixture.sampling == "dynamic":
        raise InputError(
            "mixture: dynamic shares follow the scores of a run, expected shares that are the same in all."
        )
    plan, args = plan_recipe(loaded), loaded.arguments
    steps = math.ceil(plan.batches / args.gradient_accumulation_steps)
    if args.max_steps > 0:
        num_epochs, num_steps = args.max_steps / steps, args.max_steps
    else:
        num_epochs, num_steps = args.num_train_epochs, math.ceil(args.num_train_epochs * steps)
    if loaded.recipe.mixture.order == "sequential" and num_epochs != int(num_epochs):
        raise InputError(
            f"mixture: with order 'sequential' the rows of {num_epochs:g} epochs depend on which task comes first: "
            "expected a whole number of epochs."
        )
    # a task of no share is trained in none of the runs
    rows = {task.task_name: task.rows_per_epoch for task in plan.tasks if task.rows_per_epoch > 0}
    return Budget(rows=rows, num_epochs=num_epochs, num_steps=num_steps)
