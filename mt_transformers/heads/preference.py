"""A reward for each text, learned from pairs of which one text was preferred."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .base import EncodedRows, Head, LabelSource, SourceRow, full_precision, item_mask
from .feed_forward import FeedForwardHeadConfig, feed_forward
from .number_labels import read_numbers
from .pooling import Pooling
from .registry import register_head
from .sequence_pooling import pool_sequences

__all__ = ["PreferenceHead", "PreferenceHeadConfig"]


@dataclass(kw_only=True)
class PreferenceHeadConfig(FeedForwardHeadConfig):
    """
    Config of [`PreferenceHead`].

    The label column, if a task names one, holds margins: by how much the reward of the chosen text is to exceed that
    of the rejected one, 0 or more; a row whose margin is missing trains nothing. Without a column every row trains,
    with margin 0.

    """

    reads: ClassVar[tuple[str, ...]] = ("encoded_text", "encoded_text_decoder")
    task_inputs: ClassVar[tuple[str, ...]] = ("chosen", "rejected")
    label_column: ClassVar[Literal["required", "optional", "none"]] = "optional"
    multi_sequence: ClassVar[bool] = True

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("accuracy",)

    @property
    def known_metrics(self) -> tuple[str, ...]:
        return self.default_metrics

    def complete(self, sources: Sequence[LabelSource]) -> None:
        for source in sources:
            if source.feature is not None:
                read_numbers([], source, [])

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        if source.feature is None:
            return [0.0] * len(values)
        return list(read_numbers(values, source, rows.numbers, minimum=0.0))

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return torch.tensor([math.nan if label is None else label for label in labels], dtype=torch.float32)

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        # two equal rewards prefer nothing, which is wrong whatever was preferred
        prefers_chosen = predictions[~np.isnan(labels)] > 0
        return prefers_chosen.astype(np.int64), np.ones(len(prefers_chosen), dtype=np.int64)


@register_head("preference")
class PreferenceHead(Head):
    """
    Score texts such that of two the preferred one scores higher: the loss of a pair is -log sigmoid(r_chosen -
    r_rejected - margin).

    `logits`, of shape `(rows, sequences)`, are the rewards, that of the chosen text first, with the lowest finite
    number of their dtype where a row has fewer texts. Only differences of rewards mean something. A row with a single
    text, or with a text and a second one as its answer, gets that one's reward. Accuracy is the share of pairs whose
    chosen text scores higher; equal scores count as wrong.

    Source: Bradley and Terry (1952), https://doi.org/10.2307/2334029, for the probability; Stiennon et al. (2020),
    https://huggingface.co/papers/2009.01325, section 3.4, and Ouyang et al. (2022),
    https://huggingface.co/papers/2203.02155, equation 1, for the loss; Touvron et al. (2023),
    https://huggingface.co/papers/2307.09288, equation 2, for the margin.

    Args:
        config ([`PreferenceHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.

    Example:
        >>> head = PreferenceHead(PreferenceHeadConfig(pooling="mean"), hidden_size=1)
        >>> same_texts, mask = torch.ones(1, 2, 1, 1), torch.ones(1, 2, 1, dtype=torch.bool)
        >>> head.eval()(same_texts, mask, torch.tensor([0.0]))["row_losses"]
        tensor([0.6931], grad_fn=<WhereBackward0>)
    """

    config_class = PreferenceHeadConfig
    config: PreferenceHeadConfig

    def __init__(self, config: PreferenceHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        sizes = [hidden_size, *config.hidden_sizes]
        self.pooler = Pooling(config.pooling, hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.feed_forward = feed_forward(sizes, config.hidden_act, config.classifier_dropout)
        # the loss knows differences only: a bias would train on rounding errors
        self.classifier = nn.Linear(sizes[-1], 1, bias=False)

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        vectors, present = pool_sequences(self.pooler, encoded, encoded_mask)
        # (rows, sequences)
        rewards = self.classifier(self.feed_forward(self.dropout(vectors))).squeeze(-1)
        outputs = {"logits": rewards.masked_fill(~present, torch.finfo(rewards.dtype).min)}
        if labels is not None:
            outputs["row_losses"] = _pair_losses(full_precision(rewards), present, labels)
        return outputs

    @property
    def last_layer(self) -> nn.Module:
        """The rewards' layer; it reads one vector a text, of shape `(rows, sequences, size)`."""
        return self.classifier

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        rewards = full_precision(outputs["logits"])
        return rewards[:, 0] - rewards[:, 1:2].sum(dim=1)

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        missing = torch.finfo(outputs["logits"].dtype).min
        answers = []
        for chosen, *others in outputs["logits"].tolist():
            answer = {"score": chosen}
            if others and others[0] > missing:
                answer["rejected_score"] = others[0]
            answers.append(answer)
        return answers


def _pair_losses(rewards: torch.Tensor, present: torch.Tensor, margins: torch.Tensor) -> torch.Tensor:
    """Loss of each row, of shape `(rows,)`; 0 where there is no margin or no pair."""
    # slices, since no row of the batch may have a second text
    pair = item_mask(margins) & present[:, 0] & present[:, 1:2].any(dim=1)
    difference = rewards[:, 0] - rewards[:, 1:2].sum(dim=1)
    margins = torch.where(pair, margins.to(rewards.dtype), 0.0)
    return torch.where(pair, -functional.logsigmoid(difference - margins), 0.0)
