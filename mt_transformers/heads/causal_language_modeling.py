"""Causal language modelling: at each token the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ..errors import InputError
from .backbone_info import BackboneInfo
from .base import IGNORED, SourceRow, full_precision
from .labels import collate_positions
from .pooling import Pooling
from .registry import register_head
from .vocabulary import VocabularyHead, VocabularyHeadConfig, token_losses

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["CausalLanguageModelingHead", "CausalLanguageModelingHeadConfig"]


@dataclass(kw_only=True)
class CausalLanguageModelingHeadConfig(VocabularyHeadConfig):
    """Config of [`CausalLanguageModelingHead`]."""

    def resolve(self, backbone: BackboneInfo) -> None:
        super().resolve(backbone)
        if not backbone.causal:
            raise InputError(
                f"{self.head_type}: a {backbone.model_type!r} backbone looks both ways, so that it sees the tokens "
                "that it is to predict. Use masked_language_modeling."
            )

    def make_sequence(
        self, input_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, epoch: int
    ) -> tuple[list[int] | None, Any]:
        return None, [*input_ids[1:], IGNORED]

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return collate_positions(labels, sequence_length)


@register_head("causal_language_modeling")
class CausalLanguageModelingHead(VocabularyHead):
    """
    Predict the next token: encoded features times the transpose of the input embeddings, without bias.

    Source: Radford et al. (2018), "Improving Language Understanding by Generative Pre-Training", equation 2; GPT-2 and
    those Llama models that tie both embeddings do the same. Where the embeddings are narrower than the features, a
    linear layer without bias comes first, as in OPT (Zhang et al. 2022, https://arxiv.org/abs/2205.01068, in the code
    published with it). What else some models do to their logits, such as capping them, is left out.

    `logits`, of shape `(rows, vocab_size)`, are those of the token behind each row's last one. Those of all other
    positions are needed for the loss only: over a whole vocabulary they are too large to be handed on.

    Args:
        config ([`CausalLanguageModelingHeadConfig`]): The head's config, resolved.
        hidden_size (`int`): Size of the encoded features.
    """

    config_class = CausalLanguageModelingHeadConfig
    config: CausalLanguageModelingHeadConfig

    def __init__(self, config: CausalLanguageModelingHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        embedding_size = cast(int, config.embedding_size)
        self.pooler = Pooling("last", hidden_size)
        self.dense = nn.Linear(hidden_size, embedding_size, bias=False) if embedding_size != hidden_size else None

    def forward(  # type: ignore[override]
        self,
        encoded: torch.Tensor,
        encoded_mask: torch.Tensor,
        labels: torch.Tensor | None = None,
        *,
        token_embeddings: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """
        Predict the token behind each row and, with labels, compute the losses of those within it.

        Args:
            encoded (`torch.Tensor` of shape `(rows, sequence_length, hidden_size)`): Output of the backbone.
            encoded_mask (`torch.Tensor` of shape `(rows, sequence_length)`): True for tokens, False for padding.
            labels (`torch.Tensor` of shape `(rows, sequence_length)`, *optional*):
                Id of the next token at each position, -100 for none.
            token_embeddings (`torch.Tensor` of shape `(vocab_size, embedding_size)`):
                Weight of the backbone's input embeddings.

        Returns:
            `dict[str, torch.Tensor]`: `logits` and, with labels, `row_losses`.
        """
        outputs = {"logits": self._logits(self.pooler(encoded, encoded_mask), token_embeddings)}
        if labels is not None:
            # (rows, sequence_length, vocab_size)
            logits = self._logits(encoded, token_embeddings)
            outputs["row_losses"] = token_losses(logits, labels).sum(dim=1)
        return outputs

    def _logits(self, features: torch.Tensor, token_embeddings: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.decoder(features if self.dense is None else self.dense(features), token_embeddings)
        return logits

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        """The most likely next token of each row; `token` is None where no tokenizer can tell it."""
        scores, ids = full_precision(outputs["logits"]).softmax(dim=1).max(dim=1)
        return [
            {"token": row.to_tokens(token) if row.to_tokens else None, "score": score}
            for row, token, score in zip(rows, ids.tolist(), scores.tolist(), strict=True)
        ]
