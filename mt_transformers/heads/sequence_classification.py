"""One label, or any number of labels, for a whole row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError, check_known
from .answers import ranked_answers
from .base import IGNORED, EncodedRows, LabelSource, SourceRow, full_precision, item_mask
from .feed_forward import FeedForwardHeadConfig, feed_forward
from .growing import GrowingHead
from .labels import ClassHeadConfig, balanced_weights, check_label_feature, element_feature, label_ids
from .pooling import Pooling
from .registry import register_head

__all__ = ["SequenceClassificationHead", "SequenceClassificationHeadConfig"]

_PROBLEM_TYPES = ("single_label_classification", "multi_label_classification")


@dataclass(kw_only=True)
class SequenceClassificationHeadConfig(FeedForwardHeadConfig, ClassHeadConfig):
    """
    Config of [`SequenceClassificationHead`].

    Args:
        problem_type (`str`, *optional*, defaults to `"single_label_classification"`):
            That, or `"multi_label_classification"`, where an item is one yes or no: a row has `num_labels` of them.
        class_weights (`list[float]`, `dict[str, float]` or `"balanced"`, *optional*):
            Weight of each class in the loss; for multi-label rows the weight of a present label against an absent
            one. `"balanced"` takes them from the training rows. A mean still divides by the number of items, so that
            the losses of the optimizer step's parts add up.
        label_smoothing (`float`, *optional*, defaults to 0.0): Szegedy et al. (2016), section 7 (fraction).
        threshold (`float`, *optional*, defaults to 0.5): Probability from which a label of several counts as present.
        classifier_bias (`bool`, *optional*, defaults to `True`):
            Whether the classifier has a bias; the classifiers that transformers puts on decoders have none.
        f1_labels (`list[str]`, *optional*):
            Labels that `f1_macro`, `f1_micro` and `f1_weighted` are taken over, such as the one that counts of two, or
            all but the one that says "none of them". Defaults to all.
    """

    problem_type: Literal["single_label_classification", "multi_label_classification"] = "single_label_classification"
    class_weights: list[float] | dict[str, float] | Literal["balanced"] | None = None
    label_smoothing: float = 0.0
    threshold: float = 0.5
    classifier_bias: bool = True
    f1_labels: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.problem_type not in _PROBLEM_TYPES:
            raise InputError(
                f"problem_type: expected one of {', '.join(_PROBLEM_TYPES)}, found {self.problem_type!r}."
            )
        if type(self.classifier_bias) is not bool:
            raise InputError(f"classifier_bias: expected true or false, found {self.classifier_bias!r}.")
        for name in ("label_smoothing", "threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: expected a fraction in [0, 1), found {getattr(self, name)!r}.")
        if self.f1_labels is not None and not any(name.startswith("f1_") for name in self.metric_names):
            raise InputError(f"f1_labels: expected an F1 among the metrics, found {', '.join(self.metric_names)}.")
        if self.num_labels is not None:
            self._check_labels()

    def _check_labels(self) -> None:
        """Check what is said of labels by their names."""
        self._check_weights()
        if self.f1_labels is None:
            return
        given = self.f1_labels
        if not isinstance(given, list) or not given or len(set(given)) < len(given):
            raise InputError(f"f1_labels: expected a list of labels, each once, found {given!r}.")
        check_known(given, self.names, "f1_labels", "label")

    def _check_weights(self) -> None:
        weights = self.class_weights
        if isinstance(weights, dict):
            if set(weights) != set(self.names):
                raise InputError(
                    f"class_weights: expected a weight for each of {self.names}, found {sorted(weights)}."
                )
            weights = self.class_weights = [float(weights[name]) for name in self.names]
        if weights is None or weights == "balanced":
            return
        if len(weights) != self.num_labels or not all(weight >= 0 for weight in weights):
            raise InputError(f"class_weights: expected {self.num_labels} numbers from 0 up, found {weights!r}.")

    @property
    def multi_label(self) -> bool:
        """Whether a row may have any number of labels."""
        return self.problem_type == "multi_label_classification"

    @property
    def answer_options(self) -> tuple[str, ...]:
        return ("top_k", "threshold") if self.multi_label else ("top_k",)

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("f1_macro", "f1_micro") if self.multi_label else ("accuracy", "f1_macro")

    @property
    def known_metrics(self) -> tuple[str, ...]:
        known = ("accuracy", "f1_macro", "f1_micro", "f1_weighted")
        return known if self.multi_label else (*known, "matthews_correlation")

    def metric_options(self, metric: str) -> dict[str, Any]:
        options: dict[str, Any] = {"multilabel": True} if self.multi_label and metric in self.known_metrics else {}
        if self.f1_labels is not None and metric in self.known_metrics and metric.startswith("f1_"):
            options["labels"] = [self.names.index(name) for name in self.f1_labels]
        return options

    def grown(self, labels: Sequence[str]) -> SequenceClassificationHeadConfig:
        if self.class_weights is not None:
            raise InputError(
                f"class_weights has no entry for the new classes {labels!r}: set the config's class_weights to None "
                "before they are added, and to a list for all of them afterwards."
            )
        return super().grown(labels)

    def check_complete(self) -> None:
        super().check_complete()
        self._check_labels()
        if self.class_weights == "balanced":
            raise InputError("class_weights is 'balanced', but no training data was read to count the classes.")

    def class_feature(self, source: LabelSource) -> Any:
        if not self.multi_label:
            return source.feature
        inner = element_feature(source.feature)
        if inner is None:
            raise InputError(f"{source.where}: expected a list of labels a row, found {source.feature}.")
        return inner

    def complete(self, sources: Sequence[LabelSource]) -> None:
        weights, self.class_weights = self.class_weights, None
        super().complete(sources)
        self.class_weights = weights
        if weights == "balanced":
            labels = torch.cat(
                [
                    self.collate_labels(self.encode_labels(v := each.read(), each, EncodedRows(range(len(v)))), 0)
                    for each in sources
                ]
            )
            self.class_weights = self._balanced(labels.numpy())
        self._check_labels()

    def _balanced(self, labels: np.ndarray) -> list[float]:
        if not self.multi_label:
            return balanced_weights(np.bincount(labels[labels != IGNORED], minlength=self.num_labels or 0))
        labels = labels[~np.isnan(labels).any(axis=1)]
        present = labels.sum(axis=0)
        weights = np.where(present > 0, (len(labels) - present) / np.maximum(present, 1), 0.0)
        return [float(weight) for weight in weights]

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        feature = self.class_feature(source)
        check_label_feature(feature, source)
        if not self.multi_label:
            return list(label_ids(values, feature, source, rows.numbers, self).tolist())
        flat = [label for value in values for label in value or ()]
        owner = [index for index, value in enumerate(values) for _ in value or ()]
        ids = label_ids(flat, feature, source, [rows.numbers[index] for index in owner], self)
        # (rows, num_labels)
        encoded = np.zeros((len(values), cast(int, self.num_labels)), dtype=np.float32)
        chosen = ids != IGNORED
        encoded[np.array(owner, dtype=np.int64)[chosen], ids[chosen]] = 1
        encoded[[index for index, value in enumerate(values) if value is None]] = np.nan
        return list(encoded)

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        if not self.multi_label:
            return torch.tensor([IGNORED if label is None else label for label in labels], dtype=torch.long)
        nothing = np.full(cast(int, self.num_labels), np.nan, dtype=np.float32)
        stacked = np.stack([nothing if label is None else np.asarray(label, dtype=np.float32) for label in labels])
        return torch.from_numpy(stacked)

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        if self.multi_label:
            kept = ~np.isnan(labels).any(axis=1)
            return predictions[kept].astype(np.int64), labels[kept].astype(np.int64)
        kept = labels != IGNORED
        return predictions[kept], labels[kept]


@register_head("sequence_classification")
class SequenceClassificationHead(GrowingHead):
    """
    Classify whole rows: pooling, optional feed-forward layers, a linear classifier.

    Args:
        config ([`SequenceClassificationHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.
    """

    config_class = SequenceClassificationHeadConfig
    config: SequenceClassificationHeadConfig

    def __init__(self, config: SequenceClassificationHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        sizes = [hidden_size, *config.hidden_sizes]
        num_labels = cast(int, config.num_labels)
        self.pooler = Pooling(config.pooling, hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.feed_forward = feed_forward(sizes, config.hidden_act, config.classifier_dropout)
        self.classifier = nn.Linear(sizes[-1], num_labels, bias=config.classifier_bias)

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        # (rows, hidden_size)
        features = self.feed_forward(self.dropout(self.pooler(encoded, encoded_mask)))
        # (rows, num_labels)
        logits = self.classifier(features)
        if labels is None:
            return {"logits": logits}
        loss = self._multi_label_losses if self.config.multi_label else self._single_label_losses
        return {"logits": logits, "row_losses": loss(full_precision(logits), labels)}

    @property
    def last_layer(self) -> nn.Module:
        """The classifier; it reads one vector a row, of shape `(rows, size)`."""
        return self.classifier

    def _class_weights(self, logits: torch.Tensor) -> torch.Tensor | None:
        weights = self.config.class_weights
        return self.constant(weights, logits) if isinstance(weights, list) else None

    def _single_label_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weights = self._class_weights(logits)
        return functional.cross_entropy(
            logits,
            labels,
            weight=weights,
            ignore_index=IGNORED,
            reduction="none",
            label_smoothing=self.config.label_smoothing,
        )

    def _multi_label_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        mask = item_mask(labels)
        smoothing = self.config.label_smoothing
        targets = torch.where(mask, labels.to(logits.dtype), 0.0) * (1 - smoothing) + smoothing / 2
        weights = self._class_weights(logits)
        # (rows, num_labels)
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=weights)
        return torch.where(mask, losses, 0.0).sum(dim=1)

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        if self.config.multi_label:
            return (full_precision(outputs["logits"]).sigmoid() >= self.config.threshold).to(torch.int8)
        return outputs["logits"].argmax(dim=-1)

    def decode(
        self,
        outputs: dict[str, torch.Tensor],
        rows: Sequence[SourceRow],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
    ) -> list[Any]:
        """
        Name the classes.

        Args:
            outputs (`dict[str, torch.Tensor]`): What [`forward`] gave.
            rows (`Sequence[SourceRow]`): What the tokens of each row stand for.
            top_k (`int`, *optional*): How many classes to name, at most; by default the best one of a row with one.
            threshold (`float`, *optional*):
                Probability from which a label of several counts as present. Defaults to that of the config.

        Returns:
            `list[Any]`: For each row its `label` and its probability, `score`; a list of these, the best first, with
            `top_k` and for rows with any number of labels.
        """
        logits, names = full_precision(outputs["logits"]), self.config.names
        if not self.config.multi_label:
            return ranked_answers(logits.softmax(dim=-1), "label", names, top_k)
        lowest = self.config.threshold if threshold is None else threshold
        ranked = ranked_answers(logits.sigmoid(), "label", names, len(names) if top_k is None else top_k)
        return [[answer for answer in row if answer["score"] >= lowest] for row in ranked]
