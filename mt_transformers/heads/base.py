"""What every head is: a config that knows its labels, and a module that turns encoded features into logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import nn

from ..errors import InputError, check_known
from ..metrics import METRIC_NAMES, higher_is_better, load_metric

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DOWNLOADED", "IGNORED", "Head", "HeadConfig", "LabelSource", "Word", "full_precision", "item_mask"]

IGNORED = -100
"""Integer label of an item that trains nothing, as `torch.nn.functional.cross_entropy` has it."""


DOWNLOADED = "evaluate/"
"""What stands before the name of a metric that is not this package's own."""


class Word(NamedTuple):
    """One word of a row, for heads that label words: its first sub-token and its place in the text."""

    position: int
    """Index of the word's first sub-token in the row."""
    text: str
    start: int
    """Offset of the word's first character in the row's text (characters)."""
    end: int
    """Offset behind the word's last character in the row's text (characters)."""


@dataclass(frozen=True)
class LabelSource:
    """
    A label column of a task.

    Args:
        task_name (`str`): The task.
        column (`str`): The column.
        feature (`Any`): Its `datasets` feature.
        read (`Callable[[], list[Any]]`): Gives the column's values in the training split.
    """

    task_name: str
    column: str
    feature: Any
    read: Callable[[], list[Any]]

    @property
    def where(self) -> str:
        """The column, as messages name it."""
        return f"task {self.task_name!r}, column {self.column!r}"


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
class HeadConfig(ABC):
    """
    What a saved config says of one head, and all that a head does to labels without needing weights.

    A subclass is a dataclass of JSON values. Its methods prepare labels for training ([`complete`],
    [`encode_labels`], [`collate_labels`]), count them ([`count_items`]) and score predictions ([`compute_metrics`]).

    Args:
        input (`str`, *optional*, defaults to `"encoded_text"`): Name of the backbone's output that the head reads.
        metrics (`list[str]`, *optional*):
            Names of the metrics to compute, the primary one first. Defaults to those of the head type. `evaluate/NAME`
            loads that metric with `evaluate.load`, which downloads its code; higher values of it count as better.
    """

    head_type: ClassVar[str] = ""
    output_names: ClassVar[tuple[str, ...]] = ("logits", "loss", "row_losses", "rows", "decoded")
    """What the head adds to the model's output, each behind the head's name and an underscore."""
    word_level: ClassVar[bool] = False
    """Whether a label belongs to a word of the row rather than to the row."""

    input: str = "encoded_text"
    metrics: list[str] | None = field(default=None)

    def __post_init__(self) -> None:
        if not isinstance(self.input, str) or not self.input.startswith("encoded_"):
            raise InputError(f"input: expected the name of a backbone output, 'encoded_...', found {self.input!r}.")
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
    def default_metrics(self) -> tuple[str, ...]:
        """Metrics of this head type when the config names none, the primary one first."""
        return ()

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics to compute, the primary one first."""
        return tuple(self.metrics) if self.metrics is not None else self.default_metrics

    @property
    def known_metrics(self) -> tuple[str, ...]:
        """Metrics that make sense for this head."""
        return METRIC_NAMES

    @property
    def score_sign(self) -> int:
        """1 if higher values of the primary metric are better, -1 if lower ones are."""
        primary = self.metric_names[0]
        return 1 if primary.startswith(DOWNLOADED) or higher_is_better(primary) else -1

    def metric_options(self, metric: str) -> dict[str, Any]:
        """Further arguments for [`load_metric`]."""
        return {}

    def resolve(self, default_pooling: str) -> None:  # noqa: B027 a hook
        """
        Replace `"auto"` by what it stands for on the backbone at hand, so that a saved config says it.

        Args:
            default_pooling (`str`): Pooling that suits the backbone.
        """

    def check_complete(self) -> None:  # noqa: B027 a hook
        """
        Make sure that the head can be built.

        Raises:
            InputError: If something is missing that only data or the user can tell, such as the label names.
        """

    def complete(self, sources: Sequence[LabelSource]) -> None:  # noqa: B027 a hook
        """
        Fill what the config leaves open from the label columns that train the head.

        Args:
            sources (`Sequence[LabelSource]`): The label columns of all tasks that feed the head.

        Raises:
            InputError: If the columns cannot train this head, or do not agree.
        """

    @abstractmethod
    def encode_labels(
        self, values: Sequence[Any], source: LabelSource, rows: Sequence[int], word_ids: Sequence[list[int | None]]
    ) -> list[Any]:
        """
        Turn the values of a label column into what [`collate_labels`] takes.

        Args:
            values (`Sequence[Any]`): Values of the column, one a row.
            source (`LabelSource`): Where they come from.
            rows (`Sequence[int]`): Their row numbers in the split, for messages.
            word_ids (`Sequence[list[int | None]]`):
                For each row the word that each sub-token belongs to, as fast tokenizers give it; empty if the head is
                not [`word_level`].

        Returns:
            `list[Any]`: One encoded label a row, of one Arrow type.

        Raises:
            InputError: If a value is no label of this head, naming task, column, row and value.
        """

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
    def metric_inputs(self, metric: str, predictions: np.ndarray, references: np.ndarray) -> tuple[Any, Any]:
        """
        Leave out what is ignored and bring both sides into the form that a metric takes.

        Args:
            metric (`str`): Name of the metric.
            predictions (`np.ndarray` of shape `(rows, ...)`): What [`Head.predictions`] gave.
            references (`np.ndarray` of shape `(rows, ...)`): The labels, ignored entries among them.

        Returns:
            `tuple[Any, Any]`: Predictions and references for `evaluate.Metric.compute`.
        """

    def compute_metrics(self, predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        """
        Score predictions.

        Args:
            predictions (`np.ndarray` of shape `(rows, ...)`): What [`Head.predictions`] gave.
            references (`np.ndarray` of shape `(rows, ...)`): The labels, ignored entries among them.

        Returns:
            `dict[str, float]`: A value for each metric; more than [`metric_names`] where a metric yields several.

        Raises:
            InputError: If not one item is labelled.
        """
        results: dict[str, float] = {}
        for name in self.metric_names:
            kept_predictions, kept_references = self.metric_inputs(name, predictions, references)
            if len(kept_references) == 0:
                raise InputError(f"no labelled row, so that {name} cannot be computed.")
            downloaded = name.startswith(DOWNLOADED)
            metric = load_metric(name.removeprefix(DOWNLOADED), allow_download=downloaded, **self.metric_options(name))
            results.update(metric.compute(predictions=kept_predictions, references=kept_references))
        return results


class Head(nn.Module, ABC):
    """
    A named module on top of the backbone: encoded features in, logits and, with labels, losses out.

    A head of one's own is a config class and a subclass of this one under [`register_head`]. `__init__` gets the
    config and the size of the features, never the model. What `forward` takes is read from its signature: `encoded`
    and `encoded_mask` are the backbone's output that the config's `input` names; any other name is looked for among
    the backbone's outputs and the model's inputs.

    Args:
        config ([`HeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.
    """

    config_class: ClassVar[type[HeadConfig]]

    def __init__(self, config: HeadConfig, hidden_size: int) -> None:
        super().__init__()
        self.config = config
        self.hidden_size = hidden_size
        self._constants: dict[Any, torch.Tensor] = {}

    @abstractmethod
    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """
        Compute logits and, with labels, the losses of the rows.

        Args:
            encoded (`torch.Tensor` of shape `(rows, sequence_length, hidden_size)`): Output of the backbone.
            encoded_mask (`torch.Tensor` of shape `(rows, sequence_length)`): True for tokens, False for padding.
            labels (`torch.Tensor` of shape `(rows, ...)`, *optional*): Labels, -100 or NaN where there is none.

        Returns:
            `dict[str, torch.Tensor]`: `logits` and, with labels, `row_losses` of shape `(rows,)`: the **sum** of the
            item losses of each row. The model divides by the number of items over the whole optimizer step.
        """

    def constant(self, values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
        """
        Numbers of the config as a tensor, made once for each device: they are in the config, so that they are no
        weights, and no change of the weights' dtype may round them.

        Args:
            values (`Sequence[float]`): The numbers.
            like (`torch.Tensor`): Its device and dtype are taken.

        Returns:
            `torch.Tensor` of shape `(len(values),)`.
        """
        key = (tuple(values), like.device, like.dtype)
        if key not in self._constants:
            self._constants[key] = torch.tensor(values, device=like.device, dtype=like.dtype)
        return self._constants[key]

    @abstractmethod
    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """
        Reduce outputs to what the metrics need, so that evaluation keeps no logits.

        Args:
            outputs (`dict[str, torch.Tensor]`): What [`forward`] gave.
            labels (`torch.Tensor` of shape `(rows, ...)`): The labels; only where they are ignored may matter.

        Returns:
            `torch.Tensor` of shape `(rows, ...)`.
        """

    @abstractmethod
    def decode(self, outputs: dict[str, torch.Tensor], words: Sequence[Sequence[Word]]) -> list[Any]:
        """
        Turn outputs into answers for people.

        Args:
            outputs (`dict[str, torch.Tensor]`): What [`forward`] gave.
            words (`Sequence[Sequence[Word]]`): The words of each row; empty for heads that are not `word_level`.

        Returns:
            `list[Any]`: One JSON value a row.
        """


def full_precision(logits: torch.Tensor) -> torch.Tensor:
    """Logits in at least float32, since losses and probabilities in 16 bits lose digits that matter."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
