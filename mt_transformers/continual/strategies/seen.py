"""What the model has answered in an optimizer step, to be kept with the rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.nn import functional

from ...heads.base import full_precision
from ..learner import Learner

__all__ = ["Seen", "collect_logits", "logit_errors"]


@dataclass
class Seen:
    """
    A micro-batch that was trained on.

    Args:
        sources (`np.ndarray` of shape `(batch_size, 2)`): Index of each row's task, and the row's number.
        answers (`Mapping[str, torch.Tensor]`): `<head>_logits` and `<head>_rows` of the model's output.
    """

    sources: np.ndarray
    answers: Mapping[str, torch.Tensor]


def collect_logits(
    learner: Learner,
    seen: Sequence[Seen],
    rows: Sequence[tuple[int, int]],
    heads: Sequence[Collection[str]],
) -> list[dict[str, torch.Tensor]]:
    """
    Find the logits of rows, whichever process has seen them.

    Args:
        learner ([`Learner`]): Knows the processes.
        seen (`Sequence[Seen]`): What this process has seen.
        rows (`Sequence[tuple[int, int]]`): Index of the task and number of each row, the same on all processes.
        heads (`Sequence[Collection[str]]`): The heads of each row.

    Returns:
        `list[dict[str, torch.Tensor]]`: For each row and head the logits, of shape `(num_labels,)` or
        `(positions, num_labels)`, on the CPU; their mean where a row was seen more than once.
    """
    found: list[dict[str, list[torch.Tensor]]] = [{} for _ in rows]
    places = {row: place for place, row in enumerate(rows)}
    for micro_batch in seen:
        wanted = {
            row: places[source]
            for row, source in enumerate(map(tuple, micro_batch.sources.tolist()))
            if source in places
        }
        for name, logits in micro_batch.answers.items():
            head = name.removesuffix("_logits")
            if not wanted or head == name:
                continue
            # one wait for the device, and not one for each row
            logits = full_precision(logits).cpu()
            given = micro_batch.answers.get(f"{head}_rows")
            batch_rows = range(len(logits)) if given is None else given.tolist()
            for place, row in enumerate(batch_rows):
                if row in wanted and head in heads[wanted[row]]:
                    found[wanted[row]].setdefault(head, []).append(logits[place])
    if learner.num_processes > 1:
        # one entry for each process, every one as long as the rows
        gathered = gather_object([found])
        found = [_join(parts) for parts in zip(*gathered, strict=True)]
    return [{head: torch.stack(each).mean(dim=0) for head, each in parts.items()} for parts in found]


def _join(parts: Sequence[dict[str, list[torch.Tensor]]]) -> dict[str, list[torch.Tensor]]:
    heads = dict.fromkeys(head for part in parts for head in part)
    return {head: [each for part in parts for each in part.get(head, ())] for head in heads}


def logit_errors(logits: torch.Tensor, stored: Sequence[torch.Tensor]) -> torch.Tensor:
    """
    Squared distance of logits from those that were kept, a mean over the logits of each row.

    A class that came later has, where a row was kept, the lowest of its logits: a head that had had the class from the
    start would have learnt that it is not this row's. Positions that a row has not do not count.

    Args:
        logits (`torch.Tensor` of shape `(rows, num_labels)` or `(rows, positions, num_labels)`): The model's.
        stored (`Sequence[torch.Tensor]`): What was kept of each row, of shape `(labels,)` or `(length, labels)`.

    Returns:
        `torch.Tensor` of shape `(rows,)`.

    Example:
        >>> logit_errors(torch.tensor([[1.0, 2.0, 5.0]]), [torch.tensor([0.0, 2.0])])
        tensor([8.6667])
    """
    targets = torch.stack([_pad(_with_later_classes(each, logits.shape[-1]), logits.shape[1:]) for each in stored])
    # NaN where a row has no position
    mask = ~targets.isnan()
    errors = (logits - targets.nan_to_num().to(logits)).square() * mask.to(logits)
    return errors.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).to(logits)


def _with_later_classes(kept: torch.Tensor, number: int) -> torch.Tensor:
    lowest = kept.amin(dim=-1, keepdim=True)
    return torch.cat([kept, lowest.expand(*kept.shape[:-1], number - kept.shape[-1])], dim=-1)


def _pad(kept: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    lacking = [size - own for size, own in zip(shape, kept.shape, strict=True)]
    return functional.pad(kept, [part for size in reversed(lacking) for part in (0, size)], value=float("nan"))
