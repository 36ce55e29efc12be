"""What the model answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import ModelOutput

__all__ = ["MultiTaskModelOutput"]


@dataclass(init=False)
class MultiTaskModelOutput(ModelOutput):
    """
    What a [`MultiTaskModel`] answers: a dict whose keys depend on the heads that ran.

    Keys: `loss` (with labels), `encoded_text` and `encoded_text_mask`, and for each head that ran `<head>_logits`,
    with labels `<head>_loss` and `<head>_row_losses` (the sum of item losses of each of its rows), and, where it ran
    on some rows only, `<head>_rows`, their indices in the batch.

    Example:
        >>> output = MultiTaskModelOutput(loss=torch.tensor(1.0), intent_logits=torch.zeros(2, 3))
        >>> list(output), output["intent_logits"].shape
        (['loss', 'intent_logits'], torch.Size([2, 3]))
    """

    loss: torch.Tensor | None = None

    def __init__(self, loss: torch.Tensor | Mapping[str, Any] | None = None, **outputs: Any) -> None:
        super().__init__()
        if isinstance(loss, Mapping):
            outputs = {**loss, **outputs}
        elif loss is not None:
            outputs = {"loss": loss, **outputs}
        for key, value in outputs.items():
            self[key] = value
