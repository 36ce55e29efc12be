"""How near two sentences are, as the cosine of their embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from .base import EncodedRows, Head, HeadConfig, LabelSource, SourceRow, full_precision, item_mask
from .number_labels import read_numbers
from .pooling import PooledHeadConfig, Pooling
from .registry import register_head
from .sequence_pooling import pool_sequences

__all__ = ["SentenceSimilarityHead", "SentenceSimilarityHeadConfig"]

LossType = Literal["cosine", "contrastive"]


@dataclass(kw_only=True)
class SentenceSimilarityHeadConfig(PooledHeadConfig):
    """
    Config of [`SentenceSimilarityHead`].

    There is no dropout between pooling and cosine: it would pull apart the embeddings of equal sentences.

    Args:
        loss_type (`str`, *optional*, defaults to `"cosine"`):
            `cosine` learns scores, which need a label column. `contrastive` learns from pairs alone, without one: the
            second sentences of the other pairs are wrong answers to the first sentence.
        projection_size (`int`, *optional*):
            Size of the embeddings: a linear layer without bias follows the pooling, as in Radford et al. (2021),
            https://huggingface.co/papers/2103.00020, section 2.3. By default there is none.
        min_score (`float`, *optional*):
            Lowest score that a label may have, in its unit. Read from the training rows if left out; a score of
            another split that lies outside is refused then, too.
        max_score (`float`, *optional*): Highest one, likewise; its cosine is 1.
        min_cosine (`float`, *optional*, defaults to 0.0):
            Cosine that `min_score` stands for, from -1 to below 1: 0 for scores of how much is the same, -1 for those
            that also tell opposites apart.
        scale (`float`, *optional*, defaults to 20.0):
            What the contrastive loss multiplies cosines by: 1 / temperature. The default is that of
            sentence-transformers' `MultipleNegativesRankingLoss`.
    """

    output_names: ClassVar[tuple[str, ...]] = (*HeadConfig.output_names, "embedding", "second_embedding")
    reads: ClassVar[tuple[str, ...]] = ("encoded_text", "encoded_text_decoder")
    task_inputs: ClassVar[tuple[str, ...]] = ("sentences",)
    label_column: ClassVar[Literal["required", "optional", "none"]] = "optional"
    multi_sequence: ClassVar[bool] = True

    loss_type: LossType = "cosine"
    projection_size: int | None = None
    min_score: float | None = None
    max_score: float | None = None
    min_cosine: float = 0.0
    scale: float = 20.0

    def __post_init__(self) -> None:
        if self.loss_type not in get_args(LossType):
            raise InputError(f"loss_type: expected one of {', '.join(get_args(LossType))}, found {self.loss_type!r}.")
        super().__post_init__()
        if self.projection_size is not None and (type(self.projection_size) is not int or self.projection_size < 1):
            raise InputError(f"projection_size: expected at least 1, found {self.projection_size!r}.")
        if not 0 < self.scale < math.inf:
            raise InputError(f"scale: expected a number above 0, found {self.scale!r}.")
        if not -1 <= self.min_cosine < 1:
            raise InputError(f"min_cosine: expected a number in [-1, 1), found {self.min_cosine!r}.")
        self._check_range()

    def _check_range(self) -> None:
        given = {name: value for name in ("min_score", "max_score") if (value := getattr(self, name)) is not None}
        for name, value in given.items():
            if self.contrastive:
                raise InputError(f"{name}: loss_type is 'contrastive', which has no scores, found {value!r}.")
            if not math.isfinite(value):
                raise InputError(f"{name}: expected a finite number, found {value!r}.")
        if len(given) == 2 and given["min_score"] >= given["max_score"]:
            raise InputError(
                f"min_score and max_score: expected two numbers, the lower one first, found {self.min_score:g} "
                f"and {self.max_score:g}."
            )

    @property
    def contrastive(self) -> bool:
        """Whether the head learns from pairs alone."""
        return self.loss_type == "contrastive"

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("accuracy",) if self.contrastive else ("spearman", "pearson")

    @property
    def known_metrics(self) -> tuple[str, ...]:
        return self.default_metrics if self.contrastive else ("spearman", "pearson", "mse")

    def complete(self, sources: Sequence[LabelSource]) -> None:
        for source in sources:
            self._check_column(source)
        if self.contrastive or (self.min_score is not None and self.max_score is not None):
            return
        scores: list[float] = []
        for source in sources:
            values = source.read()
            scores += read_numbers(values, source, range(len(values)))
        scores = [score for score in scores if not math.isnan(score)]
        if not scores:
            raise InputError(f"{sources[0].where}: no training row has a score, so that there is no range of scores.")
        self.min_score = min(scores) if self.min_score is None else self.min_score
        self.max_score = max(scores) if self.max_score is None else self.max_score
        try:
            self._check_range()
        except InputError as error:
            raise InputError(
                f"{sources[0].where}: {error} What is not given is read from the training rows."
            ) from error

    def _check_column(self, source: LabelSource) -> None:
        where = f"task {source.task_name!r}: loss_type is {self.loss_type!r}"
        if self.contrastive and source.feature is not None:
            raise InputError(f"{where}, which has no scores: expected no column with labels, found {source.column!r}.")
        if not self.contrastive and source.feature is None:
            raise InputError(f"{where}: expected a column with scores, found none.")
        if source.feature is not None:
            read_numbers([], source, [])

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        self._check_column(source)
        if self.contrastive:
            labels = [1.0] * len(values)
        else:
            low, high = self.score_range
            labels = read_numbers(values, source, rows.numbers, low, high)
        for row, label, sentences in zip(rows.numbers, labels, rows.inputs["sentences"], strict=True):
            if len(sentences) != 2 and not math.isnan(label):
                raise InputError(
                    f"task {source.task_name!r}, row {row}: expected two sentences in a row that is trained or "
                    f"scored, found {len(sentences)}."
                )
        return list(labels)

    @property
    def score_range(self) -> tuple[float, float]:
        """Lowest and highest score; those of the cosine itself as long as neither the user nor data has told any."""
        if self.min_score is None or self.max_score is None:
            return self.min_cosine, 1.0
        return self.min_score, self.max_score

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return torch.tensor([math.nan if label is None else label for label in labels], dtype=torch.float32)

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        kept = ~np.isnan(labels)
        if self.contrastive:
            return predictions[kept].astype(np.int64), np.ones(kept.sum(), dtype=np.int64)
        return predictions[kept], labels[kept]


@register_head("sentence_similarity")
class SentenceSimilarityHead(Head):
    """
    Compare two sentences that are encoded apart: each is pooled, projected if asked for, and scaled to length 1.

    `logits`, of shape `(rows, 1)`, are the cosine of the two in the unit of the labels, under the contrastive loss the
    cosine itself; the lowest finite number of their dtype where a row has not exactly two sentences. `embedding`, of
    shape `(rows, size)`, is that of the row's first sentence, also where it is the only one, such as any text;
    `second_embedding` that of the second one, zeros where there is no pair.

    The loss of a pair is, under `loss_type`:

    - `cosine`: the squared error of the cosine, scores being brought to `min_cosine` to 1 by a linear map. Source:
      Reimers and Gurevych (2019), https://huggingface.co/papers/1908.10084, section 3, "Regression Objective
      Function".
    - `contrastive`: the cross entropy of the right second sentence among those of the batch, from the first sentence
      to the second one and not back. Source: Henderson et al. (2017), https://huggingface.co/papers/1705.00652,
      section 4.4; van den Oord et al. (2018), https://huggingface.co/papers/1807.03748, equation 4. By its nature it
      is not the same under another batch size: wrong answers are those of the labelled rows of this process's
      micro-batch, so that neither gradient accumulation nor more processes add any, and a pair that is alone in its
      batch has loss 0. `accuracy`, the share of first sentences to which their own second one is nearer than every
      other of the batch, depends on `per_device_eval_batch_size` likewise.

    Args:
        config ([`SentenceSimilarityHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.

    Example:
        >>> config = SentenceSimilarityHeadConfig(pooling="mean", min_score=0.0, max_score=5.0)
        >>> pair = torch.tensor([[[[3.0, 0.0]], [[3.0, 4.0]]]])
        >>> head = SentenceSimilarityHead(config, hidden_size=2)
        >>> head(pair, torch.ones(1, 2, 1, dtype=torch.bool))["logits"]  # a cosine of 0.6
        tensor([[3.]])
    """

    config_class = SentenceSimilarityHeadConfig
    config: SentenceSimilarityHeadConfig

    def __init__(self, config: SentenceSimilarityHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        size = config.projection_size
        self.pooler = Pooling(config.pooling, hidden_size)
        self.projection = nn.Identity() if size is None else nn.Linear(hidden_size, size, bias=False)

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        # (rows,)
        pair = encoded_mask.any(dim=-1).sum(dim=1) == 2
        vectors, _ = pool_sequences(self.pooler, encoded[:, :2], encoded_mask[:, :2])
        # (rows, 1 or 2, size)
        embeddings = functional.normalize(full_precision(self.projection(vectors)), dim=-1)
        first, second = embeddings[:, 0], embeddings[:, -1]
        cosines = (first * second).sum(dim=-1)
        missing = torch.finfo(cosines.dtype).min
        outputs = {
            "logits": torch.where(pair, self._scores(cosines), missing).unsqueeze(1),
            "embedding": first,
            "second_embedding": torch.where(pair.unsqueeze(1), second, 0.0),
        }
        if labels is not None:
            trained = pair & item_mask(labels)
            if self.config.contrastive:
                losses = self._contrastive_losses(first, second, trained)
            else:
                losses = self._squared_errors(cosines, torch.where(trained, labels.to(cosines.dtype), 0.0))
            outputs["row_losses"] = torch.where(trained, losses, 0.0)
        return outputs

    @property
    def last_layer(self) -> nn.Module:
        """The projection, if any; it reads one vector a sentence, of shape `(rows, 1 or 2, hidden_size)`."""
        return self.projection

    @property
    def _unit(self) -> tuple[float, float, float]:
        """Lowest score, its cosine, and how much of the score one cosine is."""
        low, high = self.config.score_range
        cosine = self.config.min_cosine
        return low, cosine, (high - low) / (1 - cosine)

    def _scores(self, cosines: torch.Tensor) -> torch.Tensor:
        if self.config.contrastive:
            return cosines
        low, cosine, unit = self._unit
        return (cosines - cosine) * unit + low

    def _squared_errors(self, cosines: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        low, cosine, unit = self._unit
        return (cosines - ((scores - low) / unit + cosine)).square()

    def _contrastive_losses(self, first: torch.Tensor, second: torch.Tensor, trained: torch.Tensor) -> torch.Tensor:
        right = torch.arange(first.shape[0], device=first.device)
        return functional.cross_entropy(_among(first * self.config.scale, second, trained), right, reduction="none")

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        if not self.config.contrastive:
            return outputs["logits"][:, 0]
        similarities = _among(outputs["embedding"], outputs["second_embedding"], item_mask(labels))
        right = torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
        others = similarities.masked_fill(right, -math.inf)
        # as near as the right one is not found
        return (similarities.diagonal() > others.amax(dim=1)).to(torch.int8)

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        missing = torch.finfo(outputs["logits"].dtype).min
        scores = cast("list[float]", outputs["logits"][:, 0].tolist())
        return [
            {"score": score, "embedding": embedding} if score > missing else {"embedding": embedding}
            for score, embedding in zip(scores, outputs["embedding"].tolist(), strict=True)
        ]


def _among(first: torch.Tensor, second: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Product of each first embedding with each second one, lowest for rows that do not count; `(rows, rows)`."""
    products = first @ second.T
    return products.masked_fill(~rows, torch.finfo(products.dtype).min)
