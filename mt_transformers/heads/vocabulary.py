"""What heads that predict token ids share: the size of the vocabulary, losses over it, and how they are scored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from .backbone_info import BackboneInfo
from .base import IGNORED, EncodedRows, Head, HeadConfig, LabelSource, full_precision

__all__ = ["VocabularyHead", "VocabularyHeadConfig", "token_losses"]


@dataclass(kw_only=True)
class VocabularyHeadConfig(HeadConfig):
    """
    Config of a head that predicts token ids of the row's own text.

    Args:
        vocab_size (`int`, *optional*): Number of token ids; filled from the backbone.
        embedding_size (`int`, *optional*): Width of the backbone's input embeddings; filled from the backbone.
    """

    label_column: ClassVar[Literal["required", "optional", "none"]] = "none"
    makes_sequence: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("encoded_text",)
    returns_logits: ClassVar[bool] = False

    vocab_size: int | None = None
    embedding_size: int | None = None

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("nll", "perplexity")

    @property
    def known_metrics(self) -> tuple[str, ...]:
        return ("nll", "perplexity")

    def score(self, metrics: Mapping[str, float]) -> float:
        """The mean probability (geometric) of the right tokens, which can be averaged with shares that are right."""
        name = self.primary_metric
        if name == "nll":
            return math.exp(-float(metrics[name]))
        return 1 / float(metrics[name]) if name == "perplexity" else super().score(metrics)

    def resolve(self, backbone: BackboneInfo) -> None:
        super().resolve(backbone)
        if backbone.vocab_size is None or backbone.embedding_size is None:
            raise InputError(
                f"{self.head_type} predicts token ids, but the config of a {backbone.model_type!r} backbone says "
                f"nothing of {'its vocabulary' if backbone.vocab_size is None else 'the width of its embeddings'}."
            )
        self.vocab_size, self.embedding_size = backbone.vocab_size, backbone.embedding_size

    def check_complete(self) -> None:
        if self.vocab_size is None or self.embedding_size is None:
            raise InputError("vocab_size, embedding_size: expected those of the backbone (see resolve), found None.")

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return [True] * len(values)

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        items = self.count_items(torch.from_numpy(labels)).numpy()
        return predictions[items > 0, 0], items[items > 0]


class TiedDecoder(nn.Module):
    """
    Scores all tokens by the backbone's own input embeddings, which it is given: it has no weights.

    Example:
        >>> TiedDecoder()(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        tensor([[1., 2., 3.]])
    """

    def forward(
        self, features: torch.Tensor, token_embeddings: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Score.

        Args:
            features (`torch.Tensor` of shape `(..., embedding_size)`): What stands in for a token.
            token_embeddings (`torch.Tensor` of shape `(vocab_size, embedding_size)`): The embeddings.
            bias (`torch.Tensor` of shape `(vocab_size,)`, *optional*): What is added to the score of each token.

        Returns:
            `torch.Tensor` of shape `(..., vocab_size)`.
        """
        return functional.linear(features, token_embeddings, bias)


class VocabularyHead(Head):
    """
    A head whose logits go over the vocabulary: they are products with the backbone's own input embeddings.

    Source: Press and Wolf (2017), https://aclanthology.org/E17-2025, section 3, for tying both embeddings. The head
    gets them as an argument, so that they are trained and saved once, with the backbone.

    Args:
        config ([`VocabularyHeadConfig`]): The head's config, resolved.
        hidden_size (`int`): Size of the encoded features.
    """

    config: VocabularyHeadConfig

    def __init__(self, config: VocabularyHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.decoder = TiedDecoder()

    @property
    def last_layer(self) -> nn.Module:
        """The product with the embeddings; it reads vectors of their width, of shape `(rows, ..., embedding_size)`."""
        return self.decoder

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """The summed loss of each row, shape `(rows, 1)`."""
        return outputs["row_losses"].unsqueeze(1)

    def resize_vocabulary(self, vocab_size: int) -> None:
        self.config.vocab_size = vocab_size


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """
    Cross entropy of each position: `log(sum(exp(logits))) - logits[target]`, in nats.

    Only the logits are kept for the backward pass, where `torch.nn.functional.cross_entropy` keeps their
    probabilities, too: over a vocabulary either is the largest tensor of a training step.

    Args:
        logits (`torch.Tensor` of shape `(rows, positions, vocab_size)`): The logits.
        targets (`torch.Tensor` of shape `(rows, positions)`): Token ids, -100 where there is none.

    Returns:
        `torch.Tensor` of shape `(rows, positions)`, in float32 at least; 0 where there is no target.

    Example:
        >>> token_losses(torch.zeros(1, 2, 8), torch.tensor([[5, -100]]))
        tensor([[2.0794, 0.0000]])
    """
    logits = full_precision(logits)
    chosen = logits.gather(2, targets.clamp(min=0).unsqueeze(2)).squeeze(2)
    return torch.where(targets != IGNORED, logits.logsumexp(dim=2) - chosen, 0.0)
