"""The Trainer for several tasks: it overrides how batches are made, counted and evaluated, and nothing else."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    ProgressCallback,
    Trainer,
)
from transformers.trainer_utils import (
    PredictionOutput,
    get_last_checkpoint,
    speed_metrics,
)

from ..data import (
    GOLD_PREFIX,
    TASK_INDEX,
    DataCollatorForMultiTask,
    Mixture,
    MultiTaskBatchSampler,
    MultiTaskDataset,
    MultiTaskStream,
    PreparedTasks,
    Processing,
    Task,
    check_media,
    find_max_length,
)
from ..errors import InputError
from ..modeling import MultiTaskModel
from .arguments import MultiTaskTrainingArguments
from .evaluation import EvaluationResults, gold_of, metric_names, reduce_outputs
from .head_gradients import (
    average_head_gradients,
    backbone_may_idle,
    broadcast_heads,
    leave_heads_out_of_ddp,
)
from .sampler_callback import SamplerCallback
from .step_counts import StepCounter, TrainingLog

__all__ = ["MultiTaskTrainer"]


class MultiTaskTrainer(Trainer):
    """
    A `transformers.Trainer` over several tasks.

    The loss of a head is the sum of its item losses over the whole optimizer step, divided by its number of labelled
    items in that step, over all micro-batches and processes; heads without a labelled row in the step receive no
    update. While training it logs `loss_<head>` and `share_<task>` beside the Trainer's own entries.

    Args:
        model ([`MultiTaskModel`]): The model to train.
        args ([`MultiTaskTrainingArguments`]): The training arguments.
        tasks (`Mapping[str, Task]`): The tasks by name.
        mixture ([`Mixture`], *optional*): How their rows are interleaved.
        processing_class (`Any`): The backbone's tokenizer, image processor, feature extractor or processor.
        kwargs (`Any`): `callbacks`, `optimizers` and what else `transformers.Trainer` takes.

    Raises:
        InputError: If tasks and heads do not fit, or a row cannot be used; before any training.
    """

    model: MultiTaskModel
    args: MultiTaskTrainingArguments

    def __init__(
        self,
        model: MultiTaskModel,
        args: MultiTaskTrainingArguments,
        tasks: Mapping[str, Task],
        mixture: Mixture | None = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(args, MultiTaskTrainingArguments):
            raise InputError(f"args: expected MultiTaskTrainingArguments, found {type(args).__name__}.")
        if processing_class is None:
            raise InputError("processing_class: expected the backbone's tokenizer, or what else reads its inputs.")
        # a copy, since its shares may change with training
        self.mixture = replace(mixture) if mixture is not None else Mixture()
        self.tasks = dict(tasks)
        self.head_configs = {name: head.config for name, head in model.named_heads.items()}
        check_media(self.tasks, model.backbone.info, self.mixture)
        tokenizer = Processing.of(processing_class).tokenizer
        max_length = find_max_length(tokenizer, model.backbone.max_positions, args.max_length)
        self.prepared = PreparedTasks(
            self.tasks, self.head_configs, processing_class, max_length, args.preprocessing_num_proc
        )
        metric_names({name: list(task.labels) for name, task in self.tasks.items()}, self.head_configs)
        _take_over_configs(model)
        with args.main_process_first(desc="preparing the rows"):
            self.prepared.prepare()
        train_dataset = self.prepared.train_dataset(self.mixture, _data_seed(args), endless=True)
        if isinstance(train_dataset, MultiTaskStream) and args.world_size > 1:
            raise InputError("streamed tasks are trained on one process; more are not supported yet.")
        validation = {name: splits["validation"] for name, splits in self.splits.items() if "validation" in splits}
        args.ddp_find_unused_parameters = args.ddp_find_unused_parameters or backbone_may_idle(model, self.tasks)
        self._sampler_callback = SamplerCallback()
        self._keep_logits = False
        collator = self._make_collators(processing_class, args, kwargs.pop("data_collator", None))
        kwargs["callbacks"] = [self._sampler_callback, *(kwargs.get("callbacks") or [])]
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=train_dataset,
            eval_dataset=validation or None,
            processing_class=processing_class,
            **kwargs,
        )
        self._counter = StepCounter(self.head_configs, model.config.loss_reduction, self.accelerator)
        train_names = list(self.prepared.streams) or [name for name, each in self.splits.items() if "train" in each]
        self._log = TrainingLog(self.head_configs, train_names, self.accelerator)
        if self.accelerator.num_processes > 1:
            leave_heads_out_of_ddp(model)
            broadcast_heads(model)

    @property
    def splits(self) -> dict[str, dict[str, datasets.Dataset]]:
        """Prepared splits of each task."""
        return self.prepared.splits

    def _make_collators(self, processing_class: Any, args: MultiTaskTrainingArguments, given: Any) -> Any:
        """One for training, which is told the epoch, and one for evaluation, unless the user gave one for both."""
        multiple = 8 if args.device.type == "cuda" else None
        made = [DataCollatorForMultiTask(processing_class, self.head_configs, multiple) for _ in range(2)]
        self._eval_collator = given or made[1]
        self._sampler_callback.collator = None if given else made[0]
        return given or made[0]

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As `Trainer.train`; a resumed run also takes over the state of the mixture."""
        checkpoint = resume_from_checkpoint
        if checkpoint is True:
            checkpoint = get_last_checkpoint(str(self.args.output_dir))
        self._sampler_callback.load_checkpoint(checkpoint or None)
        # a run begins with the shares of a new mixture, or with those of its checkpoint
        self.mixture = replace(self.mixture)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    # batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of the mixture, cut up for the processes by the sampler itself."""
        args = self.args
        if isinstance(self.train_dataset, MultiTaskStream):
            return self._build_dataloader(self.train_dataset, self.data_collator, batch_size=self._train_batch_size)
        if not isinstance(self.train_dataset, MultiTaskDataset):
            raise InputError("no task has a train split, so that there is nothing to train on.")
        sampler = MultiTaskBatchSampler(
            dict(zip(self.train_dataset.task_names, self.train_dataset.sizes, strict=True)),
            self.mixture,
            self._train_batch_size,
            seed=_data_seed(args),
            num_processes=args.world_size,
            drop_last=args.dataloader_drop_last,
        )
        self._sampler_callback.set_sampler(sampler)
        return self._build_dataloader(self.train_dataset, self.data_collator, batch_sampler=sampler)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Batches of one prepared split, in its order."""
        if not isinstance(eval_dataset, datasets.Dataset):
            raise InputError("expected one prepared split; evaluate() and predict() go through all tasks.")
        # a generator of its own: an evaluation must not change the random numbers of the training around it
        generator = torch.Generator().manual_seed(0)
        batching = {"batch_size": self.args.eval_batch_size, "generator": generator}
        return self._build_dataloader(eval_dataset, self._eval_collator, **batching)

    def _build_dataloader(self, dataset: Any, collator: Any, **batching: Any) -> DataLoader[Any]:
        args = self.args
        loader = DataLoader(
            dataset,
            collate_fn=collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory and args.device.type != "cpu",
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            **batching,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    # the loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Any]:
        """Fetch the micro-batches of an optimizer step and count each head's labelled items in all of them."""
        batches = list(itertools.islice(epoch_iterator, num_batches))
        return batches, self._counter.count(batches, device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The model's loss under the items of the whole step; keeps the books of the log."""
        inputs = dict(inputs)
        task_index = inputs.pop(TASK_INDEX, None)
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if task_index is not None and model.training:
            self._log.add(inputs, outputs, task_index)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch; with the last one of a step the heads' gradients are exchanged."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.num_processes > 1 and self.accelerator.sync_gradients:
            average_head_gradients(self.model, self._counter.active, self.accelerator)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the heads' losses and the tasks' shares where it is about training."""
        if "loss" in logs:
            logs = logs | self._log.read()
        super().log(logs, start_time)

    # evaluation

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
        start, rows = time.time(), 0
        results = self._new_results(metric_key_prefix)
        for task_name, dataset in self.prepared.choose(eval_dataset, split).items():
            outputs, labels = self._run_heads(dataset, "Evaluation", metric_key_prefix)
            rows += len(dataset)
            results.add_task(task_name, outputs, labels, gold_of(dataset))
        metrics = results.finish() | self._speed(metric_key_prefix, start, rows)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

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
            start = time.time()
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
        order = np.argsort(-np.asarray(dataset["length"]), kind="stable")
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


def _data_seed(args: MultiTaskTrainingArguments) -> int:
    return int(args.seed if args.data_seed is None else args.data_seed)


def _take_over_configs(model: MultiTaskModel) -> None:
    """Bring into the model what the training data has told the heads' configs, such as the targets' mean."""
    for name, head in model.named_heads.items():
        model.config.heads[name] = head.config.to_dict()
