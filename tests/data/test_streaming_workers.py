"""Streams on several processes with several workers: in each pass every row once, and no process without rows."""

from __future__ import annotations

import math
import pickle
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from datasets import Dataset, Features, IterableDataset, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from fixtures import INTENTS, MOODS, SLOTS, tiny_tokenizer
from mt_transformers import Mixture, Task
from mt_transformers.data import PreparedTasks
from mt_transformers.data.stream_shards import TaskStream
from mt_transformers.data.streaming import MultiTaskStream
from mt_transformers.errors import InputError
from mt_transformers.heads import get_head_config

# a machine may have fewer cores than these tests have workers
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

Row = dict[str, Any]
HEADS: dict[str, dict[str, Any]] = {
    "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
}


def as_they_are(columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
    return columns


def numbers(count: int, files: int = 1, start: int = 0) -> TaskStream:
    """A stream whose rows are numbers, and stay so."""
    rows = Dataset.from_dict({"number": list(range(start, start + count))})
    return TaskStream(rows.to_iterable_dataset(num_shards=files), as_they_are)


def two(first: int, second: int, files: int = 1) -> dict[str, TaskStream]:
    return {"a": numbers(first, files), "b": numbers(second, files, 10_000)}


def mixed(streams: dict[str, TaskStream], rank: int = 0, ranks: int = 1, **options: Any) -> MultiTaskStream:
    mixture = Mixture(**{"sampling": "uniform", **options})
    return MultiTaskStream(streams, mixture, 0, True, rank, ranks)


def batches_of(stream: MultiTaskStream, number: int, workers: int = 2, size: int = 4) -> list[list[Row]]:
    """The first batches that a process has, as lists of rows."""
    loader = DataLoader(stream, batch_size=size, num_workers=workers, collate_fn=list)
    return list(islice(loader, number))


def shards_of(streams: dict[str, TaskStream], number: int, size: int = 4, **options: Any) -> list[list[Row]]:
    """The first rows of each worker, of 2 processes x 2 workers."""
    found: list[list[Row]] = []
    for rank in range(2):
        batches = batches_of(mixed(streams, rank, 2, **options), 2 * number, size=size)
        assert [len(batch) for batch in batches] == [size] * (2 * number)
        # a loader takes from its workers in turn
        found += [[row for batch in batches[worker::2] for row in batch] for worker in range(2)]
    return found


def passes_of(shards: list[list[Row]], passes: int) -> list[Counter[int]]:
    """Of each pass the rows of all shards, each of which must have gone on to another pass."""
    counts: list[Counter[int]] = [Counter() for _ in range(passes)]
    for rows in shards:
        indices = [row["pass_index"] for row in rows]
        assert indices == sorted(indices)
        assert indices[0] == 0
        assert indices[-1] >= passes
        for row in rows:
            if row["pass_index"] < passes:
                counts[row["pass_index"]][row["number"]] += 1
    return counts


# each row once


@pytest.mark.parametrize("files", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("order", ["random", "round_robin", "sequential"])
def test_each_row_comes_once_in_each_pass(files: int, order: str) -> None:
    """Of 33 and 21 rows, in files that are not as long as each other."""
    shards = shards_of(two(33, 21, files), 13, order=order, stop="all")
    expected = [*range(33), *range(10_000, 10_021)]
    counts = passes_of(shards, 2)
    assert [sorted(each.elements()) for each in counts] == [expected] * 2
    # no process or worker is left without its part
    sizes = [sum(row["pass_index"] == 0 for row in rows) for rows in shards]
    assert min(sizes) >= 9


@pytest.mark.parametrize("files", [1, 2, 4])
@pytest.mark.parametrize("order", ["random", "round_robin"])
def test_longest_has_each_row_at_least_once(files: int, order: str) -> None:
    shards = shards_of(two(24, 8, files), 30, order=order)
    for counts in passes_of(shards, 2):
        assert set(counts) == {*range(24), *range(10_000, 10_008)}
    # in round robin the longer task's rows come once, and as many of the other
    if order == "round_robin":
        for counts in passes_of(shards, 2):
            assert {counts[number] for number in range(24)} == {1}
            assert sum(counts[number] for number in range(10_000, 10_008)) in range(20, 29)


@pytest.mark.parametrize("files", [1, 2, 4])
@pytest.mark.parametrize("order", ["random", "round_robin"])
def test_first_has_no_row_twice(files: int, order: str) -> None:
    shards = shards_of(two(40, 12, files), 20, order=order, stop="first")
    for counts in passes_of(shards, 2):
        assert max(counts.values()) == 1
    # each shard ends its pass with the last of its rows of a task: 10 of the one or 3 of the other
    for rows in shards:
        counts = Counter(row["task_index"] for row in rows if row["pass_index"] == 0)
        assert (counts[0] == 10) != (counts[1] == 3)


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(12, 30), min_size=1, max_size=3),
    files=st.integers(1, 5),
    ranks=st.integers(1, 4),
    order=st.sampled_from(["random", "round_robin", "sequential"]),
)
def test_each_row_comes_once_on_any_number_of_processes(sizes: list[int], files: int, ranks: int, order: str) -> None:
    streams = {f"t{task}": numbers(size, files, 1000 * task) for task, size in enumerate(sizes)}
    counts: list[Counter[int]] = [Counter(), Counter()]
    for rank in range(ranks):
        rows = iter(mixed(streams, rank, ranks, order=order, stop="all"))
        while (row := next(rows))["pass_index"] < 2:
            counts[row["pass_index"]][row["number"]] += 1
    expected = {1000 * task + row: 1 for task, size in enumerate(sizes) for row in range(size)}
    assert counts == [expected] * 2


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_stream_of_one_file_feeds_all_workers_of_one_process(workers: int) -> None:
    batches = batches_of(mixed(two(30, 30), stop="all"), 6 * workers, workers)
    for worker in range(workers):
        own = [row["number"] for batch in batches[worker::workers] for row in batch]
        assert len(own) == 24
        assert {number % 10_000 % workers for number in own} == {worker}


# shares and orders


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_shares_hold_over_all_shards(share: float) -> None:
    weights = {"a": share, "b": 1 - share}
    shards = shards_of(two(2000, 2000, 2), 100, sampling="weighted", weights=weights)
    tasks = [row["task_index"] for rows in shards for row in rows]
    assert abs(tasks.count(0) - share * len(tasks)) < 4 * math.sqrt(share * (1 - share) * len(tasks))


def test_shards_choose_tasks_with_their_own_random_numbers() -> None:
    shards = shards_of(two(400, 400), 10)
    assert len({tuple(row["task_index"] for row in rows) for rows in shards}) == 4


def test_in_round_robin_batches_of_one_row_are_not_all_of_one_task() -> None:
    """Else a step of two processes would train one head, and the next step the other."""
    first, second = (batches_of(mixed(two(60, 60), rank, 2, order="round_robin"), 12, size=1) for rank in range(2))
    for one, other in zip(first, second, strict=True):
        assert {one[0]["task_index"], other[0]["task_index"]} == {0, 1}


def test_passes_are_shuffled_anew() -> None:
    for rows in shards_of(two(80, 80), 25, stop="all"):
        orders: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            orders[row["pass_index"]].append(row["number"])
        assert sorted(orders[0]) == sorted(orders[1])
        assert orders[0] != orders[1]


def test_repeated_rows_come_in_another_order() -> None:
    rows = [row["number"] for row in islice(mixed(two(20, 60), order="round_robin"), 120) if row["number"] < 10_000]
    rounds = [rows[start : start + 20] for start in (0, 20, 40)]
    assert [sorted(each) for each in rounds] == [list(range(20))] * 3
    assert len({tuple(each) for each in rounds}) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_an_order_comes_again(workers: int) -> None:
    streams = two(40, 30, 2)
    assert batches_of(mixed(streams, 1, 2), 20, workers) == batches_of(mixed(streams, 1, 2), 20, workers)


# a run that goes on


def rest_of(stream: MultiTaskStream, batches: int, number: int, workers: int = 0) -> list[list[Row]]:
    """The batches behind those that are left empty."""
    stream.skip_batches(batches, 4)
    found = batches_of(stream, batches + number, workers)
    assert found[:batches] == [[{}] * 4] * batches
    return found[batches:]


@settings(max_examples=40)
@given(
    options=st.sampled_from(
        [{"order": order, "stop": stop} for order in ("random", "round_robin") for stop in ("all", "first", "longest")]
        + [{"order": "sequential"}]
    ),
    files=st.integers(1, 4),
    ranks=st.integers(1, 3),
    batches=st.integers(0, 40),
)
def test_what_comes_behind_skipped_batches(options: dict[str, Any], files: int, ranks: int, batches: int) -> None:
    """In passes of at most 24 rows, over at most 160 rows."""
    stream = mixed(two(15, 9, files), ranks - 1, ranks, **options)
    expected = batches_of(stream, batches + 3, workers=0)[batches:]
    assert rest_of(stream, batches, 3) == expected
    stream.skip_batches(0, 4)
    assert batches_of(stream, batches + 3, workers=0)[batches:] == expected


@pytest.mark.parametrize("batches", [1, 2, 7, 30])
def test_workers_skip_their_own_batches(batches: int) -> None:
    stream = mixed(two(30, 20, 3), 1, 2)
    expected = batches_of(stream, batches + 5)[batches:]
    assert rest_of(stream, batches, 5, workers=2) == expected


def test_skipped_rows_are_not_prepared_and_passes_not_read() -> None:
    seen: list[int] = []
    opened: list[int] = []

    def noted(columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        seen.extend(columns["number"])
        return columns

    def rows_of(files: list[int]) -> Iterator[dict[str, int]]:
        for file in files:
            opened.append(file)
            yield from ({"number": 10 * file + row} for row in range(10))

    features = Features({"number": Value("int64")})
    split = IterableDataset.from_generator(rows_of, gen_kwargs={"files": [0, 1, 2]}, features=features)
    stream = MultiTaskStream({"a": TaskStream(split, noted)}, Mixture(sampling="uniform"), 0, endless=False)
    stream.skip_batches(75, 4)
    rows = list(stream)
    assert rows[:300] == [{}] * 300
    # ten passes of 30 rows are over
    assert rows[300:] == []
    assert seen == []
    # the first one, then all rows once to count them, then the tenth
    assert Counter(opened) == {0: 3, 1: 3, 2: 3}
    stream.skip_batches(5, 4)
    opened.clear()
    assert len(list(stream)) == 30
    assert len(seen) == 10
    # a pass that does not end is not counted
    assert Counter(opened) == {0: 1, 1: 1, 2: 1}


# what a worker needs


def test_rows_of_a_text_task_are_those_of_one_process(two_tasks: dict[str, Task]) -> None:
    tasks = {
        name: Task(
            dataset={"train": task.dataset["train"].to_iterable_dataset(num_shards=3)},
            inputs=task.inputs,
            labels=task.labels,
        )
        for name, task in two_tasks.items()
    }
    heads = {name: get_head_config(name, values) for name, values in HEADS.items()}
    prepared = PreparedTasks(tasks, heads, tiny_tokenizer())
    prepared.prepare()
    mixture = Mixture(sampling="uniform", stop="all")
    whole = sorted(map(str, prepared.train_dataset(mixture, 0)))
    assert len(whole) == 24
    found: list[str] = []
    for rank in range(2):
        part = prepared.train_dataset(mixture, 0, process_index=rank, num_processes=2)
        found += map(str, pickle.loads(pickle.dumps(part)))
    assert sorted(found) == whole


@pytest.mark.parametrize("files", [1, 2])
def test_a_worker_prepares_only_its_own_rows(files: int) -> None:
    seen: list[int] = []

    def noted(columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        seen.extend(columns["number"])
        return columns

    rows = Dataset.from_dict({"number": list(range(40))}).to_iterable_dataset(num_shards=files)
    stream = MultiTaskStream({"a": TaskStream(rows, noted)}, Mixture(sampling="uniform"), 0, False, 1, 4)
    own = [row["number"] for row in stream]
    assert sorted(seen) == sorted(own)
    assert len(own) == 10


# too few rows


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ((3, 20), {}, r"4 processes x 1 workers in every pass, found rows: 3 in the files of a\."),
        ((3, 20), {"stop": "first", "order": "round_robin"}, "found rows: 3 in the files of a"),
        ((3, 2), {"stop": "all"}, "found rows: 3 in the files of a, 2 in the files of b"),
        ((3, 3), {"order": "sequential"}, "found rows: 3 in the files of a, 3 in the files of b"),
    ],
)
def test_a_process_without_rows_is_an_error(rows: tuple[int, int], options: dict[str, Any], message: str) -> None:
    """It would read for ever what it has not."""
    with pytest.raises(InputError, match=message):
        next(iter(mixed(two(*rows), 3, 4, **options)))


@pytest.mark.parametrize("order", ["random", "round_robin", "sequential"])
def test_where_rows_come_once_a_worker_may_lack_a_task(order: str) -> None:
    shards = shards_of(two(2, 20), 4, order=order, stop="all")
    assert sorted(passes_of(shards, 1)[0].elements()) == [0, 1, *range(10_000, 10_020)]


def test_a_task_without_a_share_may_be_empty() -> None:
    """One that is left out needs no rows."""
    streams = {"a": numbers(8), "b": numbers(1, start=10_000)}
    weights = {"sampling": "weighted", "weights": {"a": 1.0, "b": 0.0}}
    for stop in ("all", "first", "longest"):
        rows = islice(mixed(streams, 1, 2, stop=stop, **weights), 8)
        assert Counter(row["number"] for row in rows) == dict.fromkeys([1, 3, 5, 7], 2)


def test_a_worker_without_rows_is_an_error() -> None:
    with pytest.raises(InputError, match="a row for each of 2 processes x 2 workers in every pass, found rows: 3 in"):
        batches_of(mixed(two(3, 20), 1, 2), 2)
