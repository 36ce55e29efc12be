"""Balancing of tasks in the trainer: what is set up, trained and saved for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import is_matplotlib_available, logging

from ..balancing import ConflictReport, GradientAggregation, GramianAggregation, LossWeighting, draw_conflicts
from ..data import TASK_INDEX
from ..data.parts import CollatorByTask, parts_of
from ..errors import InputError
from ..modeling import MultiTaskModel
from ..whole_files import whole_file
from .arguments import MultiTaskTrainingArguments
from .balancer import Balancer
from .balancing_checks import check_balancing
from .conflict_probe import ConflictProbe
from .data_loaders import DataLoaderMixin
from .gradient_balancer import GradientBalancer, sparse_embeddings
from .head_balancers import FeatureBalancer, HeadBalancer
from .kept_buffers import kept_buffers
from .loss_balancer import LossBalancer
from .nonfinite import NonFiniteLosses

__all__ = ["BalancingMixin"]

BALANCING_FILE = "balancing.safetensors"
"""What a method remembers, in a checkpoint."""

CONFLICTS_FILE = "conflicts.json"
"""How the gradients of tasks agreed, in a checkpoint and in the run's folder; as a picture beside it."""

_MEGABYTE = 2**20

logger = logging.get_logger(__name__)


class BalancingMixin(DataLoaderMixin):
    """Adds `balancing` to a `Trainer` over several tasks; without it the heads' losses are summed."""

    model: MultiTaskModel
    args: MultiTaskTrainingArguments
    _task_names: list[str]
    _nonfinite: NonFiniteLosses
    _balancer: Balancer = Balancer()

    @property
    def _aggregates(self) -> bool:
        """Whether each task has a gradient of its own."""
        return isinstance(self._balancer, GradientBalancer)

    @property
    def conflict_probe(self) -> ConflictProbe:
        """What compares the gradients of the tasks, see `conflict_steps` of [`MultiTaskTrainingArguments`]."""
        if not isinstance(self._balancer, ConflictProbe):
            raise InputError("conflict_steps: expected a number of optimizer steps, found none.")
        return self._balancer

    def _set_up_balancing(self, heads: Sequence[str]) -> None:
        """Make what the training arguments ask for, for the heads that some task feeds."""
        method = check_balancing(self.args, self.model, heads, self._task_names)
        if method is None:
            pass
        elif isinstance(method, LossWeighting):
            weights = self.model.config.loss_weights
            self._balancer = LossBalancer(method, list(self.model.heads), weights, self._forward, self.accelerator)
        else:
            self._balancer = self._make_aggregating(method)
        if self.args.conflict_steps is not None:
            self._balancer = self._make_probe(self.args.conflict_steps)
        self.add_callback(_BalancingCallback(self._balancer))

    def _make_aggregating(self, method: GradientAggregation) -> Balancer:
        if method.at == "features":
            return FeatureBalancer(cast("GramianAggregation", method), self.model, self.accelerator)
        kind = HeadBalancer if method.between == "heads" else GradientBalancer
        balancer = kind(method, self.model, self.accelerator)
        logger.warning(
            f"balancing: {method.name} keeps at most {balancer.memory() / _MEGABYTE:.0f} MB of gradients, those of "
            f"{len(method.tasks)} {method.between} in the backbone."
        )
        return balancer

    def _make_probe(self, steps: int) -> ConflictProbe:
        probe = ConflictProbe(
            self._balancer,
            self._task_names,
            self.model,
            self._forward,
            self.accelerator,
            lambda: self.state.global_step % steps == 0,
        )
        logger.warning(
            f"conflict_steps: every {steps} optimizer steps at most {probe.memory() / _MEGABYTE:.0f} MB of gradients "
            f"are compared, those of {len(self._task_names)} tasks in the backbone."
        )
        return probe

    def _sparse_embeddings(self) -> AbstractContextManager[None]:
        """While a run lasts, where each task has a gradient of its own in them and only their products count."""
        balancer = self._balancer
        compared = isinstance(balancer, GradientBalancer) and isinstance(balancer.method, GramianAggregation)
        if not compared or self.accelerator.num_processes > 1:
            return nullcontext()
        return sparse_embeddings(self.model.backbone)

    def _forward(self, batch: Mapping[str, Any], items: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
        """Run the model on a micro-batch, as training does."""
        inputs = {name: value for name, value in batch.items() if name != TASK_INDEX}
        if self.model.task_adapters:
            inputs["task"] = [self._task_names[index] for index in batch[TASK_INDEX].tolist()]
        self.model.train()
        # a batch that is looked at twice must not count twice
        tracked, self.model._running_metrics = self.model._running_metrics, None
        try:
            with self._nonfinite.apart(), self._kept_buffers(), self.accelerator.autocast():
                outputs: Mapping[str, torch.Tensor] = self.model(**inputs, num_items_in_batch=items)
        finally:
            self.model._running_metrics = tracked
        return outputs

    def _kept_buffers(self) -> AbstractContextManager[None]:
        """Of a pass without a backward pass; where there is one it is for the caller to keep them."""
        return nullcontext() if torch.is_grad_enabled() else kept_buffers(self.model)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As `Trainer.create_optimizer`; what a method of balancing learns is in a group of its own."""
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        for module in self._balancer.modules() if is_new else ():
            own = [each for each in module.parameters() if each.requires_grad]
            if own:
                rate = getattr(module, "learning_rate", None)
                optimizer.add_param_group({"params": own, "lr": rate or self.args.learning_rate, "weight_decay": 0.0})
        return optimizer

    def _make_dataloader(self, dataset: Any, collator: Any, **batching: Any) -> DataLoader[Any]:
        """As without balancing; where each task has a gradient of its own, batches of training come in parts."""
        if self._aggregates and dataset is self.train_dataset:
            collator = CollatorByTask(collator)
        return super()._make_dataloader(dataset, collator, **batching)

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        for part in parts_of(inputs):
            super()._track_num_input_tokens(part)

    # what a resumed run needs

    def _save_balancing(self, checkpoint: Path) -> None:
        if not self.args.should_save:
            return
        if self._balancer.report is not None:
            self._balancer.report.save(checkpoint / CONFLICTS_FILE)
        state = self._balancer.state_dict()
        if state:
            with whole_file(checkpoint / BALANCING_FILE) as unfinished:
                save_file(state, unfinished)

    def _load_balancing(self, checkpoint: Path) -> None:
        self._load_conflicts(checkpoint)
        expected = self._balancer.state_dict()
        file = checkpoint / BALANCING_FILE
        if not expected and not file.exists():
            return
        try:
            found = load_file(file) if file.exists() else {}
        except SafetensorError as error:
            raise InputError(f"resume_from_checkpoint: {file} cannot be read: {error}") from error
        if {name: each.shape for name, each in found.items()} != {name: each.shape for name, each in expected.items()}:
            raise InputError(
                f"resume_from_checkpoint: {str(checkpoint)!r} was written by a run with another method of balancing, "
                "or for other heads."
            )
        self._balancer.load_state_dict(found)

    def _load_conflicts(self, checkpoint: Path) -> None:
        report, file = self._balancer.report, checkpoint / CONFLICTS_FILE
        if report is None:
            return
        found = ConflictReport.load(file) if file.exists() else ConflictReport(report.names)
        if found.names != report.names:
            own, others = ", ".join(report.names), ", ".join(found.names)
            raise InputError(f"resume_from_checkpoint: {file} compares {others}, expected {own}.")
        self._balancer.report = found

    def _write_conflicts(self) -> None:
        """Write how gradients agreed in the whole run, and draw it."""
        report = self._balancer.report
        if report is None or not self.args.should_save:
            return
        # a run may end between two lines of the log
        report.record(self.state.global_step)
        if not report.records:
            return
        folder = Path(str(self.args.output_dir))
        report.save(folder / CONFLICTS_FILE)
        if is_matplotlib_available():
            draw_conflicts(report, folder / Path(CONFLICTS_FILE).with_suffix(".png"))


class _BalancingCallback(TrainerCallback):
    """Tells a balancer when the weights have changed, and when an epoch is over."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._balancer.end_step()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._balancer.end_epoch()
