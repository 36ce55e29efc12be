"""Metrics of a model and of what was exported from it, on the same rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ...data import Task
from ...errors import InputError
from ...modeling import MultiTaskModel, MultiTaskModelOutput
from ...training import MultiTaskTrainer, MultiTaskTrainingArguments
from ...training.evaluation import gold_of
from .model import ExportedMultiTaskModel

__all__ = ["ExportEvaluation", "HeadComparison"]


@dataclass(frozen=True)
class HeadComparison:
    """
    One metric of one head on one task.

    Args:
        task (`str`): The task.
        head (`str`): The head.
        metric (`str`): The metric.
        values (`dict[str, float]`): Its value for each variant, `torch` first.

    Example:
        >>> HeadComparison("snips", "intent", "accuracy", {"torch": 0.75, "onnx": 0.75, "int8": 0.5}).difference
        -0.25
    """

    task: str
    head: str
    metric: str
    values: dict[str, float]

    @property
    def difference(self) -> float:
        """What the last variant has more than the first."""
        first, *_, last = self.values.values()
        return last - first


class ExportEvaluation:
    """
    Evaluates a model and what was exported from it on one split, through the trainer's own evaluation.

    Rows are read and encoded once. Losses are left out, for a graph has none, and so are heads that make their labels
    from the text and are scored by them.

    Args:
        model ([`MultiTaskModel`]): The model.
        processing_class (`Any`): Its tokenizer or image processor.
        tasks (`Mapping[str, Task]`): The tasks.
        split (`str`): The split.
        args ([`MultiTaskTrainingArguments`]): The batch size, and what else an evaluation is told.
        heads (`Collection[str]`): The heads to evaluate: those that are exported.

    Raises:
        InputError: If no task has the split and labels of such a head, or a row cannot be used.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        processing_class: Any,
        tasks: Mapping[str, Task],
        split: str,
        args: MultiTaskTrainingArguments,
        heads: Collection[str],
    ) -> None:
        self._split = split
        self._configs = {name: head.config for name, head in model.named_heads.items()}
        wanted = [name for name in heads if not self._configs[name].makes_sequence]
        kept = {name: _only(task, split, wanted) for name, task in tasks.items() if split in task.dataset}
        kept = {name: task for name, task in kept.items() if task.labels}
        if not kept:
            raise InputError(f"no task has a split {split!r} with labels of {', '.join(heads)}.")
        self._trainer = _Evaluator(model, args, tasks=kept, processing_class=processing_class)
        self._metrics: dict[str, dict[str, float]] = {}

    def run(self, variant: str, exported: ExportedMultiTaskModel | None = None) -> None:
        """
        Evaluate one variant.

        Args:
            variant (`str`): Its name, such as `torch` or `int8`.
            exported ([`ExportedMultiTaskModel`], *optional*): What to run instead of the model itself.
        """
        self._metrics[variant] = self._trainer.evaluate_variant(self._split, exported)

    @property
    def comparisons(self) -> list[HeadComparison]:
        """All metrics of all variants so far."""
        return [
            HeadComparison(task, head, metric, {name: own[key] for name, own in self._metrics.items()})
            for task, labels in self._trainer.tasks.items()
            for head in labels.labels
            for metric in self._configs[head].metric_names
            if all((key := f"{self._split}_{task}_{head}_{metric}") in own for own in self._metrics.values())
        ]


def _only(task: Task, split: str, heads: Collection[str]) -> Task:
    """A task with one split, and with the labels of some heads."""
    labels = {name: columns for name, columns in task.labels.items() if name in heads}
    return replace(task, dataset={split: task.dataset[split]}, labels=labels)


class _Evaluator(MultiTaskTrainer):
    """A trainer that evaluates with something else than its model, and neither logs nor calls back."""

    _exported: ExportedMultiTaskModel | None = None

    def evaluate_variant(self, split: str, exported: ExportedMultiTaskModel | None) -> dict[str, float]:
        self._exported = exported
        results = self._new_results(split)
        for task_name, dataset in self.prepared.choose(None, split).items():
            outputs, labels = self._run_heads(dataset, "Evaluation", split)
            results.add_task(task_name, outputs, labels, gold_of(dataset))
        return results.metrics

    def prediction_step(  # type: ignore[override]
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, dict[str, dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        running = model if self._exported is None else _WithoutLosses(self._exported)
        return super().prediction_step(running, inputs, prediction_loss_only, ignore_keys)


class _WithoutLosses(nn.Module):
    """An exported model that is called with labels, as a model is in an evaluation; its losses are NaN."""

    def __init__(self, exported: ExportedMultiTaskModel) -> None:
        super().__init__()
        self._exported = exported

    def forward(self, labels: Mapping[str, torch.Tensor], **inputs: Any) -> MultiTaskModelOutput:
        outputs = self._exported(heads=list(labels), **{key: inputs[key] for key in inputs if key != "rows"})
        for name in labels:
            outputs[f"{name}_row_losses"] = torch.full((len(outputs[f"{name}_logits"]),), torch.nan)
        return outputs
