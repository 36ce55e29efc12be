"""One number, or several, for a whole row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from .base import EncodedRows, Head, LabelSource, SourceRow, full_precision, item_mask
from .feed_forward import FeedForwardHeadConfig, feed_forward
from .labels import element_feature
from .pooling import Pooling
from .registry import register_head

__all__ = ["RegressionHead", "RegressionHeadConfig"]

LossType = Literal["mse", "l1", "huber"]

_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "huber": functional.huber_loss,
}


@dataclass(kw_only=True)
class RegressionHeadConfig(FeedForwardHeadConfig):
    """
    Config of [`RegressionHead`].

    Args:
        num_targets (`int`, *optional*, defaults to 1): Numbers a row has; an item is one of them.
        loss_type (`str`, *optional*, defaults to `"mse"`): `mse`, `l1` or `huber` (Huber 1964, threshold 1), of the
            standardised targets.
        standardize (`bool`, *optional*, defaults to `True`):
            Whether the targets' mean and standard deviation are taken from the training rows. If not, `mean` and
            `std` are 0 and 1 unless they are given.
        mean (`list[float]`, *optional*): Mean of each target, in its unit.
        std (`list[float]`, *optional*): Standard deviation of each target, in its unit.
    """

    num_targets: int = 1
    loss_type: LossType = "mse"
    standardize: bool = True
    mean: list[float] | None = None
    std: list[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_targets < 1:
            raise InputError(f"num_targets: expected at least 1, found {self.num_targets}.")
        if self.loss_type not in get_args(LossType):
            raise InputError(f"loss_type: expected one of {', '.join(get_args(LossType))}, found {self.loss_type!r}.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.num_targets:
                raise InputError(f"{name}: expected {self.num_targets} numbers, found {values!r}.")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise InputError(f"std: expected numbers above 0, found {self.std!r}.")

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("pearson", "spearman", "mse")

    @property
    def known_metrics(self) -> tuple[str, ...]:
        return self.default_metrics

    def complete(self, sources: Sequence[LabelSource]) -> None:
        for source in sources:
            self._check_feature(source)
        if not self.standardize or (self.mean is not None and self.std is not None):
            return
        encoded = [
            self.encode_labels(values := each.read(), each, EncodedRows(range(len(values)))) for each in sources
        ]
        # (rows, num_targets)
        targets = np.array([row for rows in encoded for row in rows], dtype=np.float64)
        if np.isnan(targets).all(axis=0).any():
            raise InputError(f"{sources[0].where}: no training row has a target, so that it has no mean.")
        std = np.nanstd(targets, axis=0)
        self.mean = np.nanmean(targets, axis=0).tolist() if self.mean is None else self.mean
        self.std = np.where(std > 0, std, 1.0).tolist() if self.std is None else self.std

    def _check_feature(self, source: LabelSource) -> None:
        import datasets

        feature = element_feature(source.feature) or source.feature
        numeric = isinstance(feature, datasets.Value) and feature.dtype.startswith(("float", "int", "uint"))
        if not numeric or (self.num_targets > 1 and feature is source.feature):
            expected = "a number" if self.num_targets == 1 else f"a list of {self.num_targets} numbers"
            raise InputError(f"{source.where}: expected {expected} a row, found {source.feature}.")

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        self._check_feature(source)
        nothing = [float("nan")] * self.num_targets
        encoded = []
        for row, value in zip(rows.numbers, values, strict=True):
            numbers = nothing if value is None else value if isinstance(value, list) else [value]
            numbers = [float("nan") if number is None else float(number) for number in numbers]
            if len(numbers) != self.num_targets or np.isinf(numbers).any():
                raise InputError(
                    f"{source.where}, row {row}: expected {self.num_targets} finite number(s), found {value!r}."
                )
            encoded.append(numbers)
        return encoded

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        nothing = [float("nan")] * self.num_targets
        return torch.tensor([nothing if label is None else label for label in labels], dtype=torch.float32)

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        labels = labels.reshape(predictions.shape)
        kept = ~np.isnan(labels).all(axis=1)
        predictions, labels = predictions[kept], labels[kept]
        return (predictions[:, 0], labels[:, 0]) if self.num_targets == 1 else (predictions, labels)


@register_head("regression")
class RegressionHead(Head):
    """
    Predict numbers for whole rows. The last layer works in standardised units; `logits` are in the targets' own.

    Labels of one target may also have the shape `(rows,)`.

    Args:
        config ([`RegressionHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.
    """

    config_class = RegressionHeadConfig
    config: RegressionHeadConfig

    def __init__(self, config: RegressionHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        sizes = [hidden_size, *config.hidden_sizes]
        self.pooler = Pooling(config.pooling, hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.feed_forward = feed_forward(sizes, config.hidden_act, config.classifier_dropout)
        self.regressor = nn.Linear(sizes[-1], config.num_targets)

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        # (rows, hidden_size)
        features = self.feed_forward(self.dropout(self.pooler(encoded, encoded_mask)))
        # (rows, num_targets)
        standardized = full_precision(self.regressor(features))
        mean, std = self._statistics(standardized)
        outputs = {"logits": standardized * std + mean}
        if labels is not None:
            outputs["row_losses"] = self._losses(standardized, labels.reshape(standardized.shape))
        return outputs

    @property
    def last_layer(self) -> nn.Module:
        """The regressor, in standardised units; it reads one vector a row, of shape `(rows, size)`."""
        return self.regressor

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        number = self.config.num_targets
        return self.constant(self.config.mean or [0.0] * number, like), self.constant(
            self.config.std or [1.0] * number, like
        )

    def _losses(self, standardized: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        mask = item_mask(labels)
        mean, std = self._statistics(standardized)
        targets = (torch.where(mask, labels.to(standardized.dtype), 0.0) - mean) / std
        # (rows, num_targets)
        losses = _LOSSES[self.config.loss_type](standardized, targets, reduction="none")
        return torch.where(mask, losses, 0.0).sum(dim=1)

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return outputs["logits"]

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        values = outputs["logits"].tolist()
        return (
            [{"value": row[0]} for row in values]
            if self.config.num_targets == 1
            else [{"values": row} for row in values]
        )
