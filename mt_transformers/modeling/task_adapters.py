"""One adapter a task: each row of a batch goes through that of its task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from ..backbone import Backbone
from ..configuration import MultiTaskConfig
from ..errors import InputError

__all__ = ["BACKBONE_ALONE", "TaskAdaptersMixin", "adapters_of_sequences"]

BACKBONE_ALONE = "__base__"
"""peft's name for no adapter."""


class TaskAdaptersMixin(PreTrainedModel):
    """Adds rows that go through their tasks' adapters to a model with a `backbone`."""

    backbone: Backbone
    config: MultiTaskConfig
    task_adapters: Mapping[str, str] = {}
    """For each task that has an adapter of its own the adapter's name; see [`add_task_adapters`]."""

    def _through_adapters(
        self,
        task: Sequence[str] | torch.Tensor | None,
        sequences: Mapping[str, torch.Tensor],
        inputs: Mapping[str, Any],
        batch_size: int,
    ) -> AbstractContextManager[None]:
        """While it lasts the backbone runs each sequence through the adapter of its row's task."""
        if not self.task_adapters:
            return nullcontext()
        if task is None:
            raise InputError(
                "task: the model has an adapter for each of some tasks, so that it has to know the task of each row. "
                "To try several tasks on a row, give it once for each."
            )
        # hooks would be gone when a layer runs once more for its gradients
        if self.training and torch.is_grad_enabled() and self.is_gradient_checkpointing:
            raise InputError("gradient checkpointing cannot be combined with an adapter for each task.")
        tasks = list(self.config.tasks or self.config.heads)
        by_row = [self._adapter_of(row, value, tasks) for row, value in enumerate(_as_list(task, batch_size))]
        total = max(len(each) for each in inputs.values() if torch.is_tensor(each) and each.dim() > 0)
        return _sent_through(self.backbone, adapters_of_sequences(by_row, sequences, max(total, batch_size)))

    def _adapter_of(self, row: int, task: Any, tasks: Sequence[str]) -> str:
        if isinstance(task, int) and 0 <= task < len(tasks):
            task = tasks[task]
        if task not in tasks and task not in self.task_adapters:
            raise InputError(f"task of row {row}: unknown task {task!r}. Known: {', '.join(tasks)}.")
        return self.task_adapters.get(task, BACKBONE_ALONE)


def _as_list(task: Sequence[str] | torch.Tensor, batch_size: int) -> list[Any]:
    values = task.tolist() if isinstance(task, torch.Tensor) else list(task)
    if len(values) != batch_size:
        raise InputError(f"task: expected one task for each of the {batch_size} rows, found {len(values)}.")
    return values


def adapters_of_sequences(by_row: Sequence[str], sequences: Mapping[str, torch.Tensor], total: int) -> list[str]:
    """
    Find the adapter of each sequence, where rows may have several.

    Args:
        by_row (`Sequence[str]`): Adapter of each row, whose first sequence has the row's place.
        sequences (`Mapping[str, torch.Tensor]`):
            For each head that reads others tensors of shape `(batch_size, sequences)`: the indices of each row's
            sequences, -1 where there are fewer.
        total (`int`): Number of sequences.

    Returns:
        `list[str]`: Adapter of each sequence; sequences that no head reads have none.

    Example:
        >>> adapters_of_sequences(["a", "b"], {"choice": torch.tensor([[0, -1], [1, 2]])}, total=4)
        ['a', 'b', 'b', '__base__']
    """
    found = [*by_row, *[BACKBONE_ALONE] * (total - len(by_row))]
    for places in sequences.values():
        for adapter, own in zip(by_row, places.tolist(), strict=True):
            for place in own:
                if place >= 0:
                    found[place] = adapter
    return found


@contextmanager
def _sent_through(backbone: Backbone, adapter_names: list[str]) -> Iterator[None]:
    """
    While it lasts every sequence goes through its adapter.

    peft's layers take `adapter_names` in either mode, and give each adapter the gradient of its own rows. Only
    `PeftModel.forward` refuses them in training (peft 0.21), so that they are handed to the layers here.
    """
    from peft.tuners.lora import LoraLayer

    def add_names(name: str, _: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if args and len(args[0]) != len(adapter_names):
            raise InputError(
                f"layer {name} of a {backbone.info.model_type!r} backbone does not run once for each row, so that "
                "rows cannot be sent through adapters of their own there: name other target_modules."
            )
        return args, {**kwargs, "adapter_names": adapter_names}

    layers: dict[str, Any] = {name: each for name, each in backbone.named_modules() if isinstance(each, LoraLayer)}
    handles = [
        each.register_forward_pre_hook(partial(add_names, name), with_kwargs=True) for name, each in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
