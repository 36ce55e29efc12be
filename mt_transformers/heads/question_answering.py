"""The answer to a question as a span of a context, which may be longer than a sequence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ..errors import InputError
from .answer_spans import best_spans
from .backbone_info import BackboneInfo
from .base import IGNORED, EncodedRows, Head, HeadConfig, LabelSource, SourceRow, full_precision
from .registry import register_head
from .squad_answers import (
    NOWHERE,
    answer_characters,
    answer_tokens,
    check_answer_feature,
    context_range,
    read_answers,
)

__all__ = ["QuestionAnsweringHead", "QuestionAnsweringHeadConfig"]

_UNLABELLED = [IGNORED] * 4
_UNKNOWN = {"answer": None, "score": None, "start": None, "end": None}


@dataclass(kw_only=True)
class QuestionAnsweringHeadConfig(HeadConfig):
    """
    Config of [`QuestionAnsweringHead`].

    A label is SQuAD's struct: `text`, a list of gold answers, and `answer_start`, a list with the offset of each in
    the context (characters). The row trains towards the first gold answer that a window of the context holds whole;
    metrics take all of them.

    Args:
        stride (`int`, *optional*, defaults to 128):
            Tokens that two windows of a long context share, as `stride` of Hugging Face's tokenizers has it; fewer
            where half of `max_length` does not leave so many for a context. An answer of up to so many tokens is whole
            in some window.
        max_answer_length (`int`, *optional*, defaults to 30):
            The most tokens of a predicted answer; the default is that of Devlin et al.'s (2019) code for SQuAD.
        allow_no_answer (`bool`, *optional*, defaults to `False`):
            Whether a question may have no answer. An empty list then is a label: the row trains towards the first
            token of each window, which is `[CLS]` in BERT. Without it the row has no label.
        no_answer_threshold (`float`, *optional*, defaults to 0.0):
            No answer is predicted if its score is above the best span's by more than this (a difference of logits);
            Devlin et al.'s (2019) threshold, section 4.3, with the other sign.
        classifier_dropout (`float`, *optional*, defaults to 0.1): Dropout before the last layer (fraction).
    """

    reads: ClassVar[tuple[str, ...]] = ("encoded_text", "encoded_text_decoder")
    task_inputs: ClassVar[tuple[str, ...]] = ("question", "context")
    answer_inputs: ClassVar[tuple[str, ...]] = ("question", "context")
    multi_sequence: ClassVar[bool] = True
    needs_gold: ClassVar[bool] = True
    # batches differ both in windows and in tokens, so that their logits cannot be joined
    returns_logits: ClassVar[bool] = False

    stride: int = 128
    max_answer_length: int = 30
    allow_no_answer: bool = False
    no_answer_threshold: float = 0.0
    classifier_dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("stride", 0), ("max_answer_length", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InputError(f"{name}: expected at least {least} (tokens), found {value!r}.")
        if type(self.allow_no_answer) is not bool:
            raise InputError(f"allow_no_answer: expected true or false, found {self.allow_no_answer!r}.")
        if not math.isfinite(self.no_answer_threshold):
            raise InputError(f"no_answer_threshold: expected a finite number, found {self.no_answer_threshold!r}.")
        if self.no_answer_threshold and not self.allow_no_answer:
            raise InputError(f"no_answer_threshold: {self.no_answer_threshold!r} has no effect, set allow_no_answer.")
        if not 0 <= self.classifier_dropout < 1:
            raise InputError(f"classifier_dropout: expected a fraction in [0, 1), found {self.classifier_dropout!r}.")

    @property
    def default_metrics(self) -> tuple[str, ...]:
        # F1 first: it is what SQuAD's leaderboard and the papers rank by
        return ("answer_f1", "exact_match")

    @property
    def known_metrics(self) -> tuple[str, ...]:
        return self.default_metrics

    @property
    def window_stride(self) -> int | None:
        return self.stride

    def resolve(self, backbone: BackboneInfo) -> None:
        super().resolve(backbone)
        if self.allow_no_answer and backbone.causal:
            raise InputError(
                f"allow_no_answer: a {backbone.model_type!r} backbone only looks back, so that its first token, which "
                "stands for no answer, knows nothing of the question."
            )

    def complete(self, sources: Sequence[LabelSource]) -> None:
        for source in sources:
            check_answer_feature(source)

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        check_answer_feature(source)
        encoded, lost = [], 0
        for number, row in enumerate(rows.numbers):
            context, windows = rows.inputs["context"][number], rows.offsets[number]
            answers = read_answers(values[number], context, f"{source.where}, row {row}")
            if answers is None or not (answers or self.allow_no_answer):
                encoded.append([_UNLABELLED] * len(windows))
                continue
            places = answer_tokens(answers, windows) if answers else [(0, 0)] * len(windows)
            lost += all(place == NOWHERE for place in places)
            encoded.append([[*context_range(spans), *place] for spans, place in zip(windows, places, strict=True)])
        if lost:
            warnings.warn(
                f"{source.where}: of {lost} row(s) among {rows.numbers[0]} to {rows.numbers[-1]} no window of the "
                "context holds an answer whole, so that they train nothing: raise max_length or stride.",
                stacklevel=2,
            )
        return encoded

    def encode_gold(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return [
            {
                "context": context,
                "offsets": [[span or (0, 0) for span in window] for window in windows],
                # an empty text is what no answer is scored as, and tells Arrow the type
                "answers": list((value or {}).get("text") or [""]),
            }
            for value, context, windows in zip(values, rows.inputs["context"], rows.offsets, strict=True)
        ]

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        """
        Put encoded labels of several rows into one tensor.

        Args:
            labels, sequence_length: As [`HeadConfig.collate_labels`] takes them.

        Returns:
            `torch.Tensor` of shape `(rows, windows, 4)`: for each window the position of its first context token and
            the one behind its last, and the first and the last token of the answer. -100 in all four where the row has
            no label or fewer windows, in the last two where the answer is not whole in the window.
        """
        windows = max((len(label) for label in labels if label is not None), default=1)
        collated = np.full((len(labels), windows, len(_UNLABELLED)), IGNORED, dtype=np.int64)
        for row, label in enumerate(labels):
            if label is not None:
                collated[row, : len(label)] = label
        return torch.from_numpy(collated)

    def count_items(self, labels: torch.Tensor) -> torch.Tensor:
        """Count the questions: 1 for a row whose answer is whole in some window, else 0; shape `(rows,)`."""
        return (labels[..., 2] != IGNORED).any(dim=1).long()

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        if gold is None:
            raise InputError(f"{metric}: expected the contexts and gold answers of the rows, found labels alone.")
        answered = (labels[..., 0] != IGNORED).any(axis=1)
        answers, references = [], []
        for span, kept, is_answered in zip(predictions.tolist(), gold, answered, strict=True):
            if is_answered:
                characters = answer_characters(span, kept["context"], kept["offsets"])
                answers.append("" if characters is None else kept["context"][slice(*characters)])
                references.append(kept["answers"])
        return answers, references


def _log_sum_exp(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """
    Add up the probabilities of some tokens of all of a row's windows, as a logarithm and not normalised.

    Args:
        scores (`torch.Tensor` of shape `(rows, windows, sequence_length, 2)`): Start and end logits.
        mask (`torch.Tensor`): True for these tokens; of that shape, or with 1 as the last dimension.

    Returns:
        `torch.Tensor` of shape `(rows, 2)`; the lowest number that there is for a row without such a token.
    """
    # minus infinity would put NaN into the backward pass of a row without a label
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).logsumexp(dim=(1, 2))


@register_head("question_answering")
class QuestionAnsweringHead(Head):
    """
    Find the answer to a question in a context: two scores for each token, of being the answer's first and its last.

    Where the context is cut into windows, probabilities are normalised over the tokens of all of them, so that scores
    of several windows can be compared, and an answer counts in all windows that hold it whole:
    `loss = -log(sum of exp(score) over the answer's places / sum of exp(score) over all tokens of the context)`, once
    for first and once for last tokens. An item is a question.

    If a question may have no answer, the first tokens of its windows take part, and stand for that. Their score is the
    logarithm of the sum over the windows of `exp(score)`, which for one window is the score itself.

    `logits` hold start and end scores in their last dimension. They are not masked: which tokens are the context's,
    [`forward`] only knows with labels and [`decode`] from the offsets.

    Source: Devlin et al. (2019), https://aclanthology.org/N19-1423, section 4.2 for the scores and the sum of both
    losses, 4.3 for no answer; Clark and Gardner (2018), https://aclanthology.org/P18-1078, section 3.2 for the shared
    normalisation and equation 1 for the sum over an answer's places; questions without an answer as in Rajpurkar et
    al. (2018), https://aclanthology.org/P18-2124.

    Args:
        config ([`QuestionAnsweringHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.

    Example:
        >>> config = QuestionAnsweringHeadConfig()
        >>> head = QuestionAnsweringHead(config, hidden_size=4).eval()
        >>> labels = config.collate_labels([[[2, 5, 3, 4], [2, 4, -100, -100]]], sequence_length=6)
        >>> outputs = head(torch.zeros(1, 2, 6, 4), torch.ones(1, 2, 6), labels)
        >>> outputs["logits"].shape, outputs["row_losses"].exp()  # 1 of 5 tokens, twice
        (torch.Size([1, 2, 6, 2]), tensor([25.0000], grad_fn=<ExpBackward0>))
    """

    config_class = QuestionAnsweringHeadConfig
    config: QuestionAnsweringHeadConfig

    def __init__(self, config: QuestionAnsweringHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.qa_outputs = nn.Linear(hidden_size, 2)

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        # (rows, windows, sequence_length, 2)
        logits = self.qa_outputs(self.dropout(encoded))
        if labels is None:
            return {"logits": logits}
        # the batch may hold rows of other tasks that have more windows
        scores = full_precision(logits)[:, : labels.shape[1]]
        return {"logits": logits, "row_losses": self._losses(scores, labels)}

    @property
    def last_layer(self) -> nn.Module:
        """Gives both scores; it reads all tokens, of shape `(rows, windows, sequence_length, hidden_size)`."""
        return self.qa_outputs

    def _losses(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        # (sequence_length, 1)
        positions = torch.arange(scores.shape[2], device=scores.device).unsqueeze(1)
        # (rows, windows, sequence_length, 2)
        gold = positions == labels[..., 2:].unsqueeze(2)
        context, windows = _labelled_context(labels, scores.shape[2])
        candidates = self._candidates(context, windows).unsqueeze(-1)
        losses = (_log_sum_exp(scores, candidates) - _log_sum_exp(scores, gold)).sum(dim=1)
        return torch.where(self.config.count_items(labels) > 0, losses, 0.0)

    def _candidates(self, context: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        """Mask of the tokens over which probabilities are normalised."""
        return context | _first_tokens(context, windows) if self.config.allow_no_answer else context

    def _answers(
        self, scores: torch.Tensor, context: torch.Tensor, windows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Choose each row's answer.

        Args:
            scores (`torch.Tensor` of shape `(rows, windows, sequence_length, 2)`): Start and end logits.
            context (`torch.Tensor` of shape `(rows, windows, sequence_length)`): True for tokens of the context.
            windows (`torch.Tensor` of shape `(rows, windows)`): True for windows that the row has.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Window, first and last token, of shape `(rows, 3)`, -1 for no answer,
            and the logarithm of its probability, of shape `(rows,)`.
        """
        scores = scores.double()
        spans, best = best_spans(scores[..., 0], scores[..., 1], context, self.config.max_answer_length)
        none = best == -torch.inf
        if self.config.allow_no_answer:
            none_score = _log_sum_exp(scores, _first_tokens(context, windows).unsqueeze(-1)).sum(dim=1)
            none |= none_score > best + self.config.no_answer_threshold
            best = torch.where(none, none_score, best)
        total = _log_sum_exp(scores, self._candidates(context, windows).unsqueeze(-1)).sum(dim=1)
        return torch.where(none.unsqueeze(1), -1, spans), best - total

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """
        Reduce outputs to the answers' places.

        Args:
            outputs (`dict[str, torch.Tensor]`): What [`forward`] gave.
            labels (`torch.Tensor` of shape `(rows, windows, 4)`): The labels; they tell where the context stands.

        Returns:
            `torch.Tensor` of shape `(rows, 3)`, integers: window, first and last token, -1 for no answer and for rows
            without a label.
        """
        scores = full_precision(outputs["logits"])[:, : labels.shape[1]]
        return self._answers(scores, *_labelled_context(labels, scores.shape[2]))[0]

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        """
        Find the answers in the contexts.

        Args:
            outputs (`dict[str, torch.Tensor]`): What [`forward`] gave.
            rows (`Sequence[SourceRow]`): Contexts, and the offsets of their windows' tokens.

        Returns:
            `list[Any]`: For each row `answer`, its `score`, the probability of its first token times that of its last,
            and the offsets `start` and `end` in the context (characters). `answer` is empty and the offsets are None
            if the question has none; all are None if the row has no offsets or an empty context.
        """
        scores = full_precision(outputs["logits"])
        context = torch.zeros(scores.shape[:3], dtype=torch.bool)
        windows = torch.zeros(scores.shape[:2], dtype=torch.bool)
        for number, row in enumerate(rows):
            for window, spans in enumerate(row.offsets):
                context[number, window, : len(spans)] = torch.tensor([span is not None for span in spans])
                windows[number, window] = True
        places, log_probabilities = self._answers(scores, context.to(scores.device), windows.to(scores.device))
        probabilities = log_probabilities.exp().tolist()
        return [self._answer(*each) for each in zip(places.tolist(), probabilities, rows, strict=True)]

    def _answer(self, span: Sequence[int], score: float, row: SourceRow) -> dict[str, Any]:
        characters = answer_characters(span, row.text, row.offsets)
        if characters is not None:
            start, end = characters
            return {"answer": row.text[start:end], "score": score, "start": start, "end": end}
        if row.offsets and self.config.allow_no_answer:
            return {"answer": "", "score": score, "start": None, "end": None}
        return dict(_UNKNOWN)


def _labelled_context(labels: torch.Tensor, sequence_length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of the context's tokens, `(rows, windows, sequence_length)`, and of the windows there are."""
    positions = torch.arange(sequence_length, device=labels.device)
    context = (positions >= labels[..., :1]) & (positions < labels[..., 1:2])
    return context, labels[..., 0] != IGNORED


def _first_tokens(context: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
    """Mask of the windows' first tokens, of the shape of `context`."""
    first = torch.zeros_like(context)
    first[..., 0] = windows
    return first
