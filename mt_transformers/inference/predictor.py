"""Every head's answer for each row, from one pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from ..data import (
    APART,
    MEDIA,
    SEVERAL,
    EncodedTexts,
    Processing,
    encode_texts,
    find_max_length,
    outputs_given,
    sequence_table,
    text_inputs,
)
from ..errors import InputError, check_known
from ..heads import HeadConfig, SourceRow, find_words
from ..modeling import MultiTaskModel
from .rows import check_row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["MultiTaskPredictor"]


@dataclass
class MultiTaskPredictor:
    """
    Runs rows through the model and decodes what every head says.

    Args:
        model ([`MultiTaskModel`]): The model, or the `PeftModel` around it.
        processing_class (`Any`): Its tokenizer, a fast one, or what else its inputs need, see [`Processing`].
        batch_size (`int`, *optional*, defaults to 32): Rows that are encoded together.

    Example:
        Rows of a trained folder::

            predictor = MultiTaskPredictor(*load_model("out"))
            predictor(["play some jazz"])
    """

    model: MultiTaskModel
    processing_class: Any
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"expected a batch size of at least 1, found {self.batch_size}.")
        self._processing = Processing.of(self.processing_class)
        if "encoded_text" in self.model.backbone.output_names and self._processing.tokenizer is not None:
            self._processing.check("the model", ["text"])
            for head in self.model.named_heads.values():
                head.config.complete_from_tokenizer(self._processing.tokenizer)
        self._max_length = find_max_length(self._processing.tokenizer, self.model.backbone.max_positions)
        self.truncated_rows = 0
        self.model.eval()

    def __call__(self, rows: Sequence[Any], heads: Collection[str] | None = None) -> list[dict[str, Any]]:
        """
        Predict rows.

        Args:
            rows (`Sequence[Any]`):
                See [`check_row`]; a row with a `task` goes to the heads of its task only. Of a model with an adapter
                for each task all rows have a `task`, and go through its adapter.
            heads (`Collection[str]`, *optional*): The heads that answer. Defaults to all.

        Returns:
            `list[dict[str, Any]]`: For each row, in their order, each head's decoded answer.

        Raises:
            InputError: If a head is unknown, or a row cannot be used (which is named).
        """
        if heads is not None:
            check_known(heads, self.model.named_heads, "heads", "head")
        checked = [_naming(number, self._checked, row) for number, row in enumerate(rows)]
        answers: list[dict[str, Any]] = [{} for _ in checked]
        for batch in self._batches(checked):
            chosen = [_naming(number, self._read, checked[number]) for number in batch]
            for number, answer in zip(batch, self._predict(chosen, heads), strict=True):
                answers[number] = answer
        return answers

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

    def _read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its image or recording, which are in memory for one batch only."""
        return {name: self._processing.read(name, value) if name in MEDIA else value for name, value in row.items()}

    @property
    def tasks(self) -> Mapping[str, Sequence[str]]:
        """For each task its heads."""
        return self.model.config.tasks or {name: [name] for name in self.model.heads}

    def _batches(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[list[int]]:
        """Numbers of rows that go together: of one kind of input, and of like length."""

        def kind(number: int) -> tuple[list[str], int]:
            inputs = {name: value for name, value in rows[number].items() if name != "task"}
            texts = [inputs[name] for name in text_inputs(inputs)]
            length = sum(len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts)
            return sorted(inputs), length

        batch: list[int] = []
        for number in sorted(range(len(rows)), key=kind):
            if batch and (len(batch) == self.batch_size or kind(number)[0] != kind(batch[0])[0]):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    @torch.inference_mode()
    def _predict(self, rows: Sequence[Mapping[str, Any]], heads: Collection[str] | None) -> list[dict[str, Any]]:
        names = [name for name in rows[0] if name != "task"]
        values = {name: [row[name] for row in rows] for name in names}
        answering = self._answering(names, heads)
        if not answering:
            return [{} for _ in rows]
        inputs: dict[str, Any] = {}
        sources: list[SourceRow] = [SourceRow()] * len(rows)
        if text_inputs(names):
            texts = self._encode({name: values[name] for name in text_inputs(names)})
            inputs |= self._text_inputs(texts, answering)
            sources = [self._source(texts, number, row) for number, row in enumerate(rows)]
        if "images" in names:
            inputs |= self._processing.pixels(values["images"])
        if "audio" in names:
            inputs |= self._processing.samples(values["audio"])
        inputs = {
            name: value.to(self.model.device) if torch.is_tensor(value) else value for name, value in inputs.items()
        }
        if self.model.task_adapters:
            inputs["task"] = [row["task"] for row in rows]
        outputs = self.model(**inputs, heads=answering)
        return self._decode(outputs, rows, sources)

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

    def _encode(self, texts: Mapping[str, Sequence[Any]]) -> EncodedTexts:
        tokenizer = cast("PreTrainedTokenizerBase", self._processing.tokenizer)
        strides = [head.config.window_stride for head in self.model.named_heads.values()]
        stride = max((each for each in strides if each is not None), default=None)
        found = encode_texts(texts, tokenizer, self._max_length, stride, offsets=True, padding=True)
        if "context" not in texts:
            self.truncated_rows += sum(bool(each.overflowing) for each in found.encoding.encodings or ())
        return found

    def _text_inputs(self, texts: EncodedTexts, answering: Collection[str]) -> dict[str, Any]:
        """The rows' first sequences in front, further ones that heads read behind them, and which are whose."""
        tokenizer = cast("PreTrainedTokenizerBase", self._processing.tokenizer)
        names = [name for name in tokenizer.model_input_names if name in texts.encoding]
        several = [name for name in answering if self.model.named_heads[name].config.multi_sequence]
        order = [own[0] for own in texts.sequences]
        order += [place for own in texts.sequences for place in own[1:] if several]
        rows = {name: [texts.encoding[name][place] for place in order] for name in names}
        # empty texts, of a tokenizer that adds nothing to them: one position, which is padding
        inputs: dict[str, Any] = {
            name: torch.tensor(each) if each[0] else torch.zeros(len(each), 1, dtype=torch.long)
            for name, each in rows.items()
        }
        if len(order) > len(texts.sequences):
            places = {place: number for number, place in enumerate(order)}
            sequences = sequence_table([[places[place] for place in own] for own in texts.sequences])
            inputs["sequences"] = dict.fromkeys(several, sequences.to(self.model.device))
        return inputs

    def _source(self, texts: EncodedTexts, number: int, row: Mapping[str, Any]) -> SourceRow:
        """What the tokens of a row stand for."""
        tokenizer = cast("PreTrainedTokenizerBase", self._processing.tokenizer)
        if "context" in row:
            offsets = texts.context_offsets(number)
            return SourceRow((), row["context"], offsets, tokenizer.convert_ids_to_tokens)
        text = row.get("tokens", row.get("text"))
        words = [] if text is None else find_words(texts.encoding, texts.sequences[number][0], text)
        return SourceRow(words, text if isinstance(text, str) else "", (), tokenizer.convert_ids_to_tokens)

    def _decode(
        self, outputs: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], sources: Sequence[SourceRow]
    ) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = [{} for _ in rows]
        for name, head in self.model.named_heads.items():
            if f"{name}_logits" not in outputs:
                continue
            keys = [key for key in head.config.output_names if f"{name}_{key}" in outputs]
            own = {key: outputs[f"{name}_{key}"] for key in keys}
            numbers = own["rows"].tolist() if "rows" in own else range(len(rows))
            decoded = head.decode(own, [sources[number] for number in numbers])
            for number, answer in zip(numbers, decoded, strict=True):
                task = rows[number].get("task")
                if task is None or name in self.tasks[task]:
                    answers[number][name] = answer
        return answers


def _reads_several(config: HeadConfig, several: Collection[str]) -> bool:
    """Whether a head reads what becomes several sequences: all of them, if it is meant for that, or a first window."""
    if config.multi_sequence and config.task_inputs:
        return set(several).issubset(config.task_inputs)
    return config.multi_sequence or APART.isdisjoint(several)


def _naming(number: int, function: Callable[[Any], Any], value: Any) -> Any:
    """What a function makes of a value; what it cannot use is reported with the row's number."""
    try:
        return function(value)
    except InputError as error:
        raise InputError(f"row {number}: {error}") from error
