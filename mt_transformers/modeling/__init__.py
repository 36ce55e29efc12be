"""The model: one backbone, named heads, one pass."""

from __future__ import annotations

from .loss import loss_divisor
from .model import MultiTaskModel
from .output import MultiTaskModelOutput

__all__ = ["MultiTaskModel", "MultiTaskModelOutput", "loss_divisor"]
