"""Runs of one strategy that differ by their seed, joined."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from .results import ContinualResults

__all__ = ["runs_by_strategy"]


def runs_by_strategy(results: Sequence[ContinualResults]) -> dict[str, list[ContinualResults]]:
    """
    Put the runs of each strategy together.

    Args:
        results (`Sequence[ContinualResults]`):
            Runs over one scenario; their experiences may stand in another order, for it may come from the seed.

    Returns:
        `dict[str, list[ContinualResults]]`: For each strategy its runs, in the order in which they were given.

    Raises:
        InputError: If there is no run, or two have another scenario or other experiences, so that nothing compares.

    Example:
        >>> runs = [
        ...     ContinualResults.begin(strategy=name, scenario="task_incremental", experiences=["a"])
        ...     for name in ("naive", "joint", "naive")
        ... ]
        >>> {name: len(each) for name, each in runs_by_strategy(runs).items()}
        {'naive': 2, 'joint': 1}
    """
    if not results:
        raise InputError("results: expected at least one run, found none.")
    first, runs = results[0], dict[str, list[ContinualResults]]()
    for each in results:
        if each.scenario != first.scenario:
            raise InputError(
                f"results: expected one scenario, found {first.scenario!r} of {first.strategy!r} and "
                f"{each.scenario!r} of {each.strategy!r}."
            )
        if differing := set(each.experiences) ^ set(first.experiences):
            raise InputError(
                f"results: expected the same experiences in each run, found {min(differing)!r} in only one of "
                f"{first.strategy!r} and {each.strategy!r}."
            )
        runs.setdefault(each.strategy, []).append(each)
    return runs
