"""The trainer of one experience: a trainer for several tasks with the hooks of a strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data import Mixture, MixturePlan, PreparedTasks, Task
from ..modeling import MultiTaskModel, sum_losses
from ..training import MultiTaskTrainer, MultiTaskTrainingArguments
from ..training.freezing import drop_gradients
from ..training.head_gradients import average_gradients, average_head_gradients
from ..training.model_card import CardContents
from .experience_settings import mixture_for
from .learner import Learner
from .sources import SOURCES
from .strategies.combination import Combination

__all__ = ["STRATEGY_FOLDER", "ExperienceTrainer"]

STRATEGY_FOLDER = "strategy"
"""Where in a checkpoint a strategy writes what it remembers."""


class ExperienceTrainer(MultiTaskTrainer):
    """
    A [`MultiTaskTrainer`] for one experience that asks a strategy at every step.

    Args:
        learner ([`Learner`]): Model, rows and arguments.
        strategy ([`Combination`]): The strategies.
        mixture ([`Mixture`], *optional*): How the rows of several tasks are interleaved.
        processing_class (`Any`): The backbone's tokenizer, or what else reads its inputs.
        kwargs (`Any`): `callbacks`, `optimizers` and what else `transformers.Trainer` takes.
    """

    def __init__(
        self, learner: Learner, strategy: Combination, mixture: Mixture | None, processing_class: Any, **kwargs: Any
    ) -> None:
        self.learner, self.strategy = learner, strategy
        rows = {name: each for name, each in strategy.training_rows(learner).items() if len(each) > 0}
        splits: dict[str, dict[str, Any]] = {name: {"train": each} for name, each in rows.items()}
        for task, own in learner.experience.rows.items():
            if "validation" in own:
                validation = learner.prepared.splits[task]["validation"].select(own["validation"])
                splits.setdefault(task, {})["validation"] = validation
        self._part = learner.prepared.part(splits)
        kwargs["callbacks"] = [*(kwargs.get("callbacks") or []), _StepCallback(learner, strategy)]
        super().__init__(
            learner.model,
            learner.args,
            tasks=self._part.tasks,
            mixture=mixture_for(mixture, rows),
            processing_class=processing_class,
            data_collator=learner.collator,
            **kwargs,
        )
        learner.attach(self.accelerator, self._task_names)
        self._concluded = False
        self._rehearsed: list[dict[str, Any]] = []
        self._micro_batch, self._micro_batches = 0, 1

    def _take_tasks(
        self, model: MultiTaskModel, args: MultiTaskTrainingArguments, processing_class: Any
    ) -> PreparedTasks:
        return self._part

    @property
    def _fed(self) -> list[str]:
        # a strategy may rehearse any of them
        return list(self.model.named_heads)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As [`MultiTaskTrainer.create_optimizer`], with the strategy's own modules in a group of their own."""
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        parameters = self._own_parameters()
        if is_new and parameters:
            # else the optimizer's own default, 0.01 for AdamW, whatever the arguments say
            optimizer.add_param_group({"params": parameters, "weight_decay": self.args.weight_decay})
        return optimizer

    def _own_parameters(self) -> list[nn.Parameter]:
        return [each for module in self.strategy.modules() for each in module.parameters() if each.requires_grad]

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As [`MultiTaskTrainer.train`]; a resumed run also takes over what the strategy had remembered."""
        if isinstance(resume_from_checkpoint, str):
            self.strategy.load(Path(resume_from_checkpoint) / STRATEGY_FOLDER, self.learner)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _save_own_state(self, checkpoint: Path) -> None:
        if self.args.should_save:
            self.strategy.save(checkpoint / STRATEGY_FOLDER)

    # an optimizer step

    def _rehearse(self, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._micro_batch, self._micro_batches = 0, max(len(batches), 1)
        self._rehearsed = self.strategy.rehearse(self.learner, batches)
        return self._rehearsed

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """As [`MultiTaskTrainer.compute_loss`]; the model is not told where rows come from."""
        self._sources = inputs.get(SOURCES)
        inputs = {name: value for name, value in inputs.items() if name != SOURCES}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _revise_loss(self, loss: torch.Tensor, inputs: dict[str, Any], outputs: Any, items: Any) -> torch.Tensor:
        batch = {**inputs, SOURCES: self._sources}
        self.strategy.observe(self.learner, batch, outputs)
        if self._change_row_losses(batch, outputs, rehearsed=False):
            loss = self._sum(outputs, items)
        added = self.strategy.added_loss(self.learner, batch, outputs)
        if added is not None:
            loss = loss + added * self.learner.num_processes
        for rehearsed in self._rehearsed[self._micro_batch :: self._micro_batches]:
            answered = self.learner.forward(rehearsed, num_items_in_batch=items)
            self._change_row_losses(rehearsed, answered, rehearsed=True)
            loss = loss + self._sum(answered, items)
        self._micro_batch += 1
        # what is looked at before the step is made, too
        outputs["loss"] = loss
        return loss

    def _change_row_losses(self, batch: dict[str, Any], outputs: Any, *, rehearsed: bool) -> bool:
        """Put the strategy's row losses in the place of the heads'; whether there are some."""
        changed = False
        for name in batch["labels"]:
            if f"{name}_row_losses" in outputs:
                losses = self.strategy.row_losses(self.learner, name, batch, outputs, rehearsed=rehearsed)
                if losses is not None:
                    outputs[f"{name}_row_losses"], changed = losses, True
        return changed

    def _sum(self, outputs: Mapping[str, Any], items: Mapping[str, Any]) -> torch.Tensor:
        """The loss of a micro-batch from its row losses; accelerate averages gradients over the processes."""
        losses = {name: outputs[f"{name}_row_losses"] for name in items if f"{name}_row_losses" in outputs}
        total = sum_losses(losses, items, self.model.config.loss_weights)[1]
        if total is None:
            total = torch.zeros((), device=self.args.device)
        return total * self.learner.num_processes

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """As [`MultiTaskTrainer.training_step`]; with the last micro-batch the strategy sees the gradients."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            if self.accelerator.num_processes > 1:
                self._average_what_was_added()
            self.strategy.end_backward(self.learner)
            # a strategy may have given gradients to what is not to change yet
            drop_gradients(self.model, self._freeze_until, self.state.global_step)
        return loss

    def _average_what_was_added(self) -> None:
        """Exchange gradients of the strategy's own modules, and of heads that only an added loss has reached."""
        own = self._own_parameters()
        if own:
            average_gradients(own, self.accelerator)
        others = [name for name in self.model.named_heads if name not in self._counter.active]
        if others and self.strategy.adds_losses:
            has = [any(each.grad is not None for each in self.model.heads[name].parameters()) for name in others]
            reached = self.learner.over_processes(torch.tensor(has, dtype=torch.long, device=self.args.device))
            added = [name for name, count in zip(others, reached.tolist(), strict=True) if count > 0]
            if added:
                average_head_gradients(self.model, added, self.accelerator)

    # evaluation, and what is saved in the end

    def conclude(self, tasks: Mapping[str, Task], prepared: PreparedTasks, args: MultiTaskTrainingArguments) -> None:
        """
        Stand for the whole run from now on: its tasks, its rows and its folder.

        Args:
            tasks (`Mapping[str, Task]`): The tasks of all experiences.
            prepared ([`PreparedTasks`]): Their rows.
            args ([`MultiTaskTrainingArguments`]): The run's training arguments.
        """
        self.tasks, self.prepared, self._concluded = dict(tasks), prepared, True
        self.args.output_dir, self.args.seed = args.output_dir, args.seed

    def card_contents(self, folder: Path, model_name: str | None = None) -> CardContents:
        """As [`MultiTaskTrainer.card_contents`]; in the end steps and mixture of the last experience are left out."""
        contents = super().card_contents(folder, model_name)
        if not self._concluded:
            return contents
        evaluations = [replace(each, step=0) for each in contents.evaluations]
        return replace(contents, evaluations=evaluations, step=0, epochs=0.0)

    def _plan_for_card(self, sizes: Mapping[str, int], mixture: Mixture) -> MixturePlan | None:
        return None if self._concluded else super()._plan_for_card(sizes, mixture)


class _StepCallback(TrainerCallback):
    """Tells a strategy when weights have changed, and its modules that they are trained."""

    def __init__(self, learner: Learner, strategy: Combination) -> None:
        self._learner, self._strategy = learner, strategy

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for module in self._strategy.modules():
            module.zero_grad()
        self._strategy.end_step(self._learner)
