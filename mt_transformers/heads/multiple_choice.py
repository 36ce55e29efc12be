"""The right one of a row's own choices, of which each row may have another number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from .answers import ranked_answers
from .base import IGNORED, EncodedRows, Head, LabelSource, SourceRow, full_precision
from .feed_forward import FeedForwardHeadConfig, feed_forward
from .labels import check_label_feature
from .pooling import Pooling
from .registry import register_head
from .sequence_pooling import pool_sequences

__all__ = ["MultipleChoiceHead", "MultipleChoiceHeadConfig"]

_NO_LABEL = (None, -1, IGNORED, "")


@dataclass(kw_only=True)
class MultipleChoiceHeadConfig(FeedForwardHeadConfig):
    """
    Config of [`MultipleChoiceHead`].

    The label is the number of the right choice, counted from 0: an integer, the id of a ClassLabel, a text with the
    digits of the number, or a text with one letter, where `A` is the first choice. None, -1 and an empty text are no
    label. A column of digits that counts from 1 has to be changed before: it is refused at the first row whose last
    choice is the right one.

    """

    reads: ClassVar[tuple[str, ...]] = ("encoded_text", "encoded_text_decoder")
    task_inputs: ClassVar[tuple[str, ...]] = ("choices",)
    answer_inputs: ClassVar[tuple[str, ...]] = ("choices",)
    multi_sequence: ClassVar[bool] = True

    @property
    def answer_options(self) -> tuple[str, ...]:
        return ("top_k",)

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("accuracy",)

    @property
    def known_metrics(self) -> tuple[str, ...]:
        return self.default_metrics

    def complete(self, sources: Sequence[LabelSource]) -> None:
        for source in sources:
            check_label_feature(source.feature, source)

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        check_label_feature(source.feature, source)
        encoded = []
        for row, value, choices in zip(rows.numbers, values, rows.inputs["choices"], strict=True):
            number = IGNORED if value in _NO_LABEL else _choice_number(value)
            if number != IGNORED:
                _check_number(f"{source.where}, row {row}", number, len(choices), value)
            encoded.append(number)
        return encoded

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return torch.tensor([IGNORED if label is None else label for label in labels], dtype=torch.long)

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        kept = labels != IGNORED
        return predictions[kept], labels[kept]


def _choice_number(value: Any) -> int:
    """The number that a label stands for; -1 for a text that is neither digits nor a letter."""
    if not isinstance(value, str):
        return int(value)
    if len(value) == 1 and "A" <= value <= "Z":
        return ord(value) - ord("A")
    return int(value) if value.isascii() and value.isdigit() else -1


def _check_number(where: str, number: int, choices: int, value: Any) -> None:
    """Refuse a label that is none of the row's choices, and a row that leaves no choice."""
    if choices < 2:
        raise InputError(f"{where}: expected at least two choices in a row with a label, found {choices}.")
    if not 0 <= number < choices:
        letters = f" or a letter from A to {chr(ord('A') + choices - 1)}" if choices <= 26 else ""
        raise InputError(
            f"{where}: expected one of the row's {choices} choices, a number from 0 to {choices - 1}{letters}, "
            f"found {value!r}."
        )


@register_head("multiple_choice")
class MultipleChoiceHead(Head):
    """
    Choose among the texts of a row: each is pooled and scored apart, then a softmax goes over the row's own scores.

    `logits`, of shape `(rows, choices)`, hold the lowest finite number of their dtype where a row has fewer choices;
    where `MultiTaskTrainer.predict` joins batches with other numbers of choices, the Trainer fills up with -100.

    Source: Devlin et al. (2019), https://aclanthology.org/N19-1423, section 4.4: the score is the product with one
    vector. There the choices are pooled as `cls`.

    Args:
        config ([`MultipleChoiceHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.

    Example:
        >>> head = MultipleChoiceHead(MultipleChoiceHeadConfig(pooling="mean"), hidden_size=1)
        >>> mask = torch.tensor([[[True], [True]], [[True], [False]]])
        >>> head.eval()(torch.ones(2, 2, 1, 1), mask)["logits"].softmax(dim=-1)
        tensor([[0.5000, 0.5000],
                [1.0000, 0.0000]], grad_fn=<SoftmaxBackward0>)
    """

    config_class = MultipleChoiceHeadConfig
    config: MultipleChoiceHeadConfig

    def __init__(self, config: MultipleChoiceHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        sizes = [hidden_size, *config.hidden_sizes]
        self.pooler = Pooling(config.pooling, hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.feed_forward = feed_forward(sizes, config.hidden_act, config.classifier_dropout)
        # a softmax is the same whatever is added to all scores: a bias would train on rounding errors
        self.classifier = nn.Linear(sizes[-1], 1, bias=False)

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        vectors, present = pool_sequences(self.pooler, encoded, encoded_mask)
        # (rows, choices)
        scores = self.classifier(self.feed_forward(self.dropout(vectors))).squeeze(-1)
        logits = scores.masked_fill(~present, torch.finfo(scores.dtype).min)
        if labels is None:
            return {"logits": logits}
        losses = functional.cross_entropy(full_precision(logits), labels, ignore_index=IGNORED, reduction="none")
        # the right choice may be an empty text that has become no token
        there = present.gather(1, labels.clamp(min=0).unsqueeze(1)).squeeze(1)
        return {"logits": logits, "row_losses": torch.where(there, losses, 0.0)}

    @property
    def last_layer(self) -> nn.Module:
        """The scores' layer; it reads one vector a choice, of shape `(rows, choices, size)`."""
        return self.classifier

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return outputs["logits"].argmax(dim=-1)

    def decode(
        self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow], *, top_k: int | None = None
    ) -> list[Any]:
        """The best choice of each row, or its best `top_k`, each with its probability."""
        logits = full_precision(outputs["logits"])
        answers = ranked_answers(logits.softmax(dim=-1), "choice", range(logits.shape[-1]), top_k)
        if top_k is None:
            return answers
        # rows of a batch have choices of different number
        present = (outputs["logits"] > torch.finfo(outputs["logits"].dtype).min).sum(dim=-1).tolist()
        return [row[:number] for row, number in zip(answers, present, strict=True)]
