"""One training on the rows of all experiences: the upper bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import datasets

from ..learner import Learner
from .base import Aspect, Strategy
from .cumulative import rows_up_to

__all__ = ["Joint"]


@dataclass(kw_only=True)
class Joint(Strategy):
    """
    Train once, on the rows of all experiences together, when the last one has come: the multi-task training that
    learning one after another is measured against. Nothing is known before it, so that the matrix has one row.

    Source: the upper bound of Li and Hoiem (2016), section 3, https://arxiv.org/abs/1606.09282.

    Example:
        >>> Joint().options()
        {'name': 'joint'}
    """

    name: ClassVar[str] = "joint"
    decides: ClassVar[frozenset[Aspect]] = frozenset({"rows"})
    at_once: ClassVar[bool] = True

    def training_rows(self, learner: Learner) -> Mapping[str, datasets.Dataset] | None:
        return rows_up_to(learner, learner.number)
