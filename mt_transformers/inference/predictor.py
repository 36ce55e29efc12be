"""Every head's answer for each row, from one pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ..data import APART, MEDIA, SEVERAL, Processing, find_max_length, outputs_given
from ..errors import InputError, check_known
from ..heads import HeadConfig, SourceRow
from ..modeling import MultiTaskModel
from .batches import batches_by_length
from .encoding import RowEncoder
from .export import ExportedMultiTaskModel
from .rows import check_row

__all__ = ["MultiTaskPredictor"]

_WINDOW = 64
"""Batches of a stream that are read, sorted by length and answered before the next ones are read."""


@dataclass
class MultiTaskPredictor:
    """
    Runs rows through the model and decodes what every head says.

    Args:
        model ([`MultiTaskModel`] or [`ExportedMultiTaskModel`]): The model, or the `PeftModel` around it.
        processing_class (`Any`): Its tokenizer, a fast one, or what else its inputs need, see [`Processing`].
        batch_size (`int`, *optional*, defaults to 32): Rows that are encoded together.

    Example:
        Rows of a trained folder::

            predictor = MultiTaskPredictor(*load_model("out"))
            predictor(["play some jazz"])
    """

    model: MultiTaskModel | ExportedMultiTaskModel
    processing_class: Any
    batch_size: int = 32

    def __post_init__(self) -> None:
        _check_number("batch size", self.batch_size)
        self._processing = Processing.of(self.processing_class)
        configs = {name: head.config for name, head in self.model.named_heads.items()}
        if "encoded_text" in self.model.backbone.output_names and self._processing.tokenizer is not None:
            self._processing.check("the model", ["text"])
            for config in configs.values():
                config.complete_from_tokenizer(self._processing.tokenizer)
        max_length = find_max_length(self._processing.tokenizer, self.model.backbone.max_positions)
        self._encoder = RowEncoder(self._processing, configs, max_length)
        self.model.eval()

    def __call__(
        self,
        rows: Sequence[Any],
        heads: Collection[str] | None = None,
        *,
        batch_size: int | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
    ) -> list[dict[str, Any]]:
        """
        Predict rows.

        Args:
            rows (`Sequence[Any]`):
                See [`check_row`]; a row with a `task` goes to the heads of its task only. Of a model with an adapter
                for each task all rows have a `task`, and go through its adapter.
            heads (`Collection[str]`, *optional*): The heads that answer. Defaults to all.
            batch_size (`int`, *optional*): Rows that are encoded together. Defaults to the predictor's.
            top_k (`int`, *optional*):
                Answers of heads that choose one of several: a list of the best `top_k` with their scores, the best
                first, instead of the best alone; of those that choose any number, at most `top_k`.
            threshold (`float`, *optional*):
                Probability from which a label of several counts as present. Defaults to that of the head's config.

        Returns:
            `list[dict[str, Any]]`: For each row, in their order, each head's decoded answer.

        Raises:
            InputError: If a head is unknown, an option cannot be used, or a row cannot be used (which is named).
        """
        if isinstance(rows, str | dict):
            raise InputError(f"expected a list of rows, found one of type {type(rows).__name__}.")
        options = self._check_options(heads, top_k=top_k, threshold=threshold)
        size = self._check_size(batch_size)
        checked = [_naming(number, self._checked, row) for number, row in enumerate(rows)]
        return self._answer(checked, heads, size, options)

    def stream(
        self,
        rows: Iterable[Any],
        heads: Collection[str] | None = None,
        *,
        batch_size: int | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """
        Predict rows as they come, in memory that does not grow with their number.

        Some batches of rows at a time are read, sorted by length, and answered in their order.

        Args:
            rows (`Iterable[Any]`): The rows.
            heads, batch_size, top_k, threshold: As a call takes them.

        Returns:
            `Iterator[dict[str, Any]]`: For each row, in their order, each head's decoded answer.

        Raises:
            InputError: At once, if a head is unknown or an option cannot be used; later, if a row cannot be used.
        """
        options = self._check_options(heads, top_k=top_k, threshold=threshold)
        return self._stream(iter(rows), heads, self._check_size(batch_size), options)

    def _stream(
        self, rows: Iterator[Any], heads: Collection[str] | None, batch_size: int, options: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        first = 0
        while window := list(islice(rows, _WINDOW * batch_size)):
            checked = [_naming(number, self._checked, row) for number, row in enumerate(window, start=first)]
            yield from self._answer(checked, heads, batch_size, options, first)
            first += len(window)

    def check(self, row: Any) -> dict[str, Any]:
        """
        Check one row as a call does, and read its image or recording, so that a broken one is found before any work.

        Args:
            row (`Any`): See [`check_row`].

        Returns:
            `dict[str, Any]`: The row as a dict.

        Raises:
            InputError: If the row cannot be used.
        """
        checked = self._checked(row)
        for name in MEDIA:
            if name in checked:
                self._processing.check_value(name, checked[name])
        return checked

    def tokens(self, row: Any) -> list[list[str]]:
        """
        What the backbone reads of a row's texts.

        Args:
            row (`Any`): See [`check_row`].

        Returns:
            `list[list[str]]`: The tokens of each of its sequences, of which choices, sentences and windows of a
            context are several; nothing if it has no text.
        """
        return self._encoder.tokens(self._checked(row))

    @property
    def tasks(self) -> Mapping[str, Sequence[str]]:
        """For each task its heads."""
        return self.model.config.tasks or {name: [name] for name in self.model.heads}

    @property
    def truncated_rows(self) -> int:
        """Rows so far that were longer than the model reads."""
        return self._encoder.truncated_rows

    def _check_size(self, batch_size: int | None) -> int:
        if batch_size is None:
            return self.batch_size
        _check_number("batch size", batch_size)
        return batch_size

    def _check_options(
        self, heads: Collection[str] | None, top_k: int | None, threshold: float | None
    ) -> dict[str, Any]:
        """The options that are set; refuses those that no head in question has a use for."""
        known = self.model.named_heads
        if heads is not None:
            if isinstance(heads, str):
                raise InputError(f"heads: expected a list of names, found the text {heads!r}.")
            check_known(heads, known, "heads", "head")
        if top_k is not None:
            _check_number("top_k", top_k)
        if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
            raise InputError(f"threshold: expected a probability from 0 to 1, found {threshold!r}.")
        options = {"top_k": top_k, "threshold": threshold}
        options = {name: value for name, value in options.items() if value is not None}
        asked = [head.config for name, head in known.items() if heads is None or name in heads]
        for name in options:
            if not any(name in config.answer_options for config in asked):
                raise InputError(f"{name}: no head that is asked has a use for it.")
        return options

    def _checked(self, row: Any) -> dict[str, Any]:
        checked = check_row(row, self.tasks)
        if self.model.task_adapters and "task" not in checked:
            raise InputError(f"task is missing, the model has adapters for {', '.join(self.model.task_adapters)}.")
        names = [name for name in checked if name != "task"]
        self._processing.check("the row", names)
        info = self.model.backbone.info
        if info.reads_together and not outputs_given(names).issuperset(info.output_names):
            found = ", ".join(names)
            raise InputError(f"a {info.model_type!r} backbone reads text and images together, found {found}.")
        return checked

    def _answer(
        self,
        rows: Sequence[Mapping[str, Any]],
        heads: Collection[str] | None,
        batch_size: int,
        options: Mapping[str, Any],
        first: int = 0,
    ) -> list[dict[str, Any]]:
        """Answers in the order of the rows, the first of which counts as number `first`."""
        answers: list[dict[str, Any]] = [{} for _ in rows]
        for batch in batches_by_length(rows, batch_size):
            chosen = [_naming(first + number, self._encoder.read, rows[number]) for number in batch]
            for number, answer in zip(batch, self._predict(chosen, heads, options), strict=True):
                answers[number] = answer
        return answers

    @torch.inference_mode()
    def _predict(
        self, rows: Sequence[Mapping[str, Any]], heads: Collection[str] | None, options: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        answering = self._answering([name for name in rows[0] if name != "task"], heads)
        if not answering:
            return [{} for _ in rows]
        inputs, sources = self._encoder.encode(rows, answering)
        if self.model.task_adapters:
            inputs["task"] = [row["task"] for row in rows]
        outputs = self.model(**_on_device(inputs, self.model.device), heads=answering)
        return self._decode(outputs, rows, sources, options)

    def _answering(self, inputs: Collection[str], heads: Collection[str] | None) -> list[str]:
        """The heads that can answer rows with these inputs, among those that were asked for."""
        given = outputs_given(inputs)
        several = SEVERAL.intersection(inputs)
        return [
            name
            for name, head in self.model.named_heads.items()
            if (heads is None or name in heads)
            and given.issuperset(head.config.inputs)
            and set(inputs).issuperset(head.config.answer_inputs)
            and _reads_several(head.config, several)
        ]

    def _decode(
        self,
        outputs: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        sources: Sequence[SourceRow],
        options: Mapping[str, Any],
    ) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = [{} for _ in rows]
        for name, head in self.model.named_heads.items():
            if f"{name}_logits" not in outputs:
                continue
            keys = [key for key in head.config.output_names if f"{name}_{key}" in outputs]
            own = {key: outputs[f"{name}_{key}"] for key in keys}
            taken = {key: value for key, value in options.items() if key in head.config.answer_options}
            numbers = own["rows"].tolist() if "rows" in own else range(len(rows))
            decoded = head.decode(own, [sources[number] for number in numbers], **taken)
            for number, answer in zip(numbers, decoded, strict=True):
                task = rows[number].get("task")
                if task is None or name in self.tasks[task]:
                    answers[number][name] = answer
        return answers


def _on_device(value: Any, device: torch.device) -> Any:
    """Tensors, and those in dicts, on a device."""
    if isinstance(value, dict):
        return {name: _on_device(each, device) for name, each in value.items()}
    return value.to(device) if torch.is_tensor(value) else value


def _reads_several(config: HeadConfig, several: Collection[str]) -> bool:
    """Whether a head reads what becomes several sequences: all of them, if it is meant for that, or a first window."""
    if config.multi_sequence and config.task_inputs:
        return set(several).issubset(config.task_inputs)
    return config.multi_sequence or APART.isdisjoint(several)


def _check_number(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"expected a {name} of at least 1, found {value!r}.")


def _naming(number: int, function: Callable[[Any], Any], value: Any) -> Any:
    """What a function makes of a value; what it cannot use is reported with the row's number."""
    try:
        return function(value)
    except InputError as error:
        raise InputError(f"row {number}: {error}") from error
