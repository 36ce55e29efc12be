"""What a trainer does otherwise where the backbone is sharded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import Trainer

from ..modeling import MultiTaskModel
from .sharding import give_heads_own_groups, make_ready_again

__all__ = ["ShardedTrainingMixin"]

_STATELESS_FILE = "optimizer_stateless.json"


class ShardedTrainingMixin(Trainer):
    """Adds to a `Trainer` what FSDP2 asks for; without FSDP2 nothing changes."""

    model: MultiTaskModel

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As `Trainer.create_optimizer`; sharded parameters and whole ones are in groups of their own."""
        is_new = self.optimizer is None
        if self.is_fsdp_enabled:
            make_ready_again(self.model, self.accelerator)
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if is_new and self.is_fsdp_enabled:
            give_heads_own_groups(optimizer, self.model)
        return optimizer

    def compute_loss_context_manager(self) -> Any:
        """Under autocast, which accelerate's FSDP2 leaves out; the heads need it."""
        return self.accelerator.autocast() if self.is_fsdp_enabled else super().compute_loss_context_manager()

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """As `Trainer.evaluation_loop`; accelerate shards a model together with its optimizer only."""
        if self.is_fsdp_enabled and not self.accelerator._models:
            self.create_optimizer()
            self.model, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
            self.model_wrapped = self.model
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As `Trainer.save_model`; a folder that is asked for holds all weights, however checkpoints are kept."""
        kept_sharded = self.is_fsdp_enabled and "SHARDED" in str(self.accelerator.state.fsdp_plugin.state_dict_type)
        if not kept_sharded or _internal_call:
            super().save_model(output_dir, _internal_call)
            return
        self._save(output_dir, state_dict=self.accelerator.get_state_dict(self.model))
        if self.args.push_to_hub:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _has_mixed_mesh_grads(self, model: nn.Module) -> bool:
        # the Trainer looks at the gradients of the first step only, which may be of a head without parameters
        return self.is_fsdp_enabled or bool(super()._has_mixed_mesh_grads(model))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        optimizer = self._bare_optimizer
        stateless = [each for each in _parameters(optimizer) if each not in optimizer.state]
        # torch loads a state for every parameter or for none
        _make_state(optimizer, stateless)
        super()._save_optimizer_and_scheduler(output_dir)
        _drop_state(optimizer, stateless)
        if self.args.should_save:
            found = set(map(id, stateless))
            names = sorted(name for name, each in self.model.named_parameters() if id(each) in found)
            (Path(output_dir) / _STATELESS_FILE).write_text(json.dumps(names), encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        file = Path(checkpoint or "") / _STATELESS_FILE
        if self.is_fsdp_enabled and checkpoint is not None and file.exists():
            names = set(json.loads(file.read_text(encoding="utf-8")))
            stateless = [each for name, each in self.model.named_parameters() if name in names]
            _drop_state(self._bare_optimizer, stateless)

    @property
    def _bare_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer inside accelerate's."""
        return cast(torch.optim.Optimizer, cast(Any, self.optimizer).optimizer)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [each for group in optimizer.param_groups for each in group["params"] if each.requires_grad]


def _make_state(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """A step of these parameters over no distance, which leaves them where they are and makes their state."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = torch.zeros_like(group["lr"]) if torch.is_tensor(group["lr"]) else 0.0
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    optimizer.zero_grad()


def _drop_state(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        optimizer.state.pop(parameter, None)
