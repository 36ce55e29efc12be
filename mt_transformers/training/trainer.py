"""The Trainer for several tasks: how it sets out, and how it counts an optimizer step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from ..backbone import Backbone
from ..data import (
    TASK_INDEX,
    DataCollatorForMultiTask,
    Mixture,
    PreparedTasks,
    Processing,
    Task,
    check_media,
    find_max_length,
)
from ..data.parts import parts_of
from ..errors import InputError
from ..modeling import MultiTaskModel
from .adapter_training import (
    AdapterTrainingMixin,
    average_adapter_gradients,
    check_adapters,
    check_heads_train,
    is_adapted,
)
from .arguments import MultiTaskTrainingArguments
from .balancing import BalancingMixin
from .balancing_checks import check_balancing
from .checkpoints import begin_checkpoint, check_whole, finish_checkpoint, last_checkpoint, mixture_state
from .compilation import compile_backbone
from .components import check_settings, settings_by_component
from .data_loaders import data_seed
from .evaluation import metric_names
from .freezing import (
    check_same_parameters,
    check_trainable,
    drop_gradients,
    prepare_without_ddp,
    trainable_names,
    warn_of_drift,
)
from .head_gradients import (
    average_head_gradients,
    backbone_may_idle,
    broadcast_heads,
    leave_heads_out_of_ddp,
)
from .nonfinite import NonFiniteLosses
from .parallelism import check_parallelism
from .parameter_groups import ParameterGroupsMixin
from .publishing import PublishingMixin
from .sampler_callback import SamplerCallback
from .sharding import broadcast_model, choose_shards
from .shared_reading import reading_alike
from .step_counts import StepCounter, TrainingLog
from .trials import TrialsMixin, take_prepared

__all__ = ["MultiTaskTrainer"]


class MultiTaskTrainer(BalancingMixin, AdapterTrainingMixin, ParameterGroupsMixin, PublishingMixin, TrialsMixin):
    """
    A `transformers.Trainer` over several tasks.

    The loss of a head is the sum of its item losses over the whole optimizer step, divided by its number of labelled
    items in that step, over all micro-batches and processes; heads without a labelled row in the step receive no
    update. While training it logs `loss_<head>` and `share_<task>` beside the Trainer's own entries. A head whose loss
    is NaN or infinite stops the run before a weight is changed, or is skipped in that step, see
    [`MultiTaskTrainingArguments`]. A model that is saved or pushed has a card, see [`MultiTaskModelCardCallback`].

    Args:
        model ([`MultiTaskModel`]):
            The model to train, or the `PeftModel` around it; None if `model_init` makes it.
        args ([`MultiTaskTrainingArguments`]): The training arguments.
        tasks (`Mapping[str, Task]`): The tasks by name.
        mixture ([`Mixture`], *optional*): How their rows are interleaved.
        processing_class (`Any`): The backbone's tokenizer, image processor, feature extractor or processor.
        prepared ([`PreparedTasks`], *optional*): Rows of the same tasks that another trainer has prepared.
        kwargs (`Any`):
            `callbacks`, `optimizers` and what else `transformers.Trainer` takes. `model_init` makes a model for each
            trial of [`hyperparameter_search`]; it takes no argument, or the trial's values (`dict[str, Any]`).

    Raises:
        InputError: If tasks and heads do not fit, or a row cannot be used; before any training.
    """

    model: MultiTaskModel
    args: MultiTaskTrainingArguments

    def __init__(
        self,
        model: MultiTaskModel | None,
        args: MultiTaskTrainingArguments,
        tasks: Mapping[str, Task],
        mixture: Mixture | None = None,
        processing_class: Any = None,
        *,
        prepared: PreparedTasks | None = None,
        **kwargs: Any,
    ) -> None:
        _check_given(args, processing_class)
        model = self._take_model(model, args, mixture, kwargs)
        _check_settings(args, list(model.heads), kwargs.get("optimizers"))
        check_adapters(model, args)
        check_balancing(args, model, _fed_heads(tasks), list(tasks))
        # a copy, since its shares may change with training
        self.mixture = replace(mixture) if mixture is not None else Mixture()
        self.tasks = dict(tasks)
        self.head_configs = {name: head.config for name, head in model.named_heads.items()}
        check_media(self.tasks, model.backbone.info, self.mixture)
        self.prepared = take_prepared(self._take_tasks(model, args, processing_class), prepared)
        metric_names({name: list(task.labels) for name, task in self.tasks.items()}, self.head_configs)
        _take_over_configs(model)
        with args.main_process_first(desc="preparing the rows"):
            self.prepared.prepare()
        process = {"process_index": args.process_index, "num_processes": args.world_size}
        train_dataset = self.prepared.train_dataset(self.mixture, data_seed(args), endless=True, **process)
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
        self._task_names = train_names
        self._log = TrainingLog(self.head_configs, train_names, self.accelerator)
        self._freeze_until = settings_by_component(args.freeze_until, list(model.heads))
        self._nonfinite = NonFiniteLosses(model, train_names, self.accelerator, skip=args.nonfinite_loss == "skip")
        self._set_up_balancing(self._fed)
        self._distribute(model)
        self._set_up_backbone(model.backbone)

    def _take_tasks(
        self, model: MultiTaskModel, args: MultiTaskTrainingArguments, processing_class: Any
    ) -> PreparedTasks:
        """The rows that are trained on and evaluated, prepared or yet to be."""
        tokenizer = Processing.of(processing_class).tokenizer
        max_length = find_max_length(tokenizer, model.backbone.max_positions, args.max_length)
        return PreparedTasks(self.tasks, self.head_configs, processing_class, max_length, args.preprocessing_num_proc)

    def _distribute(self, model: MultiTaskModel) -> None:
        """Make several processes train as one does."""
        sharded = check_parallelism(model, self.accelerator)
        if sharded and is_adapted(model):
            raise InputError("fsdp: a backbone with adapters is not sharded: use DDP.")
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

    def _set_up_backbone(self, backbone: Backbone) -> None:
        """How the backbone runs; before it is compiled it tries whether it can do without padding."""
        if self.args.padding_free:
            with self.accelerator.autocast():
                backbone.leave_padding_out()
        compile_backbone(backbone, self.accelerator)

    def train(
        self, resume_from_checkpoint: str | bool | None = None, trial: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """
        As `Trainer.train`; a resumed run also takes over the state of the mixture.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*):
                The checkpoint to go on from; True for the last one in `output_dir` that was written to its end.
            trial (`optuna.Trial`, *optional*): The trial of [`hyperparameter_search`] that is trained.
            args, kwargs (`Any`): As `Trainer.train` takes them.

        Raises:
            InputError: If there is no such checkpoint, or it was not written to its end; or if all is frozen, or peft
                has frozen a head.
        """
        if trial is not None:
            return self._train_trial(trial)
        check_heads_train(self.model, self._fed)
        check_trainable(self.model, self._fed)
        if self._optimized is not None:
            in_ddp = self.model_wrapped is not self.model
            check_same_parameters(self._optimized, trainable_names(self.model), in_ddp)
        checkpoint = resume_from_checkpoint or None
        if checkpoint is True:
            checkpoint = last_checkpoint(str(self.args.output_dir))
            if checkpoint is None:
                raise InputError(f"resume_from_checkpoint: no checkpoint in {self.args.output_dir!r} is whole.")
        if checkpoint is not None:
            check_whole(checkpoint)
        self.sampler_callback.loaded_state = None if checkpoint is None else mixture_state(checkpoint)
        if checkpoint is not None:
            self._load_balancing(Path(checkpoint))
        # a run begins with the shares of a new mixture, or with those of its checkpoint
        self.mixture = replace(self.mixture)
        if self.is_world_process_zero():
            warn_of_drift(self.model)
        if self.accelerator.num_processes > 1 and self.model_wrapped is self.model:
            # an evaluation marks the bare model as prepared (accelerate 1.15), and DDP would be left out
            vars(self.model)["_is_accelerate_prepared"] = False
            alone = self.model.backbone.is_frozen or self.model.task_adapters or self._aggregates
            if alone and not self.is_fsdp_enabled:
                prepare_without_ddp(self.model, self.accelerator)
        with self._nonfinite.watching(), self._reading_alike(), self._sparse_embeddings():
            done = super().train(checkpoint, None, *args, **kwargs)
        self._write_conflicts()
        return done

    def _reading_alike(self) -> AbstractContextManager[None]:
        if self.accelerator.num_processes == 1:
            return nullcontext()
        return reading_alike(self.model, self._fed, lambda: self._counter.active)

    @property
    def _fed(self) -> list[str]:
        """The heads that some task feeds."""
        return _fed_heads(self.tasks)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As the Trainer's; older checkpoints go only after all processes have written their part of the new one."""
        args = self.args
        run_dir = self._get_output_dir(trial=trial)
        checkpoint = Path(run_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if args.should_save:
            begin_checkpoint(checkpoint)
        limit, args.save_total_limit = args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            args.save_total_limit = limit
        self._save_balancing(checkpoint)
        self._save_own_state(checkpoint)
        self.accelerator.wait_for_everyone()
        if args.should_save:
            finish_checkpoint(checkpoint, self.sampler_callback.state_dict())
        if args.push_to_hub:
            self.push_checkpoint(checkpoint)
        if args.should_save:
            rotate_checkpoints(run_dir, limit, self.state.best_model_checkpoint, use_mtime=True)

    def _save_own_state(self, checkpoint: Path) -> None:
        """Nothing: for trainers that have a state of their own, before a checkpoint counts as whole."""

    # the loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Any]:
        """Fetch the micro-batches of an optimizer step and count each head's labelled items in all of them."""
        batches = list(itertools.islice(epoch_iterator, num_batches))
        parts = [part for batch in batches for part in parts_of(batch)]
        items = self._counter.count([*parts, *self._rehearse(batches)], device)
        self._balancer.begin_step(parts, items, self._counter.present)
        return batches, items

    def _rehearse(self, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Nothing: for trainers that have further rows in an optimizer step, whose items count in it."""
        return []

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
        if self.model.task_adapters and task_index is not None:
            inputs["task"] = [self._task_names[index] for index in task_index.tolist()]
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if task_index is not None and model.training:
            loss = self._balancer.revise(loss, outputs)
            loss = self._revise_loss(loss, inputs, outputs, num_items_in_batch)
            self._log.add(inputs, outputs, task_index)
            self._nonfinite.add(outputs, task_index)
        return (loss, outputs) if return_outputs else loss

    def _revise_loss(self, loss: torch.Tensor, inputs: dict[str, Any], outputs: Any, items: Any) -> torch.Tensor:
        """The loss as it is: for trainers that have another one in training, or more of it."""
        return loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch; with the last one of a step losses are looked at and the heads' gradients exchanged."""
        train = partial(super().training_step, model, num_items_in_batch=num_items_in_batch)
        loss = self._balancer.step(inputs, train)
        if self.accelerator.sync_gradients:
            skipped = self._nonfinite.check(self.state.global_step + 1)
            if self.accelerator.num_processes > 1:
                active = [name for name in self._counter.active if name not in skipped]
                average_head_gradients(self.model, active, self.accelerator)
                if self.model.task_adapters:
                    average_adapter_gradients(self.model, self.accelerator)
            self._balancer.end_backward()
            drop_gradients(self.model, self._freeze_until, self.state.global_step)
        return loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """As the Trainer's, of the backbone alone, whose parameters are counted once and not at each step."""
        tokens = [part[self.model.main_input_name] for part in parts_of(inputs) if self.model.main_input_name in part]
        number: int = sum(each.numel() for each in tokens)
        return 6 * number * self._backbone_size

    @cached_property
    def _backbone_size(self) -> int:
        """Number of the backbone's parameters, without embeddings."""
        return int(self.model.backbone.model.num_parameters(exclude_embeddings=True))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the heads' losses and the tasks' shares where it is about training."""
        if "loss" in logs:
            balanced = self._balancer.read(self.state.global_step)
            logs = logs | self._log.read() | self._nonfinite.read() | balanced
        super().log(logs, start_time)


def _fed_heads(tasks: Mapping[str, Task]) -> list[str]:
    return list(dict.fromkeys(head for task in tasks.values() for head in task.labels))


def _check_given(args: Any, processing_class: Any) -> None:
    if not isinstance(args, MultiTaskTrainingArguments):
        raise InputError(f"args: expected MultiTaskTrainingArguments, found {type(args).__name__}.")
    if processing_class is None:
        raise InputError("processing_class: expected the backbone's tokenizer, or what else reads its inputs.")


def _check_settings(args: MultiTaskTrainingArguments, heads: list[str], optimizers: Any) -> None:
    check_settings(args, heads)
    if (args.learning_rates or args.weight_decays) and optimizers is not None and optimizers[0] is not None:
        raise InputError("learning_rates, weight_decays: an optimizer of your own has its groups already.")


def _take_over_configs(model: MultiTaskModel) -> None:
    """Bring into the model what the training data has told the heads' configs, such as the targets' mean."""
    for name, head in model.named_heads.items():
        model.config.heads[name] = head.config.to_dict()
