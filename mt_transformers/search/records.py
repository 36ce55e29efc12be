"""What a search has tried so far, in one file that an interrupted search goes on from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..whole_files import whole_file

__all__ = ["SearchRecord", "TrialRecord"]

_RECORD_FILE, _PICTURE_FILE, _BEST_FILE = "search.json", "search.png", "best.yaml"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """
    What came out of a trial.

    Args:
        number (`int`): Its number, from 0.
        values (`dict[str, Any]`): For each key that is searched its value.
        eval_score (`float`, *optional*): Mean of every head's primary metric; None if the values cannot be trained.
        seconds (`float`): How long it took.
        fault (`str`, *optional*): Why there is no score.
    """

    number: int
    values: dict[str, Any]
    eval_score: float | None
    seconds: float
    fault: str | None = None


@dataclass(kw_only=True)
class SearchRecord:
    """
    A search so far.

    Args:
        folder (`Path`): Where it is kept.
        recipe (`dict[str, Any]`): What the recipe says beside `search`.
        search (`dict[str, Any]`): What it says there.
        trials (`list[TrialRecord]`, *optional*): The trials in their order.

    Example:
        >>> scores = [0.5, None, 0.75]
        >>> trials = [TrialRecord(number=i, values={}, eval_score=each, seconds=1.0) for i, each in enumerate(scores)]
        >>> record = SearchRecord(folder=Path("search"), recipe={}, search={}, trials=trials)
        >>> [each.number for each in record.ranked()]
        [2, 0]
    """

    folder: Path
    recipe: dict[str, Any]
    search: dict[str, Any]
    trials: list[TrialRecord] = field(default_factory=list)

    @property
    def picture_file(self) -> Path:
        """The score of each trial against each value."""
        return self.folder / _PICTURE_FILE

    @property
    def best_file(self) -> Path:
        """The recipe with the values of the best trial."""
        return self.folder / _BEST_FILE

    def ranked(self) -> list[TrialRecord]:
        """The trials that have a score, the best one first, of equal ones the earlier."""
        scored = [each for each in self.trials if each.eval_score is not None]
        return sorted(scored, key=lambda each: -(each.eval_score or 0.0))

    def save(self) -> None:
        """Write all of it as JSON into the folder, whole or not at all."""
        best = next(iter(self.ranked()), None)
        values = {
            "best": None if best is None else asdict(best),
            "recipe": self.recipe,
            "search": self.search,
            "trials": [asdict(each) for each in self.trials],
        }
        with whole_file(self.folder / _RECORD_FILE) as unfinished:
            unfinished.write_text(json.dumps(values, indent=2, default=str) + "\n", encoding="utf-8")

    def take_over(self) -> None:
        """
        Go on from what an earlier call of the same search has written into the folder, if there is anything.

        Raises:
            InputError: If it cannot be read, or is of another recipe.
        """
        file = self.folder / _RECORD_FILE
        if not file.exists():
            return
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            trials = [TrialRecord(**each) for each in found["trials"]]
            earlier = {"recipe": found["recipe"], "search": found["search"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"search: {file} cannot be read: {error!r}. Remove it to begin anew.") from error
        own = json.loads(json.dumps({"recipe": self.recipe, "search": self.search}, default=str))
        if earlier != own:
            raise InputError(
                f"search: {file} is of another search: {_difference(earlier, own)}. Go on with the recipe as it was, "
                "set another training.output_dir, or remove that file to begin anew."
            )
        self.trials = trials


def _difference(earlier: Any, own: Any, key: str = "") -> str:
    """The first place where two nested values differ, in words."""
    if not isinstance(earlier, dict) or not isinstance(own, dict):
        return f"{key} was {earlier!r} and is {own!r}"
    name = next(
        each for each in [*own, *earlier] if own.get(each) != earlier.get(each) or (each in own) != (each in earlier)
    )
    inner = name if key in ("", "recipe") else f"{key}, {name!r}" if key == "search" else f"{key}.{name}"
    return _difference(earlier.get(name), own.get(name), inner)
