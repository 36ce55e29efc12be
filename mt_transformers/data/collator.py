"""Rows of several tasks in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from ..errors import InputError
from ..heads import HeadConfig
from .dataset import LABEL_PREFIX, MORE_PREFIX, PASS_INDEX, TASK_INDEX
from .inputs import MEDIA, sequence_table
from .processing import Processing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["DataCollatorForMultiTask"]


@dataclass
class DataCollatorForMultiTask:
    """
    Pads rows of any tasks to one length and puts the labels of each head into one tensor over the whole batch.

    The batch holds the inputs, `labels` (head -> labels, for the heads of the tasks in this batch), `rows` (head ->
    indices of its labelled rows, so that the model need not look for them), `task_index` (the task of each row) and,
    where rows consist of several sequences, `sequences`. Sequences are padded on the right whatever the tokenizer
    does: the backbone gives the same features for either side, and positions in labels stay as they are.

    Args:
        processing_class (`Any`): The tokenizer, or what else the inputs need, see [`Processing`].
        heads (`Mapping[str, HeadConfig]`): The heads.
        pad_to_multiple_of (`int`, *optional*): Lengths are rounded up to a multiple of this (tokens).
        epoch (`int`, *optional*, defaults to -1):
            Number of the epoch, for heads that make their sequences anew in each; -1 outside of training. Rows of
            streams say themselves which pass they belong to.
    """

    processing_class: Any
    heads: Mapping[str, HeadConfig]
    pad_to_multiple_of: int | None = None
    epoch: int = -1
    _processing: Processing = field(init=False, repr=False)
    _epoch: torch.Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._processing = Processing.of(self.processing_class)
        # shared, for workers that live longer than an epoch
        self._epoch = torch.tensor(self.epoch).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Go on to another epoch, also in workers that have begun."""
        self._epoch.fill_(epoch)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """
        Put rows together.

        Args:
            features (`Sequence[Mapping[str, Any]]`): Rows as [`prepare_split`] and [`MultiTaskDataset`] give them.

        Returns:
            `dict[str, Any]`: Arguments for the model, and `task_index` of shape `(batch_size,)`.

        Raises:
            InputError: If some rows lack an input that others have.
        """
        # rows of interleaved streams have the columns of all tasks, empty but for their own; an evaluation is of one
        # task, whose heads are in all of its batches
        present = dict.fromkeys(
            key
            for row in features
            for key, value in row.items()
            if value is not None or (TASK_INDEX not in row and key.startswith(LABEL_PREFIX))
        )
        labels = {
            key.removeprefix(LABEL_PREFIX): [row.get(key) for row in features]
            for key in present
            if key.startswith(LABEL_PREFIX)
        }
        batch = self._media(features, present)
        length = 0
        if "input_ids" in present:
            several = any(self.heads[head].multi_sequence for head in labels)
            texts = _Sequences(features, present, self._tokenizer, several)
            epochs = [row.get(PASS_INDEX, int(self._epoch)) for row in features]
            texts.add_made(labels, self.heads, epochs)
            batch |= texts.pad(self.pad_to_multiple_of)
            length = batch["input_ids"].shape[1]
            sequences = texts.read_by(labels, self.heads)
            batch |= {"sequences": sequences} if sequences else {}
        batch["labels"], batch["rows"] = {}, {}
        for head, values in labels.items():
            collated = self.heads[head].collate_labels(values, length)
            batch["labels"][head] = collated
            batch["rows"][head] = (self.heads[head].count_items(collated) > 0).nonzero().squeeze(1)
        if TASK_INDEX in present:
            batch[TASK_INDEX] = torch.tensor([row[TASK_INDEX] for row in features])
        return batch

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return cast("PreTrainedTokenizerBase", self._processing.tokenizer)

    def _media(self, features: Sequence[Mapping[str, Any]], present: Mapping[str, Any]) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for name in MEDIA:
            if name in present:
                _check_all_have(features, name)
                prepare = self._processing.pixels if name == "images" else self._processing.samples
                batch |= prepare([row[name] for row in features])
        return batch


def _check_all_have(features: Sequence[Mapping[str, Any]], name: str) -> None:
    if any(row.get(name) is None for row in features):
        raise InputError(
            f"some rows of a batch have the input {name!r} and others do not: tasks that read different kinds of "
            "input need homogeneous batches (mixture: {batches: homogeneous})."
        )


class _Sequences:
    """The sequences of a batch: the rows' first ones in front, all further ones behind them."""

    def __init__(
        self,
        features: Sequence[Mapping[str, Any]],
        present: Mapping[str, Any],
        tokenizer: PreTrainedTokenizerBase,
        several: bool,
    ) -> None:
        _check_all_have(features, "input_ids")
        self._tokenizer = tokenizer
        self._names = [name for name in tokenizer.model_input_names if name in present]
        self._found: list[dict[str, Any]] = [{name: row[name] for name in self._names} for row in features]
        self._of_rows: list[list[int]] = [[row] for row in range(len(features))]
        self._made: dict[str, torch.Tensor] = {}
        # rows that fill a batch bring their sequences even where no head reads them
        if several and f"{MORE_PREFIX}input_ids" in present:
            for row, values in enumerate(features):
                further = [(values.get(MORE_PREFIX + name) or [])[1:] for name in self._names]
                for parts in zip(*further, strict=True):
                    self._of_rows[row].append(len(self._found))
                    self._found.append(dict(zip(self._names, parts, strict=True)))

    def add_made(self, labels: dict[str, list[Any]], heads: Mapping[str, HeadConfig], epochs: Sequence[int]) -> None:
        """Add the sequences that heads make themselves, and put the labels that belong to them into `labels`."""
        for head, values in labels.items():
            if not heads[head].makes_sequence:
                continue
            places = torch.full((len(values), 1), -1)
            for row, value in enumerate(values):
                if value is None:
                    continue
                input_ids = self._found[row]["input_ids"]
                ids, values[row] = heads[head].make_sequence(input_ids, self._tokenizer, epochs[row])
                needed = any(others[row] is not None for other, others in labels.items() if other != head)
                places[row] = row if ids is None else self._put(row, ids, append=needed)
            self._made[head] = places

    def _put(self, row: int, ids: list[int], append: bool) -> int:
        """The place of a row's new sequence: its first one's, unless another head reads that."""
        made = {**self._found[row], "input_ids": ids}
        if not append:
            self._found[row] = made
            return row
        self._found.append(made)
        return len(self._found) - 1

    def pad(self, multiple: int | None) -> dict[str, Any]:
        """All sequences as tensors of one length."""
        return dict(
            pad_without_fast_tokenizer_warning(
                self._tokenizer,
                self._found,
                padding=True,
                padding_side="right",
                pad_to_multiple_of=multiple,
                return_tensors="pt",
            )
        )

    def read_by(self, labels: Mapping[str, list[Any]], heads: Mapping[str, HeadConfig]) -> dict[str, torch.Tensor]:
        """For each head that reads other sequences than the rows' first ones the places of each row's."""
        read = dict(self._made)
        several = [head for head in labels if heads[head].multi_sequence]
        if several:
            read |= dict.fromkeys(several, sequence_table(self._of_rows))
        return read
