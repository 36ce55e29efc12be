"""Shares that follow how well the tasks do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["DynamicShares"]

_LEAST = 0.1


class DynamicShares:
    """
    Gives more to the tasks that are further below their target, or below the best they have reached.

    The weight of a task is its gap, over the largest gap, plus 0.1, so that no task starves: as Gottumukkala et al.
    (2020), https://aclanthology.org/2020.acl-main.86, sample by the gap to each task's single-task score. Before the
    first evaluation, and while there is no gap, all tasks have the same share.

    Args:
        targets (`Mapping[str, float]`, *optional*): Score that each task is to reach. Defaults to its best so far.

    Example:
        >>> shares = DynamicShares({"a": 0.9, "b": 0.9})
        >>> shares.update_from_metrics({"eval_a_score": 0.9, "eval_b_score": 0.5})
        >>> weights = shares.weights(["a", "b"])
        >>> round(weights["b"] / weights["a"])
        11
    """

    def __init__(self, targets: Mapping[str, float] | None = None) -> None:
        self._targets = dict(targets or {})
        self._best: dict[str, float] = {}
        self._scores: dict[str, float] = {}

    def update_from_metrics(self, metrics: Mapping[str, float]) -> None:
        """
        Take over the scores of an evaluation.

        Args:
            metrics (`Mapping[str, float]`): Metrics by name; `eval_<task>_score` is the score of a task, NaN none.
        """
        for name, value in metrics.items():
            if name.startswith("eval_") and name.endswith("_score") and name != "eval_score":
                if math.isnan(value):
                    continue
                task_name = name.removeprefix("eval_").removesuffix("_score")
                self._scores[task_name] = value
                self._best[task_name] = max(value, self._best.get(task_name, value))

    def weights(self, task_names: list[str]) -> dict[str, float]:
        """
        Weight of each task.

        Args:
            task_names (`list[str]`): The tasks.

        Returns:
            `dict[str, float]`: Positive numbers.
        """
        gaps = {name: max(0.0, self._reference(name) - self._scores.get(name, 0.0)) for name in task_names}
        gaps = {name: gap if name in self._scores else 0.0 for name, gap in gaps.items()}
        if math.inf in gaps.values():
            gaps = {name: float(gap == math.inf) for name, gap in gaps.items()}
        largest = max(gaps.values()) or 1.0
        return {name: _LEAST + gap / largest for name, gap in gaps.items()}

    def _reference(self, task_name: str) -> float:
        return self._targets.get(task_name, self._best.get(task_name, 0.0))

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON values."""
        return {"best": dict(self._best), "scores": dict(self._scores)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what [`state_dict`] gave."""
        self._best, self._scores = dict(state["best"]), dict(state["scores"])
