"""What a saved config says of a head, and all that a head does to labels without needing weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from ..errors import InputError, check_known
from ..metrics import METRIC_NAMES, higher_is_better, load_metric
from .reading_config import ReadingConfig
from .rows import EncodedRows, LabelSource

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase


__all__ = ["DOWNLOADED", "IGNORED", "HeadConfig", "item_mask"]

IGNORED = -100
"""Integer label of an item that trains nothing, as `torch.nn.functional.cross_entropy` has it."""


DOWNLOADED = "evaluate/"
"""What stands before the name of a metric that is not this package's own."""


def item_mask(labels: torch.Tensor) -> torch.Tensor:
    """
    Tell which entries of a label tensor are labels.

    Args:
        labels (`torch.Tensor`): Integer labels with -100, or float labels with NaN, where there is none.

    Returns:
        `torch.Tensor`: Boolean, of the same shape.

    Example:
        >>> item_mask(torch.tensor([2, -100])), item_mask(torch.tensor([0.5, float("nan")]))
        (tensor([ True, False]), tensor([ True, False]))
    """
    return ~torch.isnan(labels) if labels.is_floating_point() else labels != IGNORED


@dataclass(kw_only=True)
class HeadConfig(ReadingConfig, ABC):
    """
    What a saved config says of one head, and all that a head does to labels without needing weights.

    A subclass is a dataclass of JSON values. Its methods prepare labels for training ([`complete`],
    [`encode_labels`], [`collate_labels`]), count them ([`count_items`]) and score predictions ([`compute_metrics`]).

    Args:
        input, fusion, layer, num_layers: See [`ReadingConfig`].
        metrics (`list[str]`, *optional*):
            Names of the metrics to compute, the primary one first. Defaults to those of the head type. `evaluate/NAME`
            loads that metric with `evaluate.load`, which downloads its code; higher values of it count as better, and
            the primary one must give a value under its own name, the last part of `NAME`.
    """

    output_names: ClassVar[tuple[str, ...]] = ("logits", "loss", "row_losses", "rows", "decoded")
    """What the head adds to the model's output, each behind the head's name and an underscore."""
    word_level: ClassVar[bool] = False
    """Whether a label belongs to a word of the row rather than to the row."""
    task_inputs: ClassVar[tuple[str, ...]] = ()
    """Inputs that a task must have to train the head."""
    answer_inputs: ClassVar[tuple[str, ...]] = ()
    """Inputs that a row must have for the head to answer it."""
    label_parts: ClassVar[tuple[str, ...]] = ()
    """Names of the parts of a label where each is a column of its own."""
    label_column: ClassVar[Literal["required", "optional", "none"]] = "required"
    """Whether the label is a column of the dataset, or the head makes it from the row's input."""
    multi_sequence: ClassVar[bool] = False
    """Whether the head reads all sequences of a row; `encoded` then has a dimension for them behind the rows."""
    makes_sequence: ClassVar[bool] = False
    """Whether the head reads a sequence that it makes itself, see [`make_sequence`]."""
    needs_gold: ClassVar[bool] = False
    """Whether metrics need what [`encode_gold`] keeps, so that they cannot be computed from labels alone."""
    returns_logits: ClassVar[bool] = True
    """Whether `MultiTaskTrainer.predict` returns logits; False where they would be too large: predictions instead."""

    metrics: list[str] | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metrics is not None:
            own = [name for name in self.metrics if not name.startswith(DOWNLOADED)]
            check_known(own, self.known_metrics, "metrics", "metric")

    @classmethod
    def field_names(cls) -> list[str]:
        """Names of the fields that a config of this class may have."""
        return [each.name for each in fields(cls)]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values, with `head_type`, such that [`get_head_config`] builds an equal config."""
        return {"head_type": self.head_type, **asdict(self)}

    @property
    def answer_options(self) -> tuple[str, ...]:
        """Keyword arguments of [`Head.decode`] beside outputs and rows that make sense for this head."""
        return ()

    @property
    def default_metrics(self) -> tuple[str, ...]:
        """Metrics of this head type when the config names none, the primary one first."""
        return ()

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics to compute, the primary one first."""
        return tuple(self.metrics) if self.metrics is not None else self.default_metrics

    @property
    def primary_metric(self) -> str:
        """Under which name [`compute_metrics`] gives the primary metric."""
        name = self.metric_names[0]
        return name.rpartition("/")[2].removesuffix(".py") if name.startswith(DOWNLOADED) else name

    @property
    def known_metrics(self) -> tuple[str, ...]:
        """Metrics that make sense for this head."""
        return METRIC_NAMES

    @property
    def score_sign(self) -> int:
        """1 if higher values of the primary metric are better, -1 if lower ones are."""
        primary = self.metric_names[0]
        return 1 if primary.startswith(DOWNLOADED) or higher_is_better(primary) else -1

    def score(self, metrics: Mapping[str, float]) -> float:
        """
        How good the head is, as one number of which higher is better: what `eval_score` is the mean of.

        Args:
            metrics (`Mapping[str, float]`): What [`compute_metrics`] gave.

        Returns:
            `float`: The primary metric, negative if lower values of it are better.

        Raises:
            InputError: If a metric from elsewhere gives no value under its own name.
        """
        if self.primary_metric not in metrics:
            raise InputError(
                f"metrics: expected a value named {self.primary_metric!r} of the primary metric "
                f"{self.metric_names[0]!r}, found {', '.join(metrics)}: name another metric first."
            )
        return self.score_sign * float(metrics[self.primary_metric])

    def metric_options(self, metric: str) -> dict[str, Any]:
        """Further arguments for [`load_metric`]."""
        return {}

    @property
    def window_stride(self) -> int | None:
        """Tokens that two windows of a long context share; None for heads that read no contexts."""
        return None

    def check_complete(self) -> None:
        """
        Make sure that the head can be built.

        Raises:
            InputError: If something is missing that only data or the user can tell, such as the label names.
        """

    def complete(self, sources: Sequence[LabelSource]) -> None:
        """
        Fill what the config leaves open from the label columns that train the head.

        Args:
            sources (`Sequence[LabelSource]`): The label columns of all tasks that feed the head.

        Raises:
            InputError: If the columns cannot train this head, or do not agree.
        """

    def complete_from_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """
        Fill what the config leaves open from the tokenizer; called before rows are prepared.

        Args:
            tokenizer (`PreTrainedTokenizerBase`): The tokenizer.

        Raises:
            InputError: If the head cannot work with it.
        """

    @abstractmethod
    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        """
        Turn the values of a label column into what [`collate_labels`] takes.

        Args:
            values (`Sequence[Any]`): Values of the column, one a row; dicts where the label has several parts.
            source ([`LabelSource`]): Where they come from.
            rows ([`EncodedRows`]): The rows that they belong to.

        Returns:
            `list[Any]`: One encoded label a row, of one Arrow type; None where the row has none.

        Raises:
            InputError: If a value is no label of this head, naming task, column, row and value.
        """

    def encode_gold(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        """
        Keep of each row what metrics need beside labels, such as the texts of right answers.

        Args:
            values, source, rows: As [`encode_labels`] takes them.

        Returns:
            `list[Any]`: One value a row, of one Arrow type. Only called if the head [`needs_gold`].
        """
        raise NotImplementedError

    def make_sequence(
        self, input_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, epoch: int
    ) -> tuple[list[int] | None, Any]:
        """
        Make the sequence that the head reads of a row, and its label; called when batches are put together.

        Args:
            input_ids (`Sequence[int]`): The row's first sequence.
            tokenizer (`PreTrainedTokenizerBase`): The tokenizer.
            epoch (`int`): Number of the epoch, for what is to differ from epoch to epoch; -1 outside of training.

        Returns:
            `tuple[list[int] | None, Any]`: As many ids, None if they are the row's own, and the encoded label. Only
            called if the head [`makes_sequence`].
        """
        raise NotImplementedError

    @abstractmethod
    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        """
        Put encoded labels of several rows into one tensor.

        Args:
            labels (`Sequence[Any]`): For each row what [`encode_labels`] gave, or None where the row has no label.
            sequence_length (`int`): Length to which the rows are padded (tokens).

        Returns:
            `torch.Tensor` of shape `(batch_size, ...)`, ignored entries being -100 or NaN.
        """

    def count_items(self, labels: torch.Tensor) -> torch.Tensor:
        """
        Count the labelled items of each row: what a sum of item losses is divided by.

        Args:
            labels (`torch.Tensor` of shape `(batch_size, ...)`): Labels as [`collate_labels`] gives them.

        Returns:
            `torch.Tensor` of shape `(batch_size,)`, integers; 0 where the row does not train the head.
        """
        mask = item_mask(labels)
        return mask.reshape(len(mask), -1).sum(dim=1)

    @abstractmethod
    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        """
        Leave out what is ignored and bring both sides into the form that a metric takes.

        Args:
            metric (`str`): Name of the metric.
            predictions (`np.ndarray` of shape `(rows, ...)`): What [`Head.predictions`] gave.
            labels (`np.ndarray` of shape `(rows, ...)`): The labels, ignored entries among them.
            gold (`Sequence[Any]`, *optional*): What [`encode_gold`] kept of these rows.

        Returns:
            `tuple[Any, Any]`: Predictions and references for `evaluate.Metric.compute`.
        """

    def compute_metrics(
        self, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> dict[str, float]:
        """
        Score predictions.

        Args:
            predictions, labels, gold: As [`metric_inputs`] takes them.

        Returns:
            `dict[str, float]`: A value for each metric; more than [`metric_names`] where a metric yields several.

        Raises:
            InputError: If not one item is labelled.
        """
        results: dict[str, float] = {}
        for name in self.metric_names:
            kept_predictions, references = self.metric_inputs(name, predictions, labels, gold)
            if len(references) == 0:
                raise InputError(f"no labelled row, so that {name} cannot be computed.")
            downloaded = name.startswith(DOWNLOADED)
            metric = load_metric(name.removeprefix(DOWNLOADED), allow_download=downloaded, **self.metric_options(name))
            results.update(metric.compute(predictions=kept_predictions, references=references))
        return results
