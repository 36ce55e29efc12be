"""Rows of several tasks in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from ..heads import HeadConfig
from .dataset import LABEL_PREFIX, TASK_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["DataCollatorForMultiTask"]


@dataclass
class DataCollatorForMultiTask:
    """
    Pads rows of any tasks to one length and puts the labels of each head into one tensor over the whole batch.

    The batch holds the inputs, `labels` (head -> labels, for the heads of the tasks in this batch), `rows` (head ->
    indices of its labelled rows, so that the model need not look for them) and `task_index` (the task of each row).

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Pads, on its `padding_side`.
        heads (`Mapping[str, HeadConfig]`): The heads.
        pad_to_multiple_of (`int`, *optional*): Lengths are rounded up to a multiple of this (tokens).
    """

    tokenizer: PreTrainedTokenizerBase
    heads: Mapping[str, HeadConfig]
    pad_to_multiple_of: int | None = None

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """
        Put rows together.

        Args:
            features (`Sequence[Mapping[str, Any]]`): Rows as [`prepare_split`] and [`MultiTaskDataset`] give them.

        Returns:
            `dict[str, Any]`: Arguments for the model, and `task_index` of shape `(batch_size,)`.
        """
        names = [name for name in self.tokenizer.model_input_names if name in features[0]]
        batch: dict[str, Any] = dict(
            pad_without_fast_tokenizer_warning(
                self.tokenizer,
                [{name: row[name] for name in names} for row in features],
                padding=True,
                pad_to_multiple_of=self.pad_to_multiple_of,
                return_tensors="pt",
            )
        )
        length = batch[names[0]].shape[1]
        batch["labels"], batch["rows"] = {}, {}
        # rows of interleaved streams have the columns of all tasks, empty but for their own
        present = {
            key: None
            for row in features
            for key, value in row.items()
            if value is not None and key.startswith(LABEL_PREFIX)
        }
        for key in present:
            head = key.removeprefix(LABEL_PREFIX)
            labels = self._collate(head, [row.get(key) for row in features], length)
            rows = (self.heads[head].count_items(labels) > 0).nonzero().squeeze(1)
            batch["labels"][head], batch["rows"][head] = labels, rows
        if TASK_INDEX in features[0]:
            batch[TASK_INDEX] = torch.tensor([row[TASK_INDEX] for row in features])
        return batch

    def _collate(self, head: str, labels: list[Any], length: int) -> torch.Tensor:
        config = self.heads[head]
        if config.word_level and self.tokenizer.padding_side == "left":
            # labels of the padding are as good as none: fill up in front, as the inputs are
            filled = config.collate_labels([None], length)[0].tolist()
            labels = [None if label is None else filled[: length - len(label)] + label for label in labels]
        return config.collate_labels(labels, length)
