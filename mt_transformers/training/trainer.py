"""The Trainer for several tasks: how it sets out, and how it counts an optimizer step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import datasets
import torch
from torch import nn
from transformers.trainer_utils import get_last_checkpoint

from ..data import (
    TASK_INDEX,
    DataCollatorForMultiTask,
    Mixture,
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
from .data_loaders import data_seed
from .evaluation import metric_names
from .evaluation_loop import EvaluationMixin
from .head_gradients import (
    average_head_gradients,
    backbone_may_idle,
    broadcast_heads,
    leave_heads_out_of_ddp,
)
from .parallelism import check_parallelism
from .sampler_callback import SamplerCallback
from .sharded_training import ShardedTrainingMixin
from .sharding import broadcast_model, choose_shards
from .shared_reading import read_alike
from .step_counts import StepCounter, TrainingLog

__all__ = ["MultiTaskTrainer"]


class MultiTaskTrainer(ShardedTrainingMixin, EvaluationMixin):
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
        train_dataset = self.prepared.train_dataset(self.mixture, data_seed(args), endless=True)
        if isinstance(train_dataset, MultiTaskStream) and args.world_size > 1:
            raise InputError("streamed tasks are trained on one process; more are not supported yet.")
        validation = {name: splits["validation"] for name, splits in self.splits.items() if "validation" in splits}
        args.ddp_find_unused_parameters = args.ddp_find_unused_parameters or backbone_may_idle(model, self.tasks)
        self.sampler_callback = SamplerCallback()
        collator = self._make_collators(processing_class, args, kwargs.pop("data_collator", None))
        kwargs["callbacks"] = [self.sampler_callback, *(kwargs.get("callbacks") or [])]
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
        self._distribute(model)

    def _distribute(self, model: MultiTaskModel) -> None:
        """Make several processes train as one does."""
        sharded = check_parallelism(model, self.accelerator)
        if self.accelerator.num_processes > 1:
            fed = {head for task in self.tasks.values() for head in task.labels}
            read_alike(model, fed, lambda: self._counter.active)
        if sharded:
            choose_shards(model, self.accelerator)
            broadcast_model(model, self.args.device)
        elif self.accelerator.num_processes > 1:
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
        self.eval_collator = given or made[1]
        self.sampler_callback.collator = None if given else made[0]
        return given or made[0]

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As `Trainer.train`; a resumed run also takes over the state of the mixture."""
        checkpoint = resume_from_checkpoint
        if checkpoint is True:
            checkpoint = get_last_checkpoint(str(self.args.output_dir))
        self.sampler_callback.load_checkpoint(checkpoint or None)
        # a run begins with the shares of a new mixture, or with those of its checkpoint
        self.mixture = replace(self.mixture)
        if self.accelerator.num_processes > 1 and self.model_wrapped is self.model:
            # an evaluation marks the bare model as prepared (accelerate 1.15), and DDP would be left out
            vars(self.model)["_is_accelerate_prepared"] = False
        return super().train(resume_from_checkpoint, *args, **kwargs)

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


def _take_over_configs(model: MultiTaskModel) -> None:
    """Bring into the model what the training data has told the heads' configs, such as the targets' mean."""
    for name, head in model.named_heads.items():
        model.config.heads[name] = head.config.to_dict()
