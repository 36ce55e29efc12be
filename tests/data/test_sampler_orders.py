"""The orders of an epoch in full, their cost over many rows, and what skipping batches reads."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from accelerate import skip_first_batches
from accelerate.data_loader import prepare_data_loader
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from mt_transformers.data import Mixture, MultiTaskBatchSampler

Arguments = st.SearchStrategy[dict[str, Any]]


def order_of(name: str, counts: list[int], rng: np.random.Generator) -> list[int]:
    """The order of the tasks, written down one by one."""
    if name == "round_robin":
        return [task for turn in range(max(counts)) for task, count in enumerate(counts) if turn < count]
    tasks = [task for task, count in enumerate(counts) for _ in range(count)]
    return rng.permutation(np.array(tasks)).tolist() if name == "random" else tasks


def epoch_of(sizes: dict[str, int], mixture: Mixture, size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one process, from lists of all rows and of all turns."""
    rng = np.random.default_rng([seed, epoch, len(sizes)])
    counts = list(mixture.rows_per_epoch(sizes).values())
    waiting, start = [], 0
    for task, (rows, count) in enumerate(zip(sizes.values(), counts, strict=True)):
        first = epoch * count
        endless = [
            start + row
            for number in range((first + count) // rows + 1)
            for row in np.random.default_rng([seed, task, number, 1]).permutation(rows).tolist()
        ]
        waiting.append(endless[first : first + count])
        start += rows
    if mixture.batches == "mixed":
        rows = [waiting[task].pop(0) for task in order_of(mixture.order, counts, rng)]
        return [rows[first : first + size] for first in range(0, len(rows), size)]
    whole = [[rows[first : first + size] for first in range(0, len(rows), size)] for rows in waiting]
    return [whole[task].pop(0) for task in order_of(mixture.order, [len(each) for each in whole], rng)]


@given(data=st.data(), epoch=st.integers(0, 2))
def test_the_orders_are_those_of_numpys_permutations(
    sampler_arguments: Arguments, data: st.DataObject, epoch: int
) -> None:
    arguments = data.draw(
        sampler_arguments.filter(lambda each: each["num_processes"] == 1 and each["mixture"].sampling != "dynamic")
    )
    sampler = MultiTaskBatchSampler(**arguments)
    sampler.set_epoch(epoch)
    sizes, mixture, size, seed = (arguments[name] for name in ("sizes", "mixture", "batch_size", "seed"))
    assert list(sampler) == epoch_of(sizes, mixture, size, seed, epoch)


@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
def test_the_orders_of_epochs_that_are_found_in_many_blocks(kind: Any) -> None:
    sizes, mixture = {"a": 150_000, "b": 7, "c": 60_000}, Mixture(batches=kind)
    assert list(MultiTaskBatchSampler(sizes, mixture, 64, 1)) == epoch_of(sizes, mixture, 64, 1, 0)


@pytest.mark.parametrize(
    ("options", "grouped", "most"),
    [
        # lengths, 4 bytes; order of the tasks, 1; passes, 4
        ({}, True, 10),
        ({"order": "round_robin"}, True, 10),
        ({"order": "sequential"}, True, 7),
        ({"batches": "homogeneous"}, True, 9),
        ({}, False, 6),
        ({"batches": "homogeneous"}, False, 5),
    ],
)
def test_bytes_of_each_row(options: dict[str, Any], grouped: bool, most: float) -> None:
    sizes = {f"task_{number}": 100_000 for number in range(20)}
    tracemalloc.start()
    lengths = np.full(2_000_000, 9, dtype=np.int32) if grouped else None
    batches = iter(MultiTaskBatchSampler(sizes, Mixture(**options), 32, lengths=lengths))
    for _ in range(100):
        next(batches)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # a block of rows, or a window, is on its way at a time
    assert peak < most * 2_000_000 + 3_000_000


def test_blocks_are_the_batches() -> None:
    sampler = MultiTaskBatchSampler({"a": 9, "b": 4}, Mixture(), 2, num_processes=3)
    batches = list(sampler)
    rows = np.concatenate([rows for rows, _ in sampler.blocks()])
    sizes = np.concatenate([sizes for _, sizes in sampler.blocks()])
    assert rows.tolist() == [row for batch in batches for row in batch if row >= 0]
    assert sizes.tolist() == [sum(row >= 0 for row in batch) for batch in batches]
    assert sizes.tolist() == [2, 2, 2, 2, 2, 2, 1, 0, 0]


class CountedRows(Dataset[int]):
    """Remembers which rows were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __getitem__(self, index: int) -> int:
        self.read.append(index)
        return index


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
def test_batches_that_are_skipped_are_not_read(kind: Any, grouped: bool) -> None:
    lengths = np.arange(1000, dtype=np.int32) % 17 if grouped else None
    rows = CountedRows()
    sampler = MultiTaskBatchSampler({"a": 700, "b": 300}, Mixture(batches=kind), 4, lengths=lengths)
    loader = prepare_data_loader(DataLoader(rows, batch_sampler=sampler, collate_fn=list))
    left = list(skip_first_batches(loader, 100))
    assert left == list(sampler)[100:]
    assert rows.read == [row for batch in left for row in batch]
