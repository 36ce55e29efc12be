"""What a model tells of itself: running metrics, answers, and outputs for people (AllenNLP's `Model` side)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from ..backbone import Backbone
from ..errors import InputError
from ..heads import Head, SourceRow, Word
from .running_metrics import RunningMetrics

__all__ = ["ReportingMixin"]


class ReportingMixin:
    """Adds `get_metrics`, `predict` and `make_output_human_readable` to a model with a `backbone` and `heads`."""

    backbone: Backbone
    heads: nn.ModuleDict
    tokenizer: PreTrainedTokenizerBase | None = None
    """Tokenizer for [`make_output_human_readable`]; no part of what is saved."""

    _running_metrics: RunningMetrics | None = None

    @property
    def named_heads(self) -> Mapping[str, Head]:
        """The heads by name."""
        return cast("Mapping[str, Head]", self.heads)

    @property
    def track_metrics(self) -> bool:
        """
        Whether every call with labels is kept for [`get_metrics`].

        Off by default, since predictions and labels of all batches pile up until the metrics are reset.
        """
        return self._running_metrics is not None

    @track_metrics.setter
    def track_metrics(self, track: bool) -> None:
        if track != self.track_metrics:
            self._running_metrics = RunningMetrics() if track else None

    @torch.no_grad()
    def _track(self, name: str, outputs: Mapping[str, torch.Tensor], labels: torch.Tensor) -> None:
        if self._running_metrics is not None:
            self._running_metrics.add(name, self.named_heads[name].predictions(dict(outputs), labels), labels)

    def get_metrics(self, reset: bool = False) -> dict[str, float]:
        """
        Score all calls with labels since the last reset together, over all processes.

        Args:
            reset (`bool`, *optional*, defaults to `False`): Whether to start anew then.

        Returns:
            `dict[str, float]`: `<head>_<metric>` of the heads that ran.

        Raises:
            InputError: If [`track_metrics`] is off.
        """
        if self._running_metrics is None:
            raise InputError("get_metrics: set model.track_metrics = True before the calls that are to be scored.")
        return self._running_metrics.compute(self.named_heads, reset)

    def predict(
        self, rows: Sequence[Any], tokenizer: Any = None, heads: Collection[str] | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """
        Answer rows, every head from one pass: the short form of [`MultiTaskPredictor`], which is to be kept by those
        who call it often.

        Args:
            rows (`Sequence[Any]`): Texts, or what else a row may be, see [`check_row`].
            tokenizer (`Any`, *optional*):
                The tokenizer, or what else prepares the model's inputs. Defaults to the model's `tokenizer`.
            heads (`Collection[str]`, *optional*): The heads that answer. Defaults to all.
            options (`Any`): `batch_size`, `top_k` and `threshold`, as [`MultiTaskPredictor`] takes them.

        Returns:
            `list[dict[str, Any]]`: For each row, in their order, each head's decoded answer.

        Raises:
            InputError: If there is no tokenizer, or a row, a head or an option cannot be used.
        """
        from ..inference.predictor import MultiTaskPredictor

        tokenizer = tokenizer or self.tokenizer
        if tokenizer is None:
            raise InputError("predict: expected a tokenizer, or what else prepares the model's inputs.")
        model = cast(Any, self)
        was_training = model.training
        try:
            return MultiTaskPredictor(model, tokenizer)(rows, heads, **options)
        finally:
            model.train(was_training)

    def make_output_human_readable(
        self, output_dict: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase | None = None
    ) -> dict[str, Any]:
        """
        Add to an output what it says, in words.

        Args:
            output_dict (`Mapping[str, Any]`): What the model answered; it is not changed.
            tokenizer (`PreTrainedTokenizerBase`, *optional*):
                Turns ids into tokens and words. Defaults to the model's `tokenizer`; without one there are no tokens
                and no answers of heads that label words.

        Returns:
            `dict[str, Any]`: The output, with `tokens` and `text` of each row, and `<head>_decoded` for each head that
            ran: an answer for each of its rows.
        """
        tokenizer = tokenizer or self.tokenizer
        readable = {**output_dict, **self.backbone.make_output_human_readable(output_dict, tokenizer)}
        words: Sequence[Sequence[Word]] = readable.pop("words", [])
        texts = readable.get("text", [])
        to_tokens = None if tokenizer is None else tokenizer.convert_ids_to_tokens
        sources = [SourceRow(own, text, to_tokens=to_tokens) for own, text in zip(words, texts, strict=True)]
        for name, head in self.named_heads.items():
            keys = [key for key in head.config.output_names if f"{name}_{key}" in output_dict]
            if "logits" not in keys:
                continue
            own = {key: output_dict[f"{name}_{key}"] for key in keys}
            rows = own["rows"].tolist() if "rows" in own else range(len(own["logits"]))
            readable[f"{name}_decoded"] = head.decode(
                own, [sources[row] if sources else SourceRow(to_tokens=to_tokens) for row in rows]
            )
        return readable
