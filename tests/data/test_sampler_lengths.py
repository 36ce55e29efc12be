"""Batches of like length: the rows of every window stay, and so do the shares; less is padded."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from accelerate.data_loader import prepare_data_loader
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from mt_transformers.data import Mixture, MultiTaskBatchSampler
from mt_transformers.data.length_groups import LENGTH_GROUP_WINDOW
from mt_transformers.errors import InputError

Arguments = st.SearchStrategy[dict[str, Any]]


@st.composite
def _grouped_arguments(draw: st.DrawFn, arguments: Arguments) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of a sampler without lengths, and what groups its rows."""
    plain = draw(arguments)
    rows = sum(plain["sizes"].values())
    lengths = draw(st.lists(st.integers(1, 9), min_size=rows, max_size=rows))
    grouping = {"lengths": np.array(lengths, dtype=np.int32), "window": draw(st.integers(1, 5))}
    return plain, {**grouping, "keep_tasks": draw(st.booleans())}


class RowNumbers(Dataset[int]):
    """Answers every number with itself."""

    def __getitem__(self, index: int) -> int:
        return index


def tasks_of(sizes: dict[str, int], batch: list[int]) -> list[int]:
    """The task of each row of a batch."""
    return [int(task) for task in np.searchsorted(np.cumsum(list(sizes.values())), batch, side="right")]


def tasks_in(sizes: dict[str, int], batch: list[int]) -> set[int]:
    """The tasks of a batch."""
    return set(tasks_of(sizes, batch))


def rows_of(sizes: dict[str, int], batch: list[int], task: int) -> list[int]:
    """The rows of one task in a batch."""
    return [row for row, each in zip(batch, tasks_of(sizes, batch), strict=True) if each == task]


def steps_of(sampler: MultiTaskBatchSampler, num_processes: int) -> list[list[int]]:
    """The rows that all processes train on in each step."""
    batches = list(sampler)
    return [
        [row for batch in batches[start : start + num_processes] for row in batch if row >= 0]
        for start in range(0, len(batches), num_processes)
    ]


def windows_of(steps: list[list[int]], window: int) -> list[list[int]]:
    """The rows of so many steps together, sorted."""
    return [
        sorted(row for step in steps[start : start + window] for row in step) for start in range(0, len(steps), window)
    ]


@given(data=st.data(), epoch=st.integers(0, 2), drop_last=st.booleans())
def test_every_window_keeps_its_rows(
    sampler_arguments: Arguments, data: st.DataObject, epoch: int, drop_last: bool
) -> None:
    plain, grouping = data.draw(_grouped_arguments(sampler_arguments))
    plain["drop_last"] = drop_last
    try:
        samplers = [MultiTaskBatchSampler(**plain), MultiTaskBatchSampler(**plain, **grouping)]
    except InputError:
        assert drop_last
        return
    for sampler in samplers:
        sampler.set_epoch(epoch)
    assert len(samplers[0]) == len(samplers[1]) == len(list(samplers[1]))
    random, grouped = (steps_of(sampler, plain["num_processes"]) for sampler in samplers)
    assert [len(step) for step in grouped] == [len(step) for step in random]
    assert windows_of(grouped, grouping["window"]) == windows_of(random, grouping["window"])
    if plain["mixture"].batches == "homogeneous" or grouping["keep_tasks"]:
        # the schedule stays as it is, place by place
        assert [tasks_of(plain["sizes"], step) for step in grouped] == [
            tasks_of(plain["sizes"], step) for step in random
        ]


@given(data=st.data())
def test_lengths_of_batches_do_not_overlap_within_a_window(sampler_arguments: Arguments, data: st.DataObject) -> None:
    """Where rows of all tasks may change places; else the rows of each task for themselves."""
    plain, grouping = data.draw(_grouped_arguments(sampler_arguments))
    lengths, window = grouping["lengths"], grouping["window"]
    steps = steps_of(MultiTaskBatchSampler(**plain, **grouping), plain["num_processes"])
    for start in range(0, len(steps), window):
        own = steps[start : start + window]
        groups = [own]
        if plain["mixture"].batches == "homogeneous" or grouping["keep_tasks"]:
            groups = [[rows_of(plain["sizes"], step, task) for step in own] for task in range(3)]
        for group in groups:
            spans = sorted((int(lengths[step].min()), int(lengths[step].max())) for step in group if step)
            assert all(before[1] <= after[0] for before, after in pairwise(spans))


@given(data=st.data(), epoch=st.integers(0, 2))
def test_many_processes_have_the_batches_of_one(sampler_arguments: Arguments, data: st.DataObject, epoch: int) -> None:
    plain, grouping = data.draw(_grouped_arguments(sampler_arguments))
    steps = []
    for num_processes in (1, 2, 3, 6):
        sizes = {"batch_size": 6 // num_processes, "num_processes": num_processes}
        sampler = MultiTaskBatchSampler(**{**plain, **sizes}, **grouping)
        sampler.set_epoch(epoch)
        steps.append(steps_of(sampler, num_processes))
        assert list(sampler) == list(sampler)
    assert steps[0] == steps[1] == steps[2] == steps[3]


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
def test_accelerate_hands_out_every_row_once(kind: Any, num_processes: int) -> None:
    lengths = np.arange(40, dtype=np.int32) * 7 % 11
    found = []
    for process in range(num_processes):
        sampler = MultiTaskBatchSampler(
            {"a": 29, "b": 11}, Mixture(batches=kind), 2, num_processes=num_processes, lengths=lengths, window=4
        )
        loader = DataLoader(RowNumbers(), batch_sampler=sampler, collate_fn=list)
        found.append(list(prepare_data_loader(loader, num_processes=num_processes, process_index=process)))
    assert len({len(batches) for batches in found}) == 1
    assert sorted(row for batches in found for batch in batches for row in batch if row >= 0) == list(range(40))


@pytest.mark.parametrize(("kind", "places"), [("mixed", 1), ("homogeneous", 2)])
def test_the_default_window(kind: Any, places: int) -> None:
    """50 global batches, of each task where they are homogeneous."""
    lengths = np.random.default_rng(0).integers(1, 50, 1000, dtype=np.int32)
    options = {"sizes": {"a": 500, "b": 500}, "mixture": Mixture(batches=kind), "batch_size": 4, "lengths": lengths}
    window = LENGTH_GROUP_WINDOW * places
    assert list(MultiTaskBatchSampler(**options)) == list(MultiTaskBatchSampler(**options, window=window))
    assert list(MultiTaskBatchSampler(**options)) != list(MultiTaskBatchSampler(**options, window=window - 1))


@given(data=st.data())
def test_the_shortest_rows_of_all_tasks_meet(sampler_arguments: Arguments, data: st.DataObject) -> None:
    """The batches of a window can be put in an order in which no task's rows get shorter."""
    plain, grouping = data.draw(_grouped_arguments(sampler_arguments))
    plain["mixture"] = Mixture()
    window, lengths = grouping["window"], grouping["lengths"]
    sampler = MultiTaskBatchSampler(**plain, **{**grouping, "keep_tasks": True})
    steps = steps_of(sampler, plain["num_processes"])
    for start in range(0, len(steps), window):
        own = steps[start : start + window]
        spans = [[sorted(lengths[rows_of(plain["sizes"], step, task)].tolist()) for task in range(3)] for step in own]
        # that one batch is before the other must not be said by one task and denied by another
        for first, second in combinations(spans, 2):
            signs = {
                one[0] > other[-1]
                for one, other in zip(first, second, strict=True)
                if one and other and (one[0] > other[-1] or other[0] > one[-1])
            }
            assert len(signs) <= 1


@pytest.mark.parametrize(("kind", "random", "grouped"), [("mixed", 1.8, 1.1), ("homogeneous", 1.8, 1.1)])
def test_less_is_padded(kind: Any, random: float, grouped: float) -> None:
    lengths = np.random.default_rng(0).integers(1, 65, 6000, dtype=np.int32)
    options = {"sizes": {"a": 4000, "b": 2000}, "mixture": Mixture(batches=kind), "batch_size": 32}

    def padded(sampler: MultiTaskBatchSampler) -> float:
        """Tokens that are computed, for each token that there is."""
        return sum(len(batch) * int(lengths[batch].max()) for batch in sampler) / int(lengths.sum())

    assert padded(MultiTaskBatchSampler(**options)) > random
    assert padded(MultiTaskBatchSampler(**options, lengths=lengths)) < grouped


def test_the_order_of_batches_does_not_follow_their_length() -> None:
    lengths = np.arange(2000, dtype=np.int32)
    batches = list(MultiTaskBatchSampler({"a": 2000}, Mixture(), 4, lengths=lengths, window=500))
    longest = [max(batch) for batch in batches]
    assert abs(float(np.corrcoef(longest, range(len(longest)))[0, 1])) < 0.2
    assert sorted(longest) == list(range(3, 2000, 4))


def test_each_epoch_has_other_groups() -> None:
    sampler = MultiTaskBatchSampler({"a": 64}, Mixture(), 4, lengths=np.ones(64, dtype=np.int32))
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert sorted(row for batch in sampler for row in batch) == list(range(64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": np.ones(7, dtype=np.int32)}, "expected a length for each of 8 rows, found 7"),
        ({"lengths": np.ones(8, dtype=np.int32), "window": 0}, "expected a window of at least 1 batch, found 0"),
    ],
)
def test_lengths_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultiTaskBatchSampler({"a": 5, "b": 3}, Mixture(), 2, **options)
