"""The reference: the same training in plain PyTorch, without a Trainer and without this package."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from mt_transformers import MultiTaskModel

from .measure import clock

__all__ = ["LOGGING_STEPS", "PlainLoop", "PlainModel", "PlainRow", "copy_into"]

LOGGING_STEPS = 50
"""Optimizer steps between two looks at the loss, in both."""


class PlainRow(NamedTuple):
    """One row in memory: its tokens, the head that it trains, its label there."""

    input_ids: list[int]
    head: int
    label: int


class PlainModel(nn.Module):
    """
    A backbone, mean pooling and a linear classifier for each task, with the weights of a [`MultiTaskModel`].

    Args:
        model ([`MultiTaskModel`]): Has heads of the type `sequence_classification` that pool by the mean.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        heads: list[Any] = list(model.named_heads.values())
        self.backbone = copy.deepcopy(model.backbone.model)
        self.classifiers = nn.ModuleList(copy.deepcopy(head.classifier) for head in heads)
        self.dropout = nn.Dropout(heads[0].config.classifier_dropout)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        rows: Sequence[torch.Tensor | None],
        labels: Sequence[torch.Tensor | None],
    ) -> torch.Tensor:
        """Sum of the heads' mean losses; `rows` and `labels` hold a tensor for each head, None where it has no row."""
        encoded = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        # (batch_size, sequence_length, 1)
        mask = attention_mask.unsqueeze(-1).to(encoded.dtype)
        # (batch_size, hidden_size)
        pooled = (encoded * mask).sum(1) / mask.sum(1)
        losses = [
            functional.cross_entropy(classifier(self.dropout(pooled[taken])), wanted)
            for classifier, taken, wanted in zip(self.classifiers, rows, labels, strict=True)
            if taken is not None and wanted is not None
        ]
        return torch.stack(losses).sum()


def copy_into(plain: PlainModel, model: MultiTaskModel) -> None:
    """Give a [`MultiTaskModel`] the weights that a plain model was trained to, to evaluate them."""
    model.backbone.model.load_state_dict(plain.backbone.state_dict())
    heads: list[Any] = list(model.named_heads.values())
    for head, classifier in zip(heads, plain.classifiers, strict=True):
        head.classifier.load_state_dict(classifier.state_dict())


@dataclass
class PlainLoop:
    """
    Trains a [`PlainModel`] as the Trainer trains by default: AdamW, a rate that falls linearly, clipped gradients.

    Args:
        rows (`Sequence[PlainRow]`): All rows, in memory.
        num_heads (`int`): Heads of the model.
        pad_token_id (`int`): What short rows are filled up with.
        learning_rate (`float`): At the first step.
        device (`str`): `cpu` or `cuda`.
        pad_to_multiple_of (`int`, *optional*, defaults to 1): Lengths are rounded up to a multiple of this (tokens).
        bf16 (`bool`, *optional*, defaults to `False`): Whether to compute in bfloat16 where torch's autocast does.
        compiled (`bool`, *optional*, defaults to `False`): Whether to compile the model.
        after (`int`, *optional*, defaults to 0): Steps that are over when the time begins.
    """

    rows: Sequence[PlainRow]
    num_heads: int
    pad_token_id: int
    learning_rate: float
    device: str
    pad_to_multiple_of: int = 1
    bf16: bool = False
    compiled: bool = False
    after: int = 0

    def train(self, model: PlainModel, batches: list[list[int]]) -> float:
        """
        Train on batches of row numbers, in their order.

        Args:
            model ([`PlainModel`]): The model; it is changed.
            batches (`list[list[int]]`): For each step its rows.

        Returns:
            `float`: Seconds from the start, or the end of step `after`, to the end.
        """
        model.to(self.device).train()
        parameters = [each for each in model.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=0.0, fused=True)
        steps = len(batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        loader: Iterable[dict[str, Any]] = DataLoader(
            self.rows,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=self.collate,
            pin_memory=self.device == "cuda",
        )
        compute: Any = torch.compile(model) if self.compiled else model
        running = torch.zeros((), device=self.device)
        start = clock(self.device)
        for step, batch in enumerate(loader, start=1):
            moved = {name: self._move(value) for name, value in batch.items()}
            with torch.autocast(self.device, torch.bfloat16) if self.bf16 else nullcontext():
                loss = compute(**moved)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            running += loss.detach()
            if step % LOGGING_STEPS == 0:
                running.item()
            if step == self.after:
                start = clock(self.device)
        return clock(self.device) - start

    def collate(self, rows: Sequence[PlainRow]) -> dict[str, Any]:
        """Rows as tensors: padded on the right to the longest, with the rows and labels of each head."""
        longest = max(len(row.input_ids) for row in rows)
        length = -(-longest // self.pad_to_multiple_of) * self.pad_to_multiple_of
        filled = [row.input_ids + [self.pad_token_id] * (length - len(row.input_ids)) for row in rows]
        lengths = torch.tensor([len(row.input_ids) for row in rows])
        heads = torch.tensor([row.head for row in rows])
        labels = torch.tensor([row.label for row in rows])
        taken = [(heads == head).nonzero().squeeze(1) for head in range(self.num_heads)]
        return {
            "input_ids": torch.tensor(filled),
            "attention_mask": (torch.arange(length) < lengths.unsqueeze(1)).long(),
            "rows": [each if len(each) else None for each in taken],
            "labels": [labels[each] if len(each) else None for each in taken],
        }

    def _move(self, value: Any) -> Any:
        if isinstance(value, list):
            return [None if each is None else each.to(self.device, non_blocking=True) for each in value]
        return value.to(self.device, non_blocking=True)
