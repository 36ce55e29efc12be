"""The runs that tell whether training tasks together helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import InputError

__all__ = ["BaselineRun", "list_runs"]


@dataclass(frozen=True, kw_only=True)
class BaselineRun:
    """
    One run among those that are compared.

    Args:
        kind (`str`): `multi`: all tasks; `single`: one of them; `without`: all but one.
        seed (`int`): Its seed.
        task (`str`, *optional*): The task that is trained alone, or left out.

    Example:
        >>> BaselineRun(kind="single", task="irony", seed=1).name
        'single-irony-seed1'
    """

    kind: Literal["multi", "single", "without"]
    seed: int
    task: str | None = None

    @property
    def name(self) -> str:
        """Name of the folder that the run is kept in (`str`)."""
        return "-".join([self.kind, *([self.task] if self.task else []), f"seed{self.seed}"])

    def tasks(self, names: Sequence[str]) -> list[str]:
        """
        Choose the tasks that it trains.

        Args:
            names (`Sequence[str]`): All tasks.

        Returns:
            `list[str]`: Those of this run.
        """
        return [name for name in names if self.kind == "multi" or (name == self.task) == (self.kind == "single")]


def list_runs(tasks: Sequence[str], seeds: Sequence[int], leave_one_out: bool = False) -> list[BaselineRun]:
    """
    List the runs of a comparison, seed by seed, so that there is something to compare early.

    Args:
        tasks (`Sequence[str]`): The tasks.
        seeds (`Sequence[int]`): The seeds.
        leave_one_out (`bool`, *optional*, defaults to `False`): Whether each task is also left out once.

    Returns:
        `list[BaselineRun]`.

    Raises:
        InputError: If there are too few tasks, or seeds are missing or double.

    Example:
        >>> [run.name for run in list_runs(["a", "b"], [0])]
        ['multi-seed0', 'single-a-seed0', 'single-b-seed0']
    """
    if len(tasks) < 2 + leave_one_out:
        least = "three tasks, of which one is left out" if leave_one_out else "two tasks"
        raise InputError(f"baselines: expected at least {least}, found {', '.join(tasks)}.")
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"baselines: expected seeds that differ, found {list(seeds)}.")
    runs = []
    for seed in seeds:
        runs.append(BaselineRun(kind="multi", seed=seed))
        runs += [BaselineRun(kind="single", seed=seed, task=task) for task in tasks]
        runs += [BaselineRun(kind="without", seed=seed, task=task) for task in tasks if leave_one_out]
    return runs
