"""Batches: known sequences, what holds for every mixture, and what accelerate makes of them."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset as Rows
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from mt_transformers.data import Mixture, MultiTaskBatchSampler, MultiTaskDataset
from mt_transformers.errors import InputError

Arguments = st.SearchStrategy[dict[str, Any]]


def tasks_of(sizes: dict[str, int], rows: list[int]) -> str:
    """The names of the rows' tasks, one letter each."""
    names = "".join(name * size for name, size in sizes.items())
    return "".join(names[row] for row in rows)


def global_batches(batches: list[list[int]], num_processes: int) -> list[list[int]]:
    """The rows that all processes train on in each step."""
    return [rows_in(batches[start : start + num_processes]) for start in range(0, len(batches), num_processes)]


def rows_in(batches: list[list[int]]) -> list[int]:
    """All rows of the batches that are trained on, in their order: without the fillers, which are negative."""
    return [row for batch in batches for row in batch if row >= 0]


def fillers_in(batches: list[list[int]]) -> list[int]:
    """All numbers of the batches that stand for a row without its labels."""
    return [row for batch in batches for row in batch if row < 0]


def one_process(arguments: dict[str, Any]) -> list[list[int]]:
    """The batches of one process that has the batch size of all together."""
    batch_size = arguments["batch_size"] * arguments["num_processes"]
    return list(MultiTaskBatchSampler(**{**arguments, "batch_size": batch_size, "num_processes": 1}))


def dealt_out(batch: list[int], num_processes: int) -> list[list[int]]:
    """What each process has of a global batch: as many rows, the first ones one more, or else a filler."""
    each, left = divmod(len(batch), num_processes)
    counts = [each + (process < left) for process in range(num_processes)]
    starts = [sum(counts[:process]) for process in range(num_processes)]
    return [
        batch[start : start + count] if count else [-1 - batch[0]] for start, count in zip(starts, counts, strict=True)
    ]


class RowNumbers(Dataset[int]):
    """Answers every number with itself."""

    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize(
    ("order", "kind", "batch_size", "expected"),
    [
        ("round_robin", "mixed", 4, ["abab", "abaa"]),
        ("round_robin", "mixed", 3, ["aba", "bab", "aa"]),
        ("sequential", "mixed", 4, ["aaaa", "abbb"]),
        ("round_robin", "homogeneous", 2, ["aa", "bb", "aa", "b", "a"]),
        ("sequential", "homogeneous", 2, ["aa", "aa", "a", "bb", "b"]),
        ("sequential", "homogeneous", 4, ["aaaa", "a", "bbb"]),
    ],
)
def test_known_sequences(order: str, kind: Any, batch_size: int, expected: list[str]) -> None:
    sizes = {"a": 5, "b": 3}
    sampler = MultiTaskBatchSampler(sizes, Mixture(order=order, batches=kind), batch_size)
    assert [tasks_of(sizes, batch) for batch in sampler] == expected
    assert sorted(rows_in(list(sampler))) == list(range(8))


@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
def test_random_order_is_neither_of_the_others(kind: Any) -> None:
    sizes = {"a": 20, "b": 20}
    by_order = {}
    for order in ("random", "round_robin", "sequential"):
        sampler = MultiTaskBatchSampler(sizes, Mixture(order=order, batches=kind), 2)
        by_order[order] = "".join(tasks_of(sizes, batch) for batch in sampler)
    assert len(set(by_order.values())) == 3
    assert {tuple(sorted(Counter(each).items())) for each in by_order.values()} == {(("a", 20), ("b", 20))}


def test_rows_repeat_where_the_mixture_says_so() -> None:
    sampler = MultiTaskBatchSampler({"a": 2, "b": 6}, Mixture(sampling="uniform"), 4)
    assert Counter(rows_in(list(sampler))) == {0: 3, 1: 3, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1}


def test_rows_are_left_out_where_the_mixture_says_so() -> None:
    sampler = MultiTaskBatchSampler({"a": 2, "b": 6}, Mixture(sampling="uniform", stop="first"), 4)
    rows = rows_in(list(sampler))
    assert (len(rows), len(set(rows)), sum(row < 2 for row in rows)) == (4, 4, 2)


@pytest.mark.parametrize(
    ("count", "num_processes", "drop_last", "lengths"),
    [
        (8, 1, False, [3, 3, 2]),
        (8, 1, True, [3, 3]),
        (2, 1, False, [2]),
        (12, 2, False, [3, 3, 3, 3]),
        # the rows that are left are dealt out evenly
        (9, 2, False, [3, 3, 2, 1]),
        (9, 2, True, [3, 3]),
        (3, 2, False, [2, 1]),
        (13, 3, False, [3, 3, 3, 2, 1, 1]),
        # a process for which none is left has a filler
        (7, 2, False, [3, 3, 1, 0]),
        (7, 2, True, [3, 3]),
        (11, 3, False, [3, 3, 3, 1, 1, 0]),
        (1, 4, False, [1, 0, 0, 0]),
    ],
)
def test_rows_in_each_batch(count: int, num_processes: int, drop_last: bool, lengths: list[int]) -> None:
    sampler = MultiTaskBatchSampler({"a": count}, Mixture(), 3, num_processes=num_processes, drop_last=drop_last)
    assert [len(rows_in([batch])) for batch in sampler] == lengths
    assert [len(batch) for batch in sampler] == [length or 1 for length in lengths]
    assert len(sampler) == len(lengths)


def test_known_fillers() -> None:
    # in the order of the tasks, one row each: [0 1] [2 _], where _ stands for row 2
    sizes, mixture = {"a": 1, "b": 1, "c": 1}, Mixture(order="sequential")
    assert list(MultiTaskBatchSampler(sizes, mixture, 1, num_processes=2)) == [[0], [1], [2], [-3]]
    assert list(MultiTaskBatchSampler(sizes, mixture, 1, num_processes=4)) == [[0], [1], [2], [-1]]
    assert list(MultiTaskBatchSampler(sizes, mixture, 2, num_processes=4)) == [[0], [1], [2], [-1]]
    assert list(MultiTaskBatchSampler(sizes, mixture, 1, num_processes=5)) == [[0], [1], [2], [-1], [-1]]
    # each task has batches of its own
    mixture = Mixture(order="sequential", batches="homogeneous")
    assert list(MultiTaskBatchSampler(sizes, mixture, 1, num_processes=2)) == [[0], [-1], [1], [-2], [2], [-3]]


@pytest.mark.parametrize("num_processes", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
def test_every_remainder_is_dealt_out(num_processes: int, kind: Any) -> None:
    for count in range(1, 20):
        for batch_size in (1, 2, 3):
            sizes, full = {"a": count, "b": 3}, batch_size * num_processes
            arguments = {"sizes": sizes, "mixture": Mixture(batches=kind), "batch_size": batch_size}
            arguments["num_processes"] = num_processes
            sampler = MultiTaskBatchSampler(**arguments)
            groups = [count, 3] if kind == "homogeneous" else [count + 3]
            assert len(sampler) == sum(math.ceil(group / full) for group in groups) * num_processes
            assert list(sampler) == [
                part for batch in one_process(arguments) for part in dealt_out(batch, num_processes)
            ]
            lacking = sum(max(0, num_processes - group % full) for group in groups if group % full)
            assert len(fillers_in(list(sampler))) == lacking
            assert sorted(rows_in(list(sampler))) == list(range(count + 3))


@pytest.mark.parametrize(
    ("sizes", "kind", "options", "message"),
    [
        ({"a": 5}, "mixed", {"batch_size": 0}, "expected a batch size of at least 1, found 0"),
        ({"a": 5}, "mixed", {"batch_size": -2}, "expected a batch size of at least 1, found -2"),
        ({"a": 5}, "mixed", {"batch_size": 6, "drop_last": True}, "an epoch of 5 rows has no batch of 6 rows"),
        (
            {"a": 5, "b": 5},
            "homogeneous",
            {"batch_size": 3, "num_processes": 2, "drop_last": True},
            "an epoch of 10 rows has no batch of 6 rows",
        ),
    ],
)
def test_what_makes_no_batches(sizes: dict[str, int], kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        MultiTaskBatchSampler(sizes, Mixture(batches=kind), **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("order", ["random", "round_robin", "sequential"])
@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
def test_seed_and_epoch_settle_everything(order: str, kind: Any) -> None:
    def epoch_of(seed: int, epoch: int, mixture: Mixture) -> list[list[int]]:
        sampler = MultiTaskBatchSampler({"a": 12, "b": 9}, mixture, 4, seed)
        sampler.set_epoch(epoch)
        assert list(sampler) == list(sampler)
        return list(sampler)

    mixture = Mixture(order=order, batches=kind)
    places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    first = [epoch_of(*place, mixture) for place in places]
    # the state of global generators has no part in it
    np.random.seed(5)
    assert [epoch_of(*place, mixture) for place in places] == first
    assert len({str(batches) for batches in first}) == len(places)


@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
def test_the_order_of_the_tasks_is_another_in_each_epoch(kind: Any) -> None:
    sizes, orders = {"a": 20, "b": 20}, []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        sampler = MultiTaskBatchSampler(sizes, Mixture(batches=kind), 2, seed)
        sampler.set_epoch(epoch)
        orders.append(tasks_of(sizes, rows_in(list(sampler))))
    assert len(set(orders)) == 4


def test_without_set_epoch_it_is_epoch_0() -> None:
    sampler, other = (MultiTaskBatchSampler({"a": 9}, Mixture(), 2) for _ in range(2))
    other.set_epoch(1)
    assert list(sampler) != list(other)
    other.set_epoch(0)
    assert list(sampler) == list(other)


@given(data=st.data(), drop_last=st.booleans())
def test_len_is_true(sampler_arguments: Arguments, data: st.DataObject, drop_last: bool) -> None:
    arguments = data.draw(sampler_arguments)
    try:
        sampler = MultiTaskBatchSampler(**arguments, drop_last=drop_last)
    except InputError as error:
        assert drop_last
        assert "has no batch of" in str(error)  # noqa: PT017
        return
    rows = list(arguments["mixture"].rows_per_epoch(arguments["sizes"]).values())
    groups = rows if arguments["mixture"].batches == "homogeneous" else [sum(rows)]
    full = arguments["batch_size"] * arguments["num_processes"]
    steps = sum(count // full if drop_last else math.ceil(count / full) for count in groups)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        assert len(sampler) == len(list(sampler)) == steps * arguments["num_processes"]


@given(data=st.data())
def test_rows_of_each_task_are_those_of_the_mixture(sampler_arguments: Arguments, data: st.DataObject) -> None:
    arguments = data.draw(sampler_arguments)
    sizes, mixture = arguments["sizes"], arguments["mixture"]
    sampler = MultiTaskBatchSampler(**arguments)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        found = Counter(tasks_of(sizes, rows_in(list(sampler))))
        assert {name: found[name] for name in sizes} == mixture.rows_per_epoch(sizes)


@given(data=st.data())
def test_no_row_comes_again_before_all_have_come(sampler_arguments: Arguments, data: st.DataObject) -> None:
    arguments = data.draw(sampler_arguments)
    sampler = MultiTaskBatchSampler(**arguments)
    rows: list[int] = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        rows += rows_in(list(sampler))
    start = 0
    for size in arguments["sizes"].values():
        own = [row for row in rows if start <= row < start + size]
        for first in range(0, len(own), size):
            turn = own[first : first + size]
            assert len(set(turn)) == len(turn)
        start += size


@given(data=st.data())
def test_proportional_sees_every_row_once(sampler_arguments: Arguments, data: st.DataObject) -> None:
    arguments = data.draw(
        sampler_arguments.filter(lambda each: each["mixture"].rows_per_epoch(each["sizes"]) == each["sizes"])
    )
    sampler = MultiTaskBatchSampler(**arguments)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        assert sorted(rows_in(list(sampler))) == list(range(sum(arguments["sizes"].values())))


@given(data=st.data(), drop_last=st.booleans())
def test_processes_share_every_step(sampler_arguments: Arguments, data: st.DataObject, drop_last: bool) -> None:
    arguments = {**data.draw(sampler_arguments), "drop_last": drop_last}
    num_processes, full = arguments["num_processes"], arguments["batch_size"] * arguments["num_processes"]
    try:
        batches = list(MultiTaskBatchSampler(**arguments))
    except InputError:
        assert drop_last
        return
    assert len(batches) % num_processes == 0
    for start in range(0, len(batches), num_processes):
        parts = batches[start : start + num_processes]
        rows = [len(rows_in([part])) for part in parts]
        assert min(len(part) for part in parts) > 0
        assert max(rows) - min(rows) <= 1
        assert max(rows) <= arguments["batch_size"]
        assert sum(rows) == full or not drop_last
        # a filler only for a process without a row, and for each of them, standing for a row of the same step
        assert [len(fillers_in([part])) for part in parts] == [int(count == 0) for count in rows]
        assert set(fillers_in(parts)) <= {-1 - rows_in(parts)[0]}
        if arguments["mixture"].batches == "homogeneous":
            assert len(set(tasks_of(arguments["sizes"], rows_in(parts)))) == 1


def test_mixed_batches_do_mix() -> None:
    sizes = {"a": 8, "b": 8}
    sampler = MultiTaskBatchSampler(sizes, Mixture(order="round_robin"), 2, num_processes=2)
    assert [tasks_of(sizes, batch) for batch in sampler] == ["ab"] * 8


@given(data=st.data(), drop_last=st.booleans())
def test_many_processes_have_the_batches_of_one(
    sampler_arguments: Arguments, data: st.DataObject, drop_last: bool
) -> None:
    arguments = {**data.draw(sampler_arguments), "drop_last": drop_last}
    num_processes = arguments["num_processes"]
    try:
        one = one_process(arguments)
    except InputError:
        assert drop_last
        with pytest.raises(InputError, match="has no batch of"):
            MultiTaskBatchSampler(**arguments)
        return
    many = list(MultiTaskBatchSampler(**arguments))
    assert global_batches(many, num_processes) == one
    assert many == [part for batch in one for part in dealt_out(batch, num_processes)]


@given(data=st.data(), epoch=st.integers(0, 3))
def test_processes_and_batch_size_share_one_number(
    sampler_arguments: Arguments, data: st.DataObject, epoch: int
) -> None:
    arguments = data.draw(sampler_arguments)
    steps = []
    for num_processes in (1, 2, 3, 6):
        sampler = MultiTaskBatchSampler(
            **{**arguments, "batch_size": 6 // num_processes, "num_processes": num_processes}
        )
        sampler.set_epoch(epoch)
        steps.append(global_batches(list(sampler), num_processes))
    assert steps[0] == steps[1] == steps[2] == steps[3]


def batches_of_processes(num_processes: int, dataset: Any, **options: Any) -> list[list[Any]]:
    """For each process the batches that accelerate hands out, as lists."""
    by_process = []
    for process in range(num_processes):
        sampler = MultiTaskBatchSampler(**options, num_processes=num_processes)
        loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=list)
        prepared = prepare_data_loader(loader, num_processes=num_processes, process_index=process)
        batches = list(prepared)
        assert len(prepared) == len(batches)
        by_process.append(batches)
    return by_process


@pytest.mark.parametrize("num_processes", [2, 3])
@pytest.mark.parametrize("order", ["random", "round_robin", "sequential"])
@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
@pytest.mark.parametrize("sizes", [{"a": 5, "b": 3}, {"a": 8, "b": 4}, {"a": 7, "b": 10}, {"a": 1, "b": 2}])
def test_accelerate_hands_out_every_row_once(sizes: dict[str, int], kind: Any, order: str, num_processes: int) -> None:
    options = {"sizes": sizes, "mixture": Mixture(order=order, batches=kind), "batch_size": 2}
    by_process = batches_of_processes(num_processes, RowNumbers(), **options)
    steps = list(zip(*by_process, strict=True))
    one = one_process({**options, "num_processes": num_processes})
    assert [list(step) for step in steps] == [dealt_out(batch, num_processes) for batch in one]
    assert sorted(rows_in([part for step in steps for part in step])) == list(range(sum(sizes.values())))


def test_three_processes_of_accelerate_have_as_many_steps() -> None:
    parts = batches_of_processes(3, RowNumbers(), sizes={"a": 11, "b": 9}, mixture=Mixture(), batch_size=2)
    # 20 rows: three global batches of 6, and 2 more rows for the first two processes
    assert [[len(rows_in([batch])) for batch in part] for part in parts] == [[2, 2, 2, 1], [2, 2, 2, 1], [2, 2, 2, 0]]
    assert [len(fillers_in(part)) for part in parts] == [0, 0, 1]
    assert sorted(row for part in parts for row in rows_in(part)) == list(range(20))


@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_accelerate_hands_out_every_label_once(num_processes: int) -> None:
    rows = MultiTaskDataset({name: Rows.from_dict({"x": [5] * 3, f"labels_{name}": [0, 1, 2]}) for name in ("a", "b")})
    options = {"sizes": {"a": 3, "b": 3}, "mixture": Mixture(batches="homogeneous"), "batch_size": 1}
    found = [
        row for batches in batches_of_processes(num_processes, rows, **options) for batch in batches for row in batch
    ]
    for task, name in enumerate(("a", "b")):
        assert sorted(row[f"labels_{name}"] for row in found if f"labels_{name}" in row) == [0, 1, 2]
        assert sum(row["task_index"] == task for row in found) == 3
    fillers = [row for row in found if row["task_index"] == -1]
    # 3 rows of each task: for two processes 2 and 1, for four 3 in one step
    assert fillers == [{"x": 5, "task_index": -1}] * {1: 0, 2: 2, 4: 2}[num_processes]
