"""What a run of continual learning is judged by, and the file that keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, check_known
from ..whole_files import whole_file
from .measures import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["ContinualResults"]

_FILE = "continual_results.json"
_MEASURES = (
    "average_accuracy",
    "average_incremental_accuracy",
    "forgetting",
    "backward_transfer",
    "forward_transfer",
)


@dataclass(kw_only=True, eq=False)
class ContinualResults:
    """
    Scores of one run over a scenario, filled as its experiences end; scores are fractions of which higher is better.

    Args:
        strategy (`str`): Name of the strategy. Runs of one strategy with several seeds have the same.
        scenario (`str`): Kind of the scenario.
        experiences (`tuple[str, ...]`): Names of the experiences, in the order in which they are learnt.
        matrix (`np.ndarray` of shape `(experiences, experiences)`):
            Entry `[i, j]` is the score on experience `j` after experience `i` was learnt; NaN where nothing was
            measured. See [`ContinualResults.begin`] for one that is empty.
        initial (`np.ndarray` of shape `(experiences,)`): Scores before anything was learnt, NaN where unknown.
        heads (`dict[str, np.ndarray]`, *optional*):
            For each head a matrix like `matrix` with its own score, NaN where an experience does not have it.
        seconds (`list[float]`, *optional*): How long each experience trained so far (seconds).
        buffer_bytes (`int`, *optional*, defaults to 0):
            Size of what the strategy keeps of earlier experiences (bytes).

    Raises:
        InputError: If names are missing or double, a matrix has the wrong shape, or a number cannot be one.

    Example:
        >>> results = ContinualResults.begin(strategy="naive", scenario="class_incremental", experiences=["a", "b"])
        >>> results.record(0, {0: 1.0, 1: 0.25})
        >>> results.record(1, {0: 0.5, 1: 0.75})
        >>> results.measures()["average_accuracy"], results.measures()["forgetting"]
        (0.625, 0.5)
    """

    strategy: str
    scenario: str
    experiences: tuple[str, ...]
    matrix: npt.NDArray[np.float64]
    initial: npt.NDArray[np.float64]
    heads: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    buffer_bytes: int = 0

    def __post_init__(self) -> None:
        self.experiences = tuple(self.experiences)
        size = len(self.experiences)
        if not size or len(set(self.experiences)) < size:
            raise InputError(f"experiences: expected names that differ, found {list(self.experiences)}.")
        self.matrix = _checked("matrix", self.matrix, (size, size))
        self.initial = _checked("initial", self.initial, (size,))
        self.heads = {name: _checked(f"head {name!r}", each, (size, size)) for name, each in self.heads.items()}
        if len(self.seconds) > size or not all(math.isfinite(each) and each >= 0 for each in self.seconds):
            raise InputError(f"seconds: expected at most {size} numbers from 0 up, found {self.seconds}.")
        if self.buffer_bytes < 0:
            raise InputError(f"buffer_bytes: expected a number from 0 up, found {self.buffer_bytes}.")

    @classmethod
    def begin(cls, *, strategy: str, scenario: str, experiences: Sequence[str]) -> ContinualResults:
        """
        Results of a run that has not learnt anything yet.

        Args:
            strategy, scenario, experiences: As the class takes them.

        Returns:
            [`ContinualResults`]: All scores are NaN.
        """
        size = len(experiences)
        return cls(
            strategy=strategy,
            scenario=scenario,
            experiences=tuple(experiences),
            matrix=np.full((size, size), np.nan),
            initial=np.full(size, np.nan),
        )

    @property
    def last(self) -> int | None:
        """The last experience after which something was measured, counted from 0; None if there is none."""
        measured = np.flatnonzero(~np.isnan(self.matrix).all(axis=1))
        return int(measured[-1]) if measured.size else None

    def record(
        self, i: int, scores: Mapping[int, float], heads: Mapping[str, Mapping[int, float]] | None = None
    ) -> None:
        """
        Note what was measured after an experience, in place of what was noted for it before.

        Args:
            i (`int`): The experience that was learnt, counted from 0.
            scores (`Mapping[int, float]`): For each experience that was measured its score (fraction).
            heads (`Mapping[str, Mapping[int, float]]`, *optional*): The same of single heads.

        Raises:
            InputError: If there is no such experience, or a score is infinite; nothing is noted then.
        """
        size = len(self.experiences)
        _check_experiences("record", [i], size)
        row = _row("scores", scores, size)
        head_rows = {name: _row(f"head {name!r}", each, size) for name, each in (heads or {}).items()}
        for name in head_rows:
            self.heads.setdefault(name, np.full((size, size), np.nan))
        self.matrix[i] = row
        for name, matrix in self.heads.items():
            matrix[i] = head_rows.get(name, np.nan)

    def measures(self, after: int | None = None) -> dict[str, float]:
        """
        The measures of [`mt_transformers.continual.measures`].

        Args:
            after (`int`, *optional*): The experience after which is measured. Defaults to [`ContinualResults.last`].

        Returns:
            `dict[str, float]`: `average_accuracy`, `average_incremental_accuracy`, `forgetting`, `backward_transfer`
            and `forward_transfer`, as fractions; NaN where one is not defined, and all before anything was learnt.

        Raises:
            InputError: If there is no such experience.
        """
        after = self.last if after is None else after
        if after is None:
            return dict.fromkeys(_MEASURES, math.nan)
        values = (
            average_accuracy(self.matrix, after),
            average_incremental_accuracy(self.matrix, after),
            forgetting(self.matrix, after),
            backward_transfer(self.matrix, after),
            forward_transfer(self.matrix, self.initial, after),
        )
        return dict(zip(_MEASURES, values, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """
        The results as JSON values.

        Returns:
            `dict[str, Any]`: The fields by name, None in place of NaN; [`ContinualResults.from_dict`] gives every
            number back exactly.
        """
        return {
            "strategy": self.strategy,
            "scenario": self.scenario,
            "experiences": list(self.experiences),
            "matrix": _lists(self.matrix),
            "initial": _lists(self.initial),
            "heads": {name: _lists(each) for name, each in self.heads.items()},
            "seconds": [float(each) for each in self.seconds],
            "buffer_bytes": int(self.buffer_bytes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ContinualResults:
        """
        Read what [`ContinualResults.to_dict`] gave.

        Args:
            values (`Mapping[str, Any]`): The fields by name.

        Returns:
            [`ContinualResults`].

        Raises:
            InputError: If a field is missing, unknown or not of its type.
        """
        names = [each.name for each in fields(cls)]
        check_known(values, names, "continual results")
        if missing := [name for name in names if name not in values]:
            raise InputError(f"continual results: {', '.join(missing)} missing.")
        for name in ("strategy", "scenario"):
            if not isinstance(values[name], str):
                raise InputError(f"{name}: expected a text, found {values[name]!r}.")
        experiences = values["experiences"]
        if not isinstance(experiences, list) or not all(isinstance(each, str) for each in experiences):
            raise InputError(f"experiences: expected a list of names, found {experiences!r}.")
        if not isinstance(values["heads"], dict):
            raise InputError(f"heads: expected a matrix for each head, found {values['heads']!r}.")
        if not isinstance(values["seconds"], list) or not all(map(_is_number, values["seconds"])):
            raise InputError(f"seconds: expected a list of numbers, found {values['seconds']!r}.")
        if not isinstance(values["buffer_bytes"], int) or isinstance(values["buffer_bytes"], bool):
            raise InputError(f"buffer_bytes: expected a whole number, found {values['buffer_bytes']!r}.")
        arrays = {name: _array(name, values[name]) for name in ("matrix", "initial")}
        heads = {name: _array(f"head {name!r}", each) for name, each in values["heads"].items()}
        return cls(**{**values, **arrays, "experiences": tuple(experiences), "heads": heads})

    def save(self, folder: str | Path) -> None:
        """
        Write `continual_results.json`, whole or not at all.

        Args:
            folder (`str` or `Path`): Where; made if need be.

        Raises:
            InputError: If it cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"
        with whole_file(Path(folder) / _FILE) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="\n")

    @staticmethod
    def is_saved(folder: str | Path) -> bool:
        """
        Tell whether [`ContinualResults.save`] has written into a folder.

        Args:
            folder (`str` or `Path`): The folder.

        Returns:
            `bool`.
        """
        return (Path(folder) / _FILE).is_file()

    @classmethod
    def load(cls, folder: str | Path) -> ContinualResults:
        """
        Read what [`ContinualResults.save`] wrote.

        Args:
            folder (`str` or `Path`): Where.

        Returns:
            [`ContinualResults`].

        Raises:
            InputError: If the file is missing or is not what was written; the message names it.
        """
        file = Path(folder) / _FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise InputError(f"expected a mapping of fields, found {type(values).__name__}.")
            return cls.from_dict(values)
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error}") from error
        except ValueError as error:
            raise InputError(f"{file}: {error}") from error


def _checked(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """A copy of the values, of which each is finite or NaN."""
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"{name}: expected the shape {shape} for the experiences, found {array.shape}.")
    if np.isinf(array).any():
        raise InputError(f"{name}: expected finite scores or NaN, found an infinite one.")
    return array


def _check_experiences(name: str, numbers: Sequence[int], size: int) -> None:
    for number in numbers:
        if not 0 <= number < size:
            raise InputError(f"{name}: expected experiences from 0 to {size - 1}, found {number}.")


def _row(name: str, scores: Mapping[int, float], size: int) -> npt.NDArray[np.float64]:
    """Scores of some experiences as those of all."""
    _check_experiences(name, list(scores), size)
    row = np.full(size, np.nan)
    row[list(scores)] = list(scores.values())
    return _checked(name, row, (size,))


def _lists(array: npt.NDArray[np.float64]) -> Any:
    return np.where(np.isnan(array), None, array).tolist()  # type: ignore[call-overload]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _array(name: str, values: object) -> npt.NDArray[np.float64]:
    """Lists of numbers, None for NaN, as an array; text is no number."""
    cells = np.array(values, dtype=object)
    if not all(cell is None or _is_number(cell) for cell in cells.flat):
        raise InputError(f"{name}: expected lists of numbers of one length, null where nothing was measured.")
    return cells.astype(np.float64)
