"""From what the heads put out over a split to metrics under their fixed names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import numpy as np
import torch

from ..configuration import LossReduction
from ..data import GOLD_PREFIX
from ..errors import InputError
from ..heads import Head, HeadConfig
from ..modeling import loss_divisor

__all__ = ["EvaluationResults", "gold_of", "metric_names", "reduce_outputs"]


def metric_names(tasks: Mapping[str, list[str]], heads: Mapping[str, HeadConfig], prefix: str = "eval") -> set[str]:
    """
    Names of all metrics that an evaluation yields.

    Args:
        tasks (`Mapping[str, list[str]]`): For each task its heads.
        heads (`Mapping[str, HeadConfig]`): The heads.
        prefix (`str`, *optional*, defaults to `"eval"`): What the names begin with.

    Returns:
        `set[str]`: The names.

    Raises:
        InputError: If two metrics would have one name.

    Example:
        >>> from mt_transformers.heads import get_head_config
        >>> heads = {"intent": get_head_config("intent", {"head_type": "sequence_classification"})}
        >>> sorted(metric_names({"snips": ["intent"]}, heads))[:2]
        ['eval_loss', 'eval_score']
    """
    owners = {f"{prefix}_loss": "all tasks", f"{prefix}_score": "all tasks"}
    for task_name, task_heads in tasks.items():
        found = {f"{prefix}_{task_name}_{name}": f"task {task_name!r}" for name in ("loss", "score")}
        for head in task_heads:
            for metric in heads[head].metric_names:
                found[f"{prefix}_{task_name}_{head}_{metric}"] = f"head {head!r} of task {task_name!r}"
        for name, owner in found.items():
            if name in owners:
                raise InputError(f"the metric {name} would stand for {owners[name]} and for {owner}: rename one.")
            owners[name] = owner
    return set(owners)


def gold_of(dataset: datasets.Dataset) -> dict[str, Sequence[Any]]:
    """
    What a prepared split keeps of its rows for metrics that need more than labels.

    Args:
        dataset (`datasets.Dataset`): The split.

    Returns:
        `dict[str, Sequence[Any]]`: For each head that needs it one value a row.
    """
    names = [name for name in dataset.column_names if name.startswith(GOLD_PREFIX)]
    return {name.removeprefix(GOLD_PREFIX): dataset[name] for name in names}


def reduce_outputs(
    name: str, head: Head, outputs: Mapping[str, Any], labels: torch.Tensor, keep_logits: bool
) -> dict[str, torch.Tensor]:
    """
    Keep of a head's outputs for a batch what metrics need.

    Args:
        name (`str`): The head.
        head ([`Head`]): The head.
        outputs (`Mapping[str, Any]`): What the model answered.
        labels (`torch.Tensor` of shape `(rows, ...)`): The head's labels.
        keep_logits (`bool`): Whether to keep logits too, unless they would be too large.

    Returns:
        `dict[str, torch.Tensor]`: `predictions`, `row_losses`, `items` and perhaps `logits`, one entry a row.
    """
    own = {key: outputs[f"{name}_{key}"] for key in head.config.output_names if f"{name}_{key}" in outputs}
    kept = {
        "predictions": head.predictions(own, labels),
        "row_losses": own["row_losses"].float(),
        "items": head.config.count_items(labels),
    }
    return {**kept, "logits": own["logits"]} if keep_logits and head.config.returns_logits else kept


@dataclass
class _HeadTotals:
    loss_sum: float = 0.0
    items: int = 0
    rows: int = 0
    scores: list[float] = field(default_factory=list)


class EvaluationResults:
    """
    Collects the metrics of task after task.

    Args:
        heads (`Mapping[str, HeadConfig]`): The heads.
        loss_weights (`Mapping[str, float]`): Weight of each head's loss, 1 where none is given.
        reduction (`str`): `per_head` or `per_row`, see [`loss_divisor`].
        prefix (`str`): What the names of the metrics begin with.
    """

    def __init__(
        self, heads: Mapping[str, HeadConfig], loss_weights: Mapping[str, float], reduction: LossReduction, prefix: str
    ) -> None:
        self._heads = heads
        self._loss_weights = loss_weights
        self._reduction = reduction
        self._prefix = prefix
        self._totals: dict[str, _HeadTotals] = {}
        self._rows = 0
        self.metrics: dict[str, float] = {}

    def add_task(
        self,
        task_name: str,
        outputs: Mapping[str, Any],
        labels: Mapping[str, np.ndarray],
        gold: Mapping[str, Sequence[Any]] | None = None,
        lenient: bool = False,
    ) -> None:
        """
        Score the heads of a task.

        Args:
            task_name (`str`): The task.
            outputs (`Mapping[str, Any]`):
                For each head `predictions`, `row_losses` and `items`, each over all rows of the split.
            labels (`Mapping[str, np.ndarray]`): For each head the labels of these rows.
            gold (`Mapping[str, Sequence[Any]]`, *optional*):
                For each head whose metrics need more than labels what was kept of these rows.
            lenient (`bool`, *optional*, defaults to `False`): Whether a head without labels is passed over.

        Raises:
            InputError: If a head has not one labelled row, naming task and head.
        """
        totals: dict[str, _HeadTotals] = {}
        rows = len(next(iter(labels.values()))) if labels else 0
        for head, output in outputs.items():
            items = output["items"]
            if lenient and not items.any():
                continue
            try:
                metrics = self._heads[head].compute_metrics(
                    output["predictions"], labels[head], (gold or {}).get(head)
                )
            except InputError as error:
                raise InputError(f"task {task_name!r}, head {head!r}: {error}") from error
            for name, value in metrics.items():
                self.metrics[f"{self._prefix}_{task_name}_{head}_{name}"] = float(value)
            loss_sum = float(output["row_losses"].sum(dtype=np.float64))
            total = _HeadTotals(loss_sum, int(items.sum()), int((items > 0).sum()))
            total.scores.append(self._heads[head].score(metrics))
            totals[head] = total
            self._add_up(head, total)
        if totals:
            self.metrics[f"{self._prefix}_{task_name}_loss"] = self._loss(totals, rows)
            self.metrics[f"{self._prefix}_{task_name}_score"] = _mean_score(totals)
        self._rows += rows

    def _add_up(self, head: str, total: _HeadTotals) -> None:
        overall = self._totals.setdefault(head, _HeadTotals())
        overall.loss_sum += total.loss_sum
        overall.items += total.items
        overall.rows += total.rows
        overall.scores += total.scores

    def _loss(self, totals: Mapping[str, _HeadTotals], all_rows: int) -> float:
        """The training loss, were these rows one optimizer step."""
        loss = 0.0
        for head, total in totals.items():
            divisor = loss_divisor(total.items, total.rows, all_rows, self._reduction)
            loss += self._loss_weights.get(head, 1.0) * total.loss_sum / divisor
        return loss

    def head_scores(self) -> dict[str, float]:
        """
        How good each head is.

        Returns:
            `dict[str, float]`: For each head its primary metric, one of which lower values are better taken negative;
            the mean over the tasks that feed it.
        """
        return {name: float(np.mean(total.scores)) for name, total in self._totals.items()}

    def finish(self) -> dict[str, float]:
        """
        Add what concerns all tasks together.

        Returns:
            `dict[str, float]`: All metrics, with `<prefix>_loss` and `<prefix>_score`, the mean over the heads of
            their primary metrics, one of which lower values are better taken negative. A head that several tasks feed
            counts once, with the mean over its tasks.
        """
        if self._totals:
            self.metrics[f"{self._prefix}_loss"] = self._loss(self._totals, self._rows)
            self.metrics[f"{self._prefix}_score"] = float(np.mean(list(self.head_scores().values())))
        return self.metrics


def _mean_score(totals: Mapping[str, _HeadTotals]) -> float:
    return float(np.mean([np.mean(total.scores) for total in totals.values()]))
