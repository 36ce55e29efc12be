"""How a trainer evaluates and predicts: each task's split in one pass, all of its heads at once."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch import nn
from transformers import ProgressCallback
from transformers.trainer_utils import PredictionOutput, speed_metrics

from ..data import GOLD_PREFIX, TASK_INDEX, MultiTaskDataset, PreparedTasks
from ..heads import HeadConfig
from ..modeling import MultiTaskModel
from .data_loaders import DataLoaderMixin
from .evaluation import EvaluationResults, gold_of, reduce_outputs

__all__ = ["EvaluationMixin"]


class EvaluationMixin(DataLoaderMixin):
    """Adds `evaluate` and `predict` over several tasks to a `Trainer`."""

    model: MultiTaskModel
    prepared: PreparedTasks
    head_configs: dict[str, HeadConfig]
    _keep_logits = False
    _evaluated_task = ""

    def evaluate(  # type: ignore[override]
        self,
        eval_dataset: str | Collection[str] | Mapping[str, datasets.Dataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        split: str = "validation",
    ) -> dict[str, float]:
        """
        Evaluate the heads of each task on a split of it, in one pass over its rows.

        Args:
            eval_dataset (`str`, `Collection[str]` or `Mapping[str, datasets.Dataset]`, *optional*):
                A task's name, several, or rows for each task with the task's columns. Defaults to all tasks that
                have the split.
            ignore_keys (`list[str]`, *optional*): Not used.
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`): What the metrics' names begin with.
            split (`str`, *optional*, defaults to `"validation"`): The split, unless rows are given.

        Returns:
            `dict[str, float]`: `eval_<task>_<head>_<metric>`, `eval_<task>_loss`, `eval_loss` and `eval_score`.

        Raises:
            InputError: If a task is unknown, no task has the split, or a head has no labelled row there.
        """
        start, chosen = time.time(), self.prepared.choose(eval_dataset, split)
        metrics = self.score_prepared(chosen, metric_key_prefix).finish()
        metrics |= self._speed(metric_key_prefix, start, sum(map(len, chosen.values())))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def score_prepared(self, splits: Mapping[str, datasets.Dataset], prefix: str) -> EvaluationResults:
        """
        Score the heads of each task, without a word to log and callbacks.

        Args:
            splits (`Mapping[str, datasets.Dataset]`): For each task prepared rows.
            prefix (`str`): What the metrics' names begin with.

        Returns:
            [`EvaluationResults`]: Of all tasks, not finished yet.

        Raises:
            InputError: If a head has no labelled row there.
        """
        results = self._new_results(prefix)
        for task_name, dataset in splits.items():
            self._evaluated_task = task_name
            outputs, labels = self._run_heads(dataset, "Evaluation", prefix)
            results.add_task(task_name, outputs, labels, gold_of(dataset))
        return results

    def predict(  # type: ignore[override]
        self,
        test_dataset: str | Collection[str] | Mapping[str, datasets.Dataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "test",
        split: str = "test",
    ) -> dict[str, PredictionOutput]:
        """
        Predict a split of each task.

        Args:
            test_dataset, metric_key_prefix, split: As [`evaluate`] takes them.
            ignore_keys (`list[str]`, *optional*): Not used.

        Returns:
            `dict[str, PredictionOutput]`: For each task `predictions`, a dict head -> logits in the order of the
            rows, or predictions where logits would be too large, `label_ids`, a dict head -> labels, and `metrics`
            of the heads that have labels there.

        Raises:
            InputError: If a task is unknown or no task has the split.
        """
        answers: dict[str, PredictionOutput] = {}
        for task_name, dataset in self.prepared.choose(test_dataset, split).items():
            start, self._evaluated_task = time.time(), task_name
            outputs, labels = self._run_heads(dataset, "Prediction", metric_key_prefix, keep_logits=True)
            results = self._new_results(metric_key_prefix)
            results.add_task(task_name, outputs, labels, gold_of(dataset), lenient=True)
            metrics = results.finish() | self._speed(metric_key_prefix, start, len(dataset))
            self.control = self.callback_handler.on_predict(self.args, self.state, self.control, metrics)
            logits: Any = {head: values.get("logits", values["predictions"]) for head, values in outputs.items()}
            answers[task_name] = PredictionOutput(predictions=logits, label_ids=cast(Any, labels), metrics=metrics)
        return answers

    def prediction_step(  # type: ignore[override]
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, dict[str, dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        """Run all heads of a task on all rows of a batch and keep only what metrics need."""
        inputs = self._prepare_inputs(dict(inputs))
        inputs.pop(TASK_INDEX, None)
        labels = inputs["labels"]
        # all rows go to all heads, so that what is gathered has one shape on every process
        inputs["rows"] = {}
        if self.model.task_adapters:
            inputs["task"] = [self._evaluated_task] * max(map(len, labels.values()))
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
        kept = {}
        for name, head_labels in labels.items():
            head = self.model.named_heads[name]
            kept[name] = reduce_outputs(name, head, outputs, head_labels, self._keep_logits)
        return None, kept, labels

    def _run_heads(
        self, dataset: datasets.Dataset, description: str, prefix: str, keep_logits: bool = False
    ) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
        """Outputs and labels of each head over a split, which runs sorted by length, the longest rows first."""
        order = np.argsort(-MultiTaskDataset({"": dataset}).lengths(), kind="stable")
        self._keep_logits = keep_logits
        gold = [name for name in dataset.column_names if name.startswith(GOLD_PREFIX)]
        output: Any = self.evaluation_loop(
            self.get_eval_dataloader(dataset.remove_columns(gold).select(order)),
            description=description,
            prediction_loss_only=False,
            metric_key_prefix=prefix,
        )
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, ProgressCallback):
                # its bar is for one split: the next one gets a bar of its own
                callback.on_evaluate(self.args, self.state, self.control)
        back = np.argsort(order)
        outputs = {head: {key: each[back] for key, each in kept.items()} for head, kept in output.predictions.items()}
        return outputs, {head: each[back] for head, each in output.label_ids.items()}

    def _new_results(self, prefix: str) -> EvaluationResults:
        config = self.model.config
        return EvaluationResults(self.head_configs, config.loss_weights, config.loss_reduction, prefix)

    def _speed(self, prefix: str, start: float, rows: int) -> dict[str, float]:
        steps = math.ceil(rows / (self.args.eval_batch_size * self.args.world_size))
        speed: dict[str, float] = speed_metrics(prefix, start, num_samples=rows, num_steps=steps)
        return speed
