"""The model: one backbone, named heads, one pass."""

from __future__ import annotations

from .adapter_folders import find_adapters, load_adapted_model, load_adapters, save_adapters
from .adapters import (
    add_task_adapters,
    base_model,
    complete_peft_config,
    get_peft_model,
    merge_adapters,
    share_task_heads,
)
from .loss import loss_divisor, sum_losses
from .model import MultiTaskModel
from .output import MultiTaskModelOutput

__all__ = [
    "MultiTaskModel",
    "MultiTaskModelOutput",
    "add_task_adapters",
    "base_model",
    "complete_peft_config",
    "find_adapters",
    "get_peft_model",
    "load_adapted_model",
    "load_adapters",
    "loss_divisor",
    "merge_adapters",
    "save_adapters",
    "share_task_heads",
    "sum_losses",
]
