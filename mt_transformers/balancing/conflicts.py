"""How the gradients of tasks agree in the course of training: their cosines and norms, and how often they conflict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..whole_files import whole_file

__all__ = ["ConflictRecord", "ConflictReport"]


@dataclass(frozen=True, kw_only=True)
class ConflictRecord:
    """
    What was seen between two lines of the log.

    Args:
        step (`int`): Number of the last optimizer step.
        conflicts (`float`, *optional*): Share of pairs whose inner product is below 0; None where there was no pair.
        norms (`list`): For each task the mean norm of its gradient, None where it had none.
        cosines (`list[list]`): For each two tasks the mean cosine of their gradients, None where they never met.
    """

    step: int
    conflicts: float | None
    norms: list[float | None]
    cosines: list[list[float | None]]


@dataclass
class ConflictReport:
    """
    Adds up inner products of gradients, step by step, and keeps a record for each line of the log.

    Args:
        names (`list[str]`): The tasks, or the heads.
        records (`list[ConflictRecord]`, *optional*): What was recorded.

    Example:
        >>> report = ConflictReport(["pos", "ner"])
        >>> report.add(torch.tensor([[4.0, -1.0], [-1.0, 1.0]]), [0, 1])
        >>> report.record(10)
        ConflictRecord(step=10, conflicts=1.0, norms=[2.0, 1.0], cosines=[[1.0, -0.5], [-0.5, 1.0]])
    """

    names: list[str]
    records: list[ConflictRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        size = len(self.names)
        self._norms = torch.zeros(size, dtype=torch.float64)
        self._cosines = torch.zeros(size, size, dtype=torch.float64)
        self._met = torch.zeros(size, size, dtype=torch.long)
        self._conflicts = 0

    def add(self, gramian: torch.Tensor, present: Sequence[int]) -> None:
        """
        Add an optimizer step.

        Args:
            gramian (`torch.Tensor` of shape `(len(present), len(present))`):
                Inner products of the gradients, on the CPU; no zero on the diagonal.
            present (`Sequence[int]`): Places of their tasks among the names.
        """
        places = torch.tensor(list(present), dtype=torch.long)
        norms = gramian.diagonal().double().sqrt()
        chosen = (places[:, None], places)
        self._norms[places] += norms
        self._cosines[chosen] += gramian / torch.outer(norms, norms)
        self._met[chosen] += 1
        self._conflicts += int((gramian < 0).sum()) // 2

    def record(self, step: int) -> ConflictRecord | None:
        """
        Keep what was added since the last record.

        Args:
            step (`int`): Number of the last optimizer step.

        Returns:
            [`ConflictRecord`]; None if nothing was added.
        """
        times = self._met.diagonal()
        if not bool(times.any()):
            return None
        pairs = int(self._met.sum() - times.sum()) // 2
        record = ConflictRecord(
            step=step,
            conflicts=self._conflicts / pairs if pairs else None,
            norms=_means(self._norms, times),
            cosines=[_means(*each) for each in zip(self._cosines, self._met, strict=True)],
        )
        self.records.append(record)
        self._clear()
        return record

    def save(self, file: Path) -> None:
        """
        Write all records as JSON, and what was added since the last one.

        Args:
            file (`Path`): The file, which appears whole or not at all.
        """
        values: dict[str, Any] = {"names": self.names, "records": [asdict(each) for each in self.records]}
        if bool(self._met.any()):
            values["unrecorded"] = {
                "norms": self._norms.tolist(),
                "cosines": self._cosines.tolist(),
                "met": self._met.tolist(),
                "conflicts": self._conflicts,
            }
        with whole_file(file) as unfinished:
            unfinished.write_text(json.dumps(values) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> ConflictReport:
        """
        Read what [`~ConflictReport.save`] wrote.

        Args:
            file (`Path`): The file.

        Returns:
            [`ConflictReport`].

        Raises:
            InputError: If it is no such file.
        """
        try:
            values: Any = json.loads(file.read_text(encoding="utf-8"))
            report = cls(list(values["names"]), [ConflictRecord(**each) for each in values["records"]])
            if "unrecorded" in values:
                report._take_over(values["unrecorded"])
            return report
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: expected a report of conflicts, which cannot be read: {error}") from error

    def _take_over(self, sums: Mapping[str, Any]) -> None:
        self._norms = torch.tensor(sums["norms"], dtype=torch.float64)
        self._cosines = torch.tensor(sums["cosines"], dtype=torch.float64)
        self._met = torch.tensor(sums["met"], dtype=torch.long)
        self._conflicts = int(sums["conflicts"])


def _means(sums: torch.Tensor, counts: torch.Tensor) -> list[float | None]:
    return [total / count if count else None for total, count in zip(sums.tolist(), counts.tolist(), strict=True)]
