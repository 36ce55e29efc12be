"""Tasks that are streamed: rows without a number, prepared as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import datasets
import numpy as np
import torch

from ..errors import InputError
from ..heads import HeadConfig
from .dataset import GOLD_PREFIX, PASS_INDEX, TASK_INDEX
from .media_columns import MEDIA_BATCH_SIZE, keep_files
from .mixture import Mixture
from .preprocessing import make_encoder, name_media
from .task import Task

__all__ = ["SHUFFLE_BUFFER", "MultiTaskStream", "prepare_stream"]

SHUFFLE_BUFFER = 1000
"""Rows of a stream among which the next one is drawn."""

_STOPS = {"all": "all_exhausted_without_replacement", "first": "first_exhausted", "longest": "all_exhausted"}


def prepare_stream(
    task_name: str,
    task: Task,
    split: datasets.IterableDataset,
    heads: Mapping[str, HeadConfig],
    processing_class: Any,
    max_length: int | None = None,
) -> datasets.IterableDataset:
    """
    Tokenize the inputs of a stream and encode its labels, as its rows are read.

    Args:
        task_name (`str`): The task.
        task ([`Task`]): Its columns.
        split (`datasets.IterableDataset`): Its training rows.
        heads (`Mapping[str, HeadConfig]`): The heads, complete.
        processing_class (`Any`): A fast tokenizer, or what else the inputs need, see [`Processing`].
        max_length (`int`, *optional*): Length to which rows are cut (tokens).

    Returns:
        `datasets.IterableDataset`: With the columns of [`prepare_split`], but for gold ones.

    Raises:
        InputError: If heads and tokenizer do not fit; while it is read, if a value is missing or wrong.
    """
    encoder = make_encoder(task_name, task, "train", split.features, heads, processing_class, max_length)
    checker = encoder.media_checker
    # a stream that has a column renamed decodes it
    split = name_media(keep_files(split, checker.columns.values()), task, encoder.processing)
    removed = [name for name in split.column_names if name not in checker.columns]
    if checker.columns:
        split = split.map(checker, batched=True, batch_size=MEDIA_BATCH_SIZE, with_indices=True)
    prepared = split.map(encoder, batched=True, with_indices=True, remove_columns=removed)
    gold = [GOLD_PREFIX + head for head in task.labels if heads[head].needs_gold]
    return prepared.remove_columns(["cut_words", "unseen_words", *gold])


class MultiTaskStream(torch.utils.data.IterableDataset[dict[str, Any]]):
    """
    Rows of several streams, mixed by `datasets.interleave_datasets`; each pass is settled by (seed, epoch).

    A stream has no length: shares are `uniform` or `weighted` (probabilities of each next row, in `random` order),
    or rows come in `round_robin` or `sequential` order. `stop` ends a pass as it does for other tasks; `longest` is
    the default.

    Args:
        streams (`Mapping[str, datasets.IterableDataset]`): For each task its prepared rows.
        mixture ([`Mixture`]): How they are mixed.
        seed (`int`): Seed of the shuffling and of the choice of tasks.
        endless (`bool`, *optional*, defaults to `False`):
            Whether pass follows on pass, so that training by a number of steps, and a run that is resumed, need not
            know where one ends.

    Raises:
        InputError: If the mixture needs numbers of rows, or batches of one task.
    """

    def __init__(
        self,
        streams: Mapping[str, datasets.IterableDataset],
        mixture: Mixture,
        seed: int,
        endless: bool = False,
    ) -> None:
        _check_mixture(mixture)
        self.task_names = list(streams)
        self._streams = [stream.map(_TaskIndex(index)) for index, stream in enumerate(streams.values())]
        self._mixture = mixture
        self._shares = list(mixture.shares(dict.fromkeys(streams, 1)).values())
        self._seed = seed
        self._endless = endless
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that the next iteration begins with."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number = self._epoch
        while True:
            for row in self._one_pass(number):
                yield {**row, PASS_INDEX: number}
            if not self._endless:
                return
            number += 1

    def _one_pass(self, number: int) -> datasets.IterableDataset:
        # the pass is part of the seed: the set_epoch of datasets reseeds the choice of tasks by the epoch alone
        seed = int(np.random.default_rng([self._seed, number]).integers(2**31))
        shuffled = [stream.shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER) for stream in self._streams]
        if self._mixture.order == "sequential":
            return datasets.concatenate_datasets(shuffled)
        return datasets.interleave_datasets(
            shuffled,
            probabilities=self._shares if self._mixture.order == "random" else None,
            seed=seed,
            stopping_strategy=_STOPS[self._mixture.stop or "longest"],
        )


def _check_mixture(mixture: Mixture) -> None:
    """Refuse what only tasks with a known number of rows can have."""
    if mixture.sampling not in ("uniform", "weighted"):
        raise InputError(
            f"mixture: streams have no length, expected sampling 'uniform' or 'weighted', found {mixture.sampling!r}."
        )
    if mixture.order != "random" and mixture.sampling == "weighted":
        raise InputError(f"mixture: weights are for streams in random order, found order {mixture.order!r}.")
    if mixture.batches != "mixed":
        raise InputError(f"mixture: streams come in mixed batches, found {mixture.batches!r}.")
    if mixture.instances_per_epoch is not None:
        raise InputError("mixture: instances_per_epoch is for tasks with a known number of rows; give max_steps.")


class _TaskIndex:
    """Says in each row which task it is from."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, TASK_INDEX: self._index}
