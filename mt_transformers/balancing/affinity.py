"""How tasks agree over a whole run: their gradients, and what a step for one does to the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..whole_files import whole_file

__all__ = ["AffinityMeter", "AffinityReport"]

Matrix = list[list[float | None]]


@dataclass(frozen=True, kw_only=True)
class AffinityReport:
    """
    How tasks agree; None where two never met.

    Args:
        names (`list[str]`): The tasks.
        looks (`int`): Optimizer steps that were looked at.
        norms (`list`): For each task the mean norm of its gradient.
        cosines (`list[list]`): For each two tasks the mean cosine of their gradients.
        conflicts (`list[list]`): For each two tasks the share of steps with an inner product below 0.
        lookahead (`list[list]`): In row i and column j what a step for task i alone does to the loss of task j: the
            mean of 1 - loss after / loss before, above 0 where it helps.
    """

    names: list[str]
    looks: int
    norms: list[float | None]
    cosines: Matrix
    conflicts: Matrix
    lookahead: Matrix

    def save(self, file: Path) -> None:
        """
        Write the report as JSON.

        Args:
            file (`Path`): The file, which appears whole or not at all.
        """
        with whole_file(file) as unfinished:
            unfinished.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


class AffinityMeter:
    """
    Adds up what is seen of tasks, step by step.

    Args:
        names (`Sequence[str]`): The tasks.

    Example:
        >>> meter = AffinityMeter(["pos", "ner"])
        >>> meter.add(torch.tensor([[4.0, -1.0], [-1.0, 1.0]]), [0, 1])
        >>> meter.add_lookahead(torch.tensor([[0.5, -0.25], [-0.25, 0.5]]), [0, 1])
        >>> report = meter.report()
        >>> report.norms, report.cosines[0], report.conflicts[0], report.lookahead[0]
        ([2.0, 1.0], [1.0, -0.5], [0.0, 1.0], [0.5, -0.25])
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names, size = list(names), len(names)
        self._looks = 0
        self._norms = torch.zeros(size, dtype=torch.float64)
        # cosines, conflicts, times that both were there: (tasks, tasks) each
        self._sums = torch.zeros(3, size, size, dtype=torch.float64)
        # affinities, times that they were measured
        self._ahead = torch.zeros(2, size, size, dtype=torch.float64)

    def add(self, gramian: torch.Tensor, present: Sequence[int]) -> None:
        """
        Add the gradients of an optimizer step.

        Args:
            gramian (`torch.Tensor` of shape `(len(present), len(present))`):
                Inner products of the gradients, on the CPU; no zero on the diagonal.
            present (`Sequence[int]`): Places of their tasks among the names.
        """
        norms = gramian.diagonal().double().sqrt()
        cosines = gramian.double() / torch.outer(norms, norms)
        places = torch.tensor(list(present), dtype=torch.long)
        self._looks += 1
        self._norms[places] += norms
        seen = torch.stack([cosines, (gramian < 0).double(), torch.ones_like(cosines)])
        self._sums[:, places[:, None], places] += seen

    def add_lookahead(self, affinities: torch.Tensor, present: Sequence[int]) -> None:
        """
        Add what steps for single tasks did.

        Args:
            affinities (`torch.Tensor` of shape `(len(present), len(present))`): 1 - loss after / loss before.
            present (`Sequence[int]`): Places of the tasks among the names.
        """
        places = torch.tensor(list(present), dtype=torch.long)
        self._ahead[:, places[:, None], places] += torch.stack([affinities.double(), torch.ones_like(affinities)])

    def report(self) -> AffinityReport:
        """
        Average what was added.

        Returns:
            [`AffinityReport`].
        """
        cosines, conflicts, met = self._sums
        affinities, measured = self._ahead
        return AffinityReport(
            names=self._names,
            looks=self._looks,
            norms=_mean(self._norms, met.diagonal()),
            cosines=[_mean(*each) for each in zip(cosines, met, strict=True)],
            conflicts=[_mean(*each) for each in zip(conflicts, met, strict=True)],
            lookahead=[_mean(*each) for each in zip(affinities, measured, strict=True)],
        )


def _mean(sums: torch.Tensor, counts: torch.Tensor) -> list[float | None]:
    return [total / count if count else None for total, count in zip(sums.tolist(), counts.tolist(), strict=True)]
