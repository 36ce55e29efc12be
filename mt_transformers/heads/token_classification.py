"""A label for each word: tags, entities, slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from .base import IGNORED, EncodedRows, LabelSource, SourceRow, full_precision
from .growing import GrowingHead
from .labels import ClassHeadConfig, check_label_feature, collate_positions, element_feature, label_ids
from .linear_chain import LinearChainCrf
from .registry import register_head
from .transitions import (
    LabelScheme,
    allowed_transitions,
    best_valid_sequence,
    check_scheme,
    entity_spans,
    find_scheme,
)
from .words import first_sub_tokens

__all__ = ["TokenClassificationHead", "TokenClassificationHeadConfig"]


@dataclass(kw_only=True)
class TokenClassificationHeadConfig(ClassHeadConfig):
    """
    Config of [`TokenClassificationHead`].

    Args:
        label_scheme (`str`, *optional*, defaults to `"auto"`):
            `bio` or `bioes` where the labels mark entities: only valid sequences are predicted, and entities are
            scored. `plain` where each word has a label of its own. `auto` goes by the label names.
        crf (`bool`, *optional*, defaults to `False`):
            Whether labels are learned and predicted as sequences, by a linear-chain conditional random field. The loss
            is still one a word: minus the log probability of the rows' labels, divided by their words.
        classifier_dropout (`float`, *optional*, defaults to 0.1): Dropout before the classifier (fraction).
    """

    word_level: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("encoded_text", "encoded_text_decoder")

    label_scheme: LabelScheme = "auto"
    crf: bool = False
    classifier_dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.label_scheme not in get_args(LabelScheme):
            expected = ", ".join(get_args(LabelScheme))
            raise InputError(f"label_scheme: expected one of {expected}, found {self.label_scheme!r}.")
        super().__post_init__()
        if type(self.crf) is not bool:
            raise InputError(f"crf: expected true or false, found {self.crf!r}.")
        if not 0 <= self.classifier_dropout < 1:
            raise InputError(f"classifier_dropout: expected a fraction in [0, 1), found {self.classifier_dropout!r}.")
        if self.label_scheme in ("bio", "bioes") and self.names:
            check_scheme(self.names, self.label_scheme)

    @property
    def scheme(self) -> str:
        """How entities are written, `auto` resolved."""
        return find_scheme(self.names) if self.label_scheme == "auto" else self.label_scheme

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("accuracy", "f1_macro") if self.scheme == "plain" else ("entity_f1", "accuracy")

    @property
    def known_metrics(self) -> tuple[str, ...]:
        known = ("accuracy", "f1_macro", "f1_micro", "f1_weighted", "matthews_correlation")
        return known if self.names and self.scheme == "plain" else ("entity_f1", *known)

    def class_feature(self, source: LabelSource) -> Any:
        inner = element_feature(source.feature)
        if inner is None:
            raise InputError(f"{source.where}: expected a list with a label for each word, found {source.feature}.")
        return inner

    def grown(self, labels: Sequence[str]) -> TokenClassificationHeadConfig:
        if self.crf:
            raise InputError(
                "crf: its scores of one label after another are learned for all labels together, none can be added."
            )
        grown = super().grown(labels)
        if grown.scheme != self.scheme:
            raise InputError(
                f"label_scheme is 'auto': with {', '.join(labels)} it would be {grown.scheme!r}, so far it is "
                f"{self.scheme!r}, and the labels that there are would be read in another way."
            )
        return grown

    def check_complete(self) -> None:
        super().check_complete()
        if self.label_scheme in ("bio", "bioes"):
            check_scheme(self.names, self.label_scheme)

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        feature = self.class_feature(source)
        check_label_feature(feature, source)
        flat = [label for value in values for label in value or ()]
        owner = [row for row, value in zip(rows.numbers, values, strict=True) for _ in value or ()]
        ids = label_ids(flat, feature, source, owner, self)
        encoded, start = [], 0
        for value, words in zip(values, rows.word_ids, strict=True):
            end = start + len(value or ())
            encoded.append(_on_first_sub_tokens(ids[start:end], words))
            start = end
        return encoded

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return collate_positions(labels, sequence_length)

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        kept = labels != IGNORED
        if not metric.startswith("entity"):
            return predictions[kept], labels[kept]
        names = np.array(self.names, dtype=object)
        rows = np.flatnonzero(kept.any(axis=1))
        return (
            [names[predictions[row, kept[row]]].tolist() for row in rows],
            [names[labels[row, kept[row]]].tolist() for row in rows],
        )

    def metric_options(self, metric: str) -> dict[str, Any]:
        return {"scheme": self.scheme} if metric == "entity_f1" else {}


def _on_first_sub_tokens(ids: np.ndarray, word_ids: list[int | None]) -> list[int]:
    """Labels of words, put on the first sub-token of each; all other sub-tokens are ignored."""
    encoded = [IGNORED] * len(word_ids)
    for word, position in first_sub_tokens(word_ids).items():
        if word < len(ids):
            encoded[position] = int(ids[word])
    return encoded


@register_head("token_classification")
class TokenClassificationHead(GrowingHead):
    """
    Classify words by the encoding of their first sub-token (Devlin et al. 2019, section 5.3), each by itself or, with
    `crf`, as a sequence (see [`LinearChainCrf`]).

    Args:
        config ([`TokenClassificationHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.
    """

    config_class = TokenClassificationHeadConfig
    config: TokenClassificationHeadConfig

    def __init__(self, config: TokenClassificationHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(hidden_size, cast(int, config.num_labels))
        self.crf = LinearChainCrf(cast(int, config.num_labels), self._allowed) if config.crf else None

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        # (rows, sequence_length, num_labels)
        logits = self.classifier(self.dropout(encoded))
        if labels is None:
            return {"logits": logits}
        if self.crf is not None:
            return {
                "logits": logits,
                "row_losses": self.crf.negative_log_likelihood(logits, labels, labels != IGNORED),
            }
        # (rows, sequence_length)
        losses = functional.cross_entropy(
            full_precision(logits).transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
        )
        return {"logits": logits, "row_losses": losses.sum(dim=1)}

    @property
    def last_layer(self) -> nn.Module:
        """The classifier; it reads all tokens, of shape `(rows, sequence_length, hidden_size)`."""
        return self.classifier

    @property
    def _allowed(self) -> torch.Tensor | None:
        scheme = self.config.scheme
        return None if scheme == "plain" else allowed_transitions(tuple(self.config.names), scheme)

    def _best_labels(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Ids of the best labels, shape `(rows, sequence_length)`; a valid sequence where the labels mark entities."""
        if self.crf is not None:
            return self.crf.best_sequence(logits, mask)
        allowed = self._allowed
        return logits.argmax(dim=-1) if allowed is None else best_valid_sequence(logits, mask, allowed)

    def _probabilities(self, logits: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Probability of each label, shape `(rows, sequence_length)`; under a CRF over all sequences that hold it."""
        if self.crf is None:
            return logits.softmax(dim=-1).gather(2, labels.unsqueeze(2)).squeeze(2)
        # the loss of a sequence falls with the logit of one of its labels as fast as that label is improbable
        with torch.inference_mode(False), torch.enable_grad():
            logits = logits.detach().clone().requires_grad_()
            losses = self.crf.negative_log_likelihood(logits, labels, mask)
            (slopes,) = torch.autograd.grad(losses.sum(), logits)
        return (1 + slopes.gather(2, labels.unsqueeze(2)).squeeze(2)).clamp(min=0, max=1)

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return self._best_labels(outputs["logits"], labels != IGNORED)

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        words = [row.words for row in rows]
        logits = full_precision(outputs["logits"])
        mask = torch.zeros(logits.shape[:2], dtype=torch.bool)
        for number, row_words in enumerate(words):
            mask[number, [word.position for word in row_words]] = True
        mask = mask.to(logits.device)
        best = self._best_labels(logits, mask)
        scores = self._probabilities(logits, mask, best)
        answer = self._words if self.config.scheme == "plain" else self._entities
        return [
            answer(row, row_best, row_scores)
            for row, row_best, row_scores in zip(rows, best.tolist(), scores.tolist(), strict=True)
        ]

    def _words(self, row: SourceRow, best: list[int], scores: list[float]) -> list[dict[str, Any]]:
        return [
            {
                "label": self.config.names[best[word.position]],
                "score": scores[word.position],
                "text": word.text,
                "start": word.start,
                "end": word.end,
            }
            for word in row.words
        ]

    def _entities(self, row: SourceRow, best: list[int], scores: list[float]) -> list[dict[str, Any]]:
        words = row.words
        spans = entity_spans([self.config.names[best[word.position]] for word in words])
        return [
            {
                "label": kind,
                "score": sum(scores[word.position] for word in words[first:last]) / (last - first),
                "text": row.text[words[first].start : words[last - 1].end],
                "start": words[first].start,
                "end": words[last - 1].end,
            }
            for kind, first, last in spans
        ]
