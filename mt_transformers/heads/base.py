"""What every head is: a module that turns encoded features into logits and losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from .config import DOWNLOADED, IGNORED, HeadConfig, item_mask
from .reading import FeatureReader
from .rows import EncodedRows, LabelSource, SourceRow, Word

__all__ = [
    "DOWNLOADED",
    "IGNORED",
    "EncodedRows",
    "Head",
    "HeadConfig",
    "LabelSource",
    "SourceRow",
    "Word",
    "full_precision",
    "item_mask",
]


class Head(nn.Module, ABC):
    """
    A named module on top of the backbone: encoded features in, logits and, with labels, losses out.

    A head of one's own is a config class and a subclass of this one under [`register_head`]. `__init__` gets the
    config and the size of the features, never the model. What `forward` takes is read from its signature: `encoded`
    and `encoded_mask` are what the config's `input` and `layer` name of the backbone's outputs; `token_embeddings` is
    the weight of its input embeddings; any other name is looked for among the backbone's outputs and the model's
    inputs. What `forward` gives beside `logits` and `row_losses` has to be named in the config's `output_names`.
    A module that owns parameters directly, as `nn.Linear` does, needs a `reset_parameters`.

    Args:
        config ([`HeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.
    """

    config_class: ClassVar[type[HeadConfig]]

    def __init__(self, config: HeadConfig, hidden_size: int) -> None:
        super().__init__()
        self.config = config
        self.hidden_size = hidden_size
        self.reader = FeatureReader(config)
        self._constants: dict[Any, torch.Tensor] = {}

    @abstractmethod
    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """
        Compute logits and, with labels, the losses of the rows.

        Args:
            encoded (`torch.Tensor` of shape `(rows, sequence_length, hidden_size)`): Output of the backbone; of shape
                `(rows, sequences, sequence_length, hidden_size)` for heads that are `multi_sequence`.
            encoded_mask (`torch.Tensor` of shape `(rows, sequence_length)`): True for tokens, False for padding, and
                with a dimension of sequences as above, all False where a row has fewer.
            labels (`torch.Tensor` of shape `(rows, ...)`, *optional*): Labels, -100 or NaN where there is none.

        Returns:
            `dict[str, torch.Tensor]`: `logits` and, with labels, `row_losses` of shape `(rows,)`: the **sum** of the
            item losses of each row. The model divides by the number of items over the whole optimizer step.
        """

    @property
    def last_layer(self) -> nn.Module | None:
        """
        The head's classification layer: what it takes first are the head's features, what it gives becomes logits.

        A module of the head that is called `last_layer`, unless a head says otherwise. Where there is none (None), the
        features are what the head reads of the backbone, `encoded`. Where `forward` calls it several times, the first
        call makes the logits.
        """
        return self._modules.get("last_layer")

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
            # a prediction may be the first to ask, and training could not use what it makes
            with torch.inference_mode(False):
                self._constants[key] = torch.tensor(values, device=like.device, dtype=like.dtype)
        return self._constants[key]

    @abstractmethod
    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """
        Reduce outputs to what the metrics need, so that evaluation keeps no logits.

        Args:
            outputs (`dict[str, torch.Tensor]`): What [`forward`] gave, row losses among it.
            labels (`torch.Tensor` of shape `(rows, ...)`): The labels; only where they are ignored may matter.

        Returns:
            `torch.Tensor` of shape `(rows, ...)`.
        """

    @abstractmethod
    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        """
        Turn outputs into answers for people.

        A head that can answer in several ways takes keyword arguments, which the config's `answer_options` name:
        `top_k`, how many answers to give, and `threshold`, the probability from which one counts.

        Args:
            outputs (`dict[str, torch.Tensor]`): What [`forward`] gave.
            rows (`Sequence[SourceRow]`): What the tokens of each row stand for.

        Returns:
            `list[Any]`: One JSON value a row.
        """

    def resize_vocabulary(self, vocab_size: int) -> None:
        """
        Follow the backbone's vocabulary.

        Args:
            vocab_size (`int`): Its new size.
        """


def full_precision(logits: torch.Tensor) -> torch.Tensor:
    """Logits in at least float32, since losses and probabilities in 16 bits lose digits that matter."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
