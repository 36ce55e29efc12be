"""Masked language modelling: the tokens that were hidden from the backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from torch import nn
from transformers.activations import ACT2FN

from ..errors import InputError
from .backbone_info import BackboneInfo
from .base import IGNORED, SourceRow, full_precision
from .config import HeadConfig
from .masking import mask_tokens, row_generator
from .registry import register_head
from .vocabulary import VocabularyHead, VocabularyHeadConfig, token_losses

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["MaskedLanguageModelingHead", "MaskedLanguageModelingHeadConfig"]


@dataclass(kw_only=True)
class MaskedLanguageModelingHeadConfig(VocabularyHeadConfig):
    """
    Config of [`MaskedLanguageModelingHead`].

    Which tokens of a row are hidden depends on `seed`, the epoch and the row's ids alone: not on its batch, on the
    worker that puts it together, nor on where a run was resumed. Evaluations all hide the same ones.

    Source: Devlin et al. (2019), https://aclanthology.org/N19-1423, section 3.1, for the shares; their names are those
    of transformers' `DataCollatorForLanguageModeling`.

    Args:
        mlm_probability (`float`, *optional*, defaults to 0.15):
            Share of a row's tokens that are to be predicted (fraction); of each row one at least.
        mask_replace_prob (`float`, *optional*, defaults to 0.8): Share of those that become the mask token (fraction).
        random_replace_prob (`float`, *optional*, defaults to 0.1):
            Share of those that become a token drawn from the whole vocabulary (fraction); the rest stay what they are.
        seed (`int`, *optional*, defaults to 0): Seed of the choice, from 0.
        mask_token_id (`int`, *optional*): Id of the mask token; by default filled from the tokenizer.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation of the transform before the vocabulary.
        layer_norm_eps (`float`, *optional*, defaults to 1e-12): Epsilon of its layer normalization.
    """

    output_names: ClassVar[tuple[str, ...]] = (*HeadConfig.output_names, "positions")

    mlm_probability: float = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    seed: int = 0
    mask_token_id: int | None = None
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mlm_probability <= 1:
            raise InputError(f"mlm_probability: expected a fraction in (0, 1], found {self.mlm_probability!r}.")
        shares = (self.mask_replace_prob, self.random_replace_prob)
        if min(shares) < 0 or sum(shares) > 1:
            raise InputError(
                f"mask_replace_prob, random_replace_prob: expected fractions from 0, together up to 1, found {shares}."
            )
        for name, value in (("seed", self.seed), ("mask_token_id", self.mask_token_id)):
            if (value is not None or name == "seed") and (type(value) is not int or value < 0):
                raise InputError(f"{name}: expected an integer from 0 up, found {value!r}.")
        if self.hidden_act not in ACT2FN:
            raise InputError(f"hidden_act: expected one of {', '.join(ACT2FN)}, found {self.hidden_act!r}.")
        if self.layer_norm_eps <= 0:
            raise InputError(f"layer_norm_eps: expected a number above 0, found {self.layer_norm_eps!r}.")

    def resolve(self, backbone: BackboneInfo) -> None:
        super().resolve(backbone)
        if backbone.causal:
            raise InputError(
                f"{self.head_type}: a {backbone.model_type!r} backbone only looks back, so that a masked token would "
                "be predicted without the text behind it. Use causal_language_modeling."
            )
        if self.mask_token_id is not None:
            self._check_mask_token()

    def complete_from_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.mask_token_id = self._find_mask_token(tokenizer)
        self._check_mask_token()

    def _find_mask_token(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """The config's own mask token, else the tokenizer's."""
        found = tokenizer.mask_token_id if self.mask_token_id is None else self.mask_token_id
        if found is None:
            raise InputError(
                f"{self.head_type}: expected a tokenizer with a mask token, but {type(tokenizer).__name__} has none: "
                "set tokenizer.mask_token, or the head's mask_token_id."
            )
        return int(found)

    def _check_mask_token(self) -> None:
        found = cast(int, self.mask_token_id)
        if self.vocab_size is not None and found >= self.vocab_size:
            raise InputError(
                f"mask_token_id: the backbone knows the ids 0 to {self.vocab_size - 1}, found {found}. After a token "
                "was added, resize_token_embeddings brings the model up to the tokenizer."
            )

    def make_sequence(
        self, input_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, epoch: int
    ) -> tuple[list[int] | None, Any]:
        self.check_complete()
        ids = np.asarray(input_ids, dtype=np.int64)
        masked, positions = mask_tokens(
            ids,
            np.isin(ids, tokenizer.all_special_ids),
            self._find_mask_token(tokenizer),
            cast(int, self.vocab_size),
            # evaluation has the epoch -1, and seeds start from 0
            row_generator(self.seed, epoch + 1, ids),
            self.mlm_probability,
            self.mask_replace_prob,
            self.random_replace_prob,
        )
        return masked.tolist(), list(zip(positions.tolist(), ids[positions].tolist(), strict=True))

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        most = max((len(label) for label in labels if label is not None), default=0)
        collated = np.full((len(labels), most, 2), IGNORED, dtype=np.int64)
        for row, label in enumerate(labels):
            if label:
                collated[row, : len(label)] = label
        return torch.from_numpy(collated)

    def count_items(self, labels: torch.Tensor) -> torch.Tensor:
        return (labels[..., 0] != IGNORED).sum(dim=1)


@register_head("masked_language_modeling")
class MaskedLanguageModelingHead(VocabularyHead):
    """
    Predict the tokens that were hidden: a transform to the width of the input embeddings, then their transpose.

    The transform is dense, an activation and layer normalization, as in the prediction head of the code published with
    Devlin et al. (2019), https://aclanthology.org/N19-1423; each token has a bias. Logits are computed for the hidden
    positions only.

    Without labels the head answers the mask tokens of the text. `positions`, of shape `(rows, masked)`, says where the
    logits of shape `(rows, masked, vocab_size)` belong, counted from the row's first token; -1 where there are fewer.

    Args:
        config ([`MaskedLanguageModelingHeadConfig`]): The head's config, resolved.
        hidden_size (`int`): Size of the encoded features.
    """

    config_class = MaskedLanguageModelingHeadConfig
    config: MaskedLanguageModelingHeadConfig

    def __init__(self, config: MaskedLanguageModelingHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        embedding_size = cast(int, config.embedding_size)
        self.dense = nn.Linear(hidden_size, embedding_size)
        self.activation = ACT2FN[config.hidden_act]
        self.layer_norm = nn.LayerNorm(embedding_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.empty(cast(int, config.vocab_size)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin without a bias."""
        nn.init.zeros_(self.bias)

    def resize_vocabulary(self, vocab_size: int) -> None:
        super().resize_vocabulary(vocab_size)
        bias = self.bias.detach()[:vocab_size]
        added = bias.new_zeros(vocab_size - len(bias))
        self.bias = nn.Parameter(torch.cat([bias, added]), requires_grad=self.bias.requires_grad)

    def forward(  # type: ignore[override]
        self,
        encoded: torch.Tensor,
        encoded_mask: torch.Tensor,
        labels: torch.Tensor | None = None,
        *,
        token_embeddings: torch.Tensor,
        token_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        Predict the hidden tokens, or without labels the mask tokens.

        Args:
            encoded (`torch.Tensor` of shape `(rows, sequence_length, hidden_size)`): Output of the backbone.
            encoded_mask (`torch.Tensor` of shape `(rows, sequence_length)`): True for tokens, False for padding.
            labels (`torch.Tensor` of shape `(rows, masked, 2)`, *optional*):
                Position, counted from the row's first token, and id of each token to predict; -100 for none.
            token_embeddings (`torch.Tensor` of shape `(vocab_size, embedding_size)`):
                Weight of the backbone's input embeddings.
            token_ids (`torch.Tensor` of shape `(rows, sequence_length)`, *optional*):
                The ids that the backbone read, to find the mask tokens in; not needed with labels.

        Returns:
            `dict[str, torch.Tensor]`: `logits`, `positions` and, with labels, `row_losses`.

        Raises:
            InputError: If there are neither labels nor ids, or the id of the mask token is not known.
        """
        # the first token of each row, which may have its padding on the left
        first = encoded_mask.int().argmax(dim=1, keepdim=True)
        if labels is None:
            positions = self._mask_positions(encoded_mask, token_ids, first)
        else:
            positions = labels[..., 0].clamp(min=-1)
        # (rows, masked, embedding_size)
        features = self.layer_norm(self.activation(self.dense(_take(encoded, positions.clamp(min=0) + first))))
        # (rows, masked, vocab_size)
        logits = self.decoder(features, token_embeddings, self.bias)
        outputs = {"logits": logits, "positions": positions}
        if labels is not None:
            outputs["row_losses"] = token_losses(logits, labels[..., 1]).sum(dim=1)
        return outputs

    def _mask_positions(
        self, encoded_mask: torch.Tensor, token_ids: torch.Tensor | None, first: torch.Tensor
    ) -> torch.Tensor:
        """Where the mask tokens of each row are, counted from its first token; -1 where it has fewer than others."""
        if token_ids is None:
            raise InputError(f"{self.config.head_type}: expected input_ids to find the mask tokens in, found none.")
        if self.config.mask_token_id is None:
            raise InputError(
                f"{self.config.head_type}: mask_token_id: expected the id of the mask token, found None. Training "
                "fills it from the tokenizer; without any give it to the head's config."
            )
        found = (token_ids == self.config.mask_token_id) & encoded_mask
        numbers = found.sum(dim=1, keepdim=True)
        most = int(numbers.max())
        # the places of the mask tokens in front, in their order
        places = found.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        return torch.where(torch.arange(most, device=places.device) < numbers, places - first, -1)

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        """The best token for each position; `token` is None where no tokenizer can tell it."""
        scores, ids = full_precision(outputs["logits"]).softmax(dim=2).max(dim=2)
        answers = []
        columns = (outputs["positions"].tolist(), ids.tolist(), scores.tolist())
        for row, *found in zip(rows, *columns, strict=True):
            answers.append(
                [
                    {"position": position, "token": row.to_tokens(token) if row.to_tokens else None, "score": score}
                    for position, token, score in zip(*found, strict=True)
                    if position >= 0
                ]
            )
        return answers


def _take(encoded: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """
    Take some positions of each row.

    Args:
        encoded (`torch.Tensor` of shape `(rows, sequence_length, hidden_size)`): The features.
        places (`torch.Tensor` of shape `(rows, taken)`): Indices of the positions.

    Returns:
        `torch.Tensor` of shape `(rows, taken, hidden_size)`.
    """
    rows, length, hidden_size = encoded.shape
    # one index over all rows: its gradient is an addition by index, which also runs deterministically
    index = places + torch.arange(rows, device=places.device).unsqueeze(1) * length
    return encoded.flatten(0, 1).index_select(0, index.flatten()).reshape(*places.shape, hidden_size)
