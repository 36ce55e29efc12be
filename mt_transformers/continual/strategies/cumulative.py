"""Training on all rows that there have been so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import datasets

from ..learner import Learner
from .base import Aspect, Strategy

__all__ = ["Cumulative", "rows_up_to"]


@dataclass(kw_only=True)
class Cumulative(Strategy):
    """
    Train in each experience on its rows and on those of all earlier ones, from where the last training ended: what
    keeping everything would give, at a cost that grows with every experience.

    Source: Lomonaco and Maltoni (2017), section 4, https://arxiv.org/abs/1705.03550.

    Example:
        >>> Cumulative().options()
        {'name': 'cumulative'}
    """

    name: ClassVar[str] = "cumulative"
    decides: ClassVar[frozenset[Aspect]] = frozenset({"rows"})

    def training_rows(self, learner: Learner) -> Mapping[str, datasets.Dataset] | None:
        return rows_up_to(learner, learner.number)


def rows_up_to(learner: Learner, last: int) -> dict[str, datasets.Dataset]:
    """
    The training rows of all experiences up to one.

    Args:
        learner ([`Learner`]): Of any experience.
        last (`int`): The last experience.

    Returns:
        `dict[str, datasets.Dataset]`: For each task prepared rows.
    """
    parts: dict[str, list[datasets.Dataset]] = {}
    for number in range(last + 1):
        for task, rows in learner.rows_of(number).items():
            parts.setdefault(task, []).append(rows)
    return {task: datasets.concatenate_datasets(each) for task, each in parts.items()}
