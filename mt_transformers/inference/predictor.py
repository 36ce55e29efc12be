"""Every head's answer for each row, from one pass."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer

from ..data import find_max_length
from ..errors import InputError, check_known
from ..heads import find_words
from ..modeling import MultiTaskModel

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["MultiTaskPredictor", "check_row", "load_model"]

_INPUTS = ("text", "text_pair", "tokens", "task")


def load_model(folder: str | os.PathLike[str]) -> tuple[MultiTaskModel, PreTrainedTokenizerBase]:
    """
    Load a trained folder.

    Args:
        folder (`str`): The folder, or a name on the hub.

    Returns:
        `tuple[MultiTaskModel, PreTrainedTokenizerBase]`: Model and tokenizer.

    Raises:
        InputError: If it is no folder of a trained multi-task model.
    """
    _check_folder(Path(folder))
    try:
        model = MultiTaskModel.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except InputError as error:
        raise InputError(f"{folder}: {str(error).removeprefix(f'{folder}: ')}") from error
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: no trained multi-task model can be loaded from there: {error}") from error
    return model, tokenizer


def _check_folder(folder: Path) -> None:
    """Refuse a folder whose config is none, which transformers answers with other errors each time."""
    if not folder.exists():
        return
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no trained multi-task model is there, its config.json: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{folder}: no trained multi-task model is there, its config.json is no object.")


def check_row(row: Any, tasks: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """
    Check one input.

    Args:
        row (`Any`):
            A text, or a dict with `text`, `text` and `text_pair`, or `tokens` (words), and optionally `task`.
        tasks (`Mapping[str, Sequence[str]]`): For each task its heads.

    Returns:
        `dict[str, Any]`: The row as a dict.

    Raises:
        InputError: If it is none of these, or its task is unknown.

    Example:
        >>> check_row("hello", {})
        {'text': 'hello'}
    """
    if isinstance(row, str):
        row = {"text": row}
    if not isinstance(row, dict):
        raise InputError(f"expected a text or an object, found {type(row).__name__}.")
    check_known(row, _INPUTS, "row")
    if ("text" in row) == ("tokens" in row):
        raise InputError(f"expected either 'text' or 'tokens', found {sorted(row)}.")
    for name in ("text", "text_pair"):
        if name in row and not isinstance(row[name], str):
            raise InputError(f"{name}: expected a text, found {type(row[name]).__name__}.")
        _check_characters(row.get(name, ""))
    if "tokens" in row:
        words = row["tokens"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or "text_pair" in row:
            raise InputError("tokens: expected a list of words, without a text_pair.")
        for word in words:
            _check_characters(word)
    if "task" in row:
        if not isinstance(row["task"], str):
            raise InputError(f"unknown task {row['task']!r}, expected one of {', '.join(tasks)}.")
        check_known([row["task"]], tasks, "row", "task")
    return row


def _check_characters(text: str) -> None:
    """Refuse halves of surrogate pairs, which JSON can hold and no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"a surrogate without its pair at character {error.start}.") from error


@dataclass
class MultiTaskPredictor:
    """
    Runs rows through the model and decodes what every head says.

    Args:
        model ([`MultiTaskModel`]): The model.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer, a fast one.
        batch_size (`int`, *optional*, defaults to 32): Rows that are encoded together.

    Example:
        Rows of a trained folder::

            predictor = MultiTaskPredictor(*load_model("out"))
            predictor(["play some jazz"])
    """

    model: MultiTaskModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"expected a batch size of at least 1, found {self.batch_size}.")
        if not self.tokenizer.is_fast:
            raise InputError(f"expected a fast tokenizer, found {type(self.tokenizer).__name__}.")
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        self._max_length = find_max_length(self.tokenizer, positions)
        self.truncated_rows = 0
        self.model.eval()

    def __call__(self, rows: Sequence[Any], heads: Collection[str] | None = None) -> list[dict[str, Any]]:
        """
        Predict rows.

        Args:
            rows (`Sequence[Any]`): See [`check_row`]; a row with a `task` goes to the heads of its task only.
            heads (`Collection[str]`, *optional*): The heads that answer. Defaults to all.

        Returns:
            `list[dict[str, Any]]`: For each row, in their order, each head's decoded answer.

        Raises:
            InputError: If a head is unknown, or a row cannot be used (which is named).
        """
        if heads is not None:
            check_known(heads, self.model.named_heads, "heads", "head")
        checked = [self._checked(number, row) for number, row in enumerate(rows)]
        answers: list[dict[str, Any]] = [{} for _ in checked]
        for batch in self._batches(checked):
            for number, answer in zip(batch, self._predict([checked[each] for each in batch], heads), strict=True):
                answers[number] = answer
        return answers

    def _checked(self, number: int, row: Any) -> dict[str, Any]:
        try:
            return check_row(row, self.tasks)
        except InputError as error:
            raise InputError(f"row {number}: {error}") from error

    @property
    def tasks(self) -> Mapping[str, Sequence[str]]:
        """For each task its heads."""
        return self.model.config.tasks or {name: [name] for name in self.model.heads}

    def _batches(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[list[int]]:
        """Numbers of rows that go together: of one kind of input, and of like length."""

        def kind(number: int) -> tuple[bool, bool, int]:
            row = rows[number]
            length = (
                len(row["text"]) + len(row.get("text_pair", "")) if "text" in row else sum(map(len, row["tokens"]))
            )
            return "tokens" in row, "text_pair" in row, length

        batch: list[int] = []
        for number in sorted(range(len(rows)), key=kind):
            if batch and (len(batch) == self.batch_size or kind(number)[:2] != kind(batch[0])[:2]):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    @torch.inference_mode()
    def _predict(self, rows: Sequence[Mapping[str, Any]], heads: Collection[str] | None) -> list[dict[str, Any]]:
        encoding = self._encode(rows)
        names = [name for name in self.tokenizer.model_input_names if name in encoding]
        inputs = {name: torch.tensor(encoding[name], device=self.model.device) for name in names}
        outputs = self.model(**inputs, heads=self.model.heads if heads is None else heads)
        texts = [row["tokens"] if "tokens" in row else row["text"] for row in rows]
        words = [find_words(encoding, number, text) for number, text in enumerate(texts)]
        answers: list[dict[str, Any]] = [{} for _ in rows]
        for name, head in self.model.named_heads.items():
            own = {"logits": outputs[f"{name}_logits"]} if f"{name}_logits" in outputs else None
            for number, answer in enumerate([] if own is None else head.decode(own, words)):
                task = rows[number].get("task")
                if task is None or name in self.tasks[task]:
                    answers[number][name] = answer
        return answers

    def _encode(self, rows: Sequence[Mapping[str, Any]]) -> BatchEncoding:
        first = [row["tokens"] if "tokens" in row else row["text"] for row in rows]
        second = [[row["text_pair"] for row in rows]] if "text_pair" in rows[0] else []
        encoding: BatchEncoding = self.tokenizer(
            first,
            *second,
            is_split_into_words="tokens" in rows[0],
            padding=True,
            truncation=self._max_length is not None,
            max_length=self._max_length,
            return_offsets_mapping=True,
        )
        self.truncated_rows += sum(bool(each.overflowing) for each in encoding.encodings or ())
        return encoding
