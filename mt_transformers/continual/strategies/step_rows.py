"""How many rows an optimizer step has, for losses that are means over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..learner import Batch, Learner
from ..sources import SOURCES

__all__ = ["is_row", "rows_of_step"]


def rows_of_step(learner: Learner, batches: Sequence[Batch]) -> torch.Tensor:
    """
    Count the rows of a step over all processes, all of which have to ask.

    Args:
        learner ([`Learner`]): Knows the processes.
        batches (`Sequence[dict[str, Any]]`): The step's micro-batches on this process.

    Returns:
        `torch.Tensor` of shape `()`: The number, 1 at least; rows that only fill a batch do not count.
    """
    rows = sum(int((batch[SOURCES][:, 0] >= 0).sum()) for batch in batches)
    return learner.over_processes(torch.tensor(float(rows), device=learner.args.device)).clamp(min=1)


def is_row(batch: Batch, like: torch.Tensor) -> torch.Tensor:
    """
    Tell rows from those that only fill a batch.

    Args:
        batch (`dict[str, Any]`): The micro-batch.
        like (`torch.Tensor`): Its device and dtype are taken.

    Returns:
        `torch.Tensor` of shape `(rows,)`: 1 for a row, 0 for a filler.
    """
    return torch.from_numpy(batch[SOURCES][:, 0] >= 0).to(like)
