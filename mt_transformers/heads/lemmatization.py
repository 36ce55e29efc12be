"""The lemma of each word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from .base import IGNORED, EncodedRows, Head, LabelSource, SourceRow, full_precision
from .edit_scripts import apply_edit_script, edit_script_counts, find_edit_script
from .labels import ClassHeadConfig, collate_positions, element_feature
from .registry import register_head
from .words import first_sub_tokens

__all__ = ["LemmatizationHead", "LemmatizationHeadConfig"]


@dataclass(kw_only=True)
class LemmatizationHeadConfig(ClassHeadConfig):
    """
    Config of [`LemmatizationHead`]. Its classes are edit scripts, see [`find_edit_script`]; if `id2label` is left out,
    they are learned from the training split. A lemma that is missing, or `_` as CoNLL-U writes it then, is no label.

    Args:
        min_count (`int`, *optional*, defaults to 1):
            Words of the training split that a script must fit to become a class. A word whose script is no class
            trains nothing, and is wrong in the metrics unless another script leads to its lemma.
        classifier_dropout (`float`, *optional*, defaults to 0.1): Dropout before the classifier (fraction).
    """

    word_level: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("encoded_text", "encoded_text_decoder")
    task_inputs: ClassVar[tuple[str, ...]] = ("tokens",)
    needs_gold: ClassVar[bool] = True
    # hundreds of scripts for each token of a split
    returns_logits: ClassVar[bool] = False

    min_count: int = 1
    classifier_dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.min_count) is not int or self.min_count < 1:
            raise InputError(f"min_count: expected at least 1, found {self.min_count!r}.")
        if not 0 <= self.classifier_dropout < 1:
            raise InputError(f"classifier_dropout: expected a fraction in [0, 1), found {self.classifier_dropout!r}.")
        for script in self.names:
            # refuses what is no script
            apply_edit_script("", script)

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("accuracy",)

    @property
    def known_metrics(self) -> tuple[str, ...]:
        return self.default_metrics

    def check_complete(self) -> None:
        if self.id2label is None:
            raise InputError("id2label is not given, and no training data was read to learn edit scripts from.")

    def complete(self, sources: Sequence[LabelSource]) -> None:
        for source in sources:
            _check_feature(source)
        if self.id2label is None:
            pairs = [pair for source in sources for pair in _pairs(source.read_input("tokens"), source.read())]
            counts = edit_script_counts(pairs)
            scripts = [script for script, count in counts.items() if count >= self.min_count]
            if not scripts:
                raise InputError(f"{sources[0].where}: no edit script fits {self.min_count} word(s).")
            self._set_names(scripts)

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        _check_feature(source)
        known = self.label2id or {}
        encoded = []
        for words, lemmas, word_ids in zip(rows.inputs["tokens"], values, rows.word_ids, strict=True):
            labels = [IGNORED] * len(word_ids)
            for word, position in first_sub_tokens(word_ids).items():
                if lemmas is not None and _has_lemma(words[word], lemmas[word]):
                    labels[position] = known.get(find_edit_script(words[word], lemmas[word]), IGNORED)
            encoded.append(labels)
        return encoded

    def encode_gold(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        gold = []
        for words, lemmas, word_ids in zip(rows.inputs["tokens"], values, rows.word_ids, strict=True):
            kept = [
                (position, words[word], lemmas[word])
                for word, position in first_sub_tokens(word_ids).items()
                if lemmas is not None and _has_lemma(words[word], lemmas[word])
            ]
            # a word at no position, where there is none, tells Arrow the types
            positions, texts, lemma_texts = zip(*(kept or [(IGNORED, "", "")]), strict=True)
            gold.append({"positions": list(positions), "words": list(texts), "lemmas": list(lemma_texts)})
        return gold

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return collate_positions(labels, sequence_length)

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        if gold is None:
            raise InputError("lemmas are scored as texts: their words are needed beside the labels.")
        names = self.names
        right = [
            apply_edit_script(word, names[predictions[row, position]]) == lemma
            for row, kept in enumerate(gold)
            for position, word, lemma in zip(kept["positions"], kept["words"], kept["lemmas"], strict=True)
            if position != IGNORED
        ]
        return np.array(right, dtype=np.int64), np.ones(len(right), dtype=np.int64)


def _check_feature(source: LabelSource) -> None:
    import datasets

    inner = element_feature(source.feature)
    if not isinstance(inner, datasets.Value) or inner.dtype not in ("string", "large_string"):
        raise InputError(f"{source.where}: expected a list with a lemma for each word, found {source.feature}.")


def _pairs(
    words: Iterable[Sequence[str | None] | None], lemmas: Iterable[Sequence[str | None] | None]
) -> list[tuple[str, str]]:
    """
    Words with their lemmas; rows and words without one are left out. What else is wrong with a row is told where rows
    are prepared.
    """
    return [
        (word, str(lemma))
        for row_words, row_lemmas in zip(words, lemmas, strict=True)
        for word, lemma in zip(row_words or (), row_lemmas or (), strict=False)
        if word is not None and _has_lemma(word, lemma)
    ]


def _has_lemma(word: str, lemma: str | None) -> bool:
    """Whether a word has a lemma: CoNLL-U writes an underscore where it has none."""
    return lemma is not None and (lemma != "_" or word == "_")


@register_head("lemmatization")
class LemmatizationHead(Head):
    """
    Classify words by the edit script that makes their lemma, from the encoding of their first sub-token.

    Source: Chrupala, Dinu and van Genabith (2008), https://aclanthology.org/L08-1170, for lemmatization as
    classification; Straka (2018), https://aclanthology.org/K18-2020, section 3.2, beside other heads on one encoding.

    Args:
        config ([`LemmatizationHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.
    """

    config_class = LemmatizationHeadConfig
    config: LemmatizationHeadConfig

    def __init__(self, config: LemmatizationHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(hidden_size, cast(int, config.num_labels))

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        # (rows, sequence_length, num_labels)
        logits = self.classifier(self.dropout(encoded))
        if labels is None:
            return {"logits": logits}
        # (rows, sequence_length)
        losses = functional.cross_entropy(
            full_precision(logits).transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
        )
        return {"logits": logits, "row_losses": losses.sum(dim=1)}

    @property
    def last_layer(self) -> nn.Module:
        """The classifier; it reads all tokens, of shape `(rows, sequence_length, hidden_size)`."""
        return self.classifier

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return outputs["logits"].argmax(dim=-1)

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        scores, best = full_precision(outputs["logits"]).softmax(dim=-1).max(dim=-1)
        names = self.config.names
        return [
            [
                {
                    "lemma": apply_edit_script(word.text, names[row_best[word.position]]),
                    "score": row_scores[word.position],
                    "text": word.text,
                    "start": word.start,
                    "end": word.end,
                }
                for word in row.words
            ]
            for row, row_best, row_scores in zip(rows, best.tolist(), scores.tolist(), strict=True)
        ]
