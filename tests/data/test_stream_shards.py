"""Who reads which rows of a stream: every row in one shard, the same one whatever the shuffling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features, IterableDataset, Value, concatenate_datasets, interleave_datasets
from datasets.distributed import split_dataset_by_node
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.data import stream_shards
from mt_transformers.data.stream_shards import FILES_AT_ONCE, SHUFFLE_BUFFER, StreamRow, StreamShard, TaskStream
from mt_transformers.errors import InputError

FEATURES = Features({"file": Value("int64"), "row": Value("int64")})
OPENED: list[int] = []
"""Files in the order in which they were opened."""


def generate(files: list[int], sizes: tuple[int, ...]) -> Iterator[dict[str, int]]:
    for file in files:
        OPENED.append(file)
        for row in range(sizes[file]):
            yield {"file": file, "row": row}


def split_of(sizes: list[int]) -> IterableDataset:
    given = {"files": list(range(len(sizes))), "sizes": tuple(sizes)}
    return IterableDataset.from_generator(generate, gen_kwargs=given, features=FEATURES)


def as_they_are(columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
    return columns


def stream_of(sizes: list[int]) -> TaskStream:
    OPENED.clear()
    return TaskStream(split_of(sizes), as_they_are)


def read(stream: TaskStream, index: int = 0, count: int = 1, seed: int = 0) -> list[StreamRow]:
    return list(stream.read(StreamShard(index, count), np.random.default_rng(seed)))


def keys(rows: list[StreamRow]) -> list[tuple[int, int]]:
    return [(row.values["file"], row.values["row"]) for row in rows]


# whose a row is


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 30))
def test_each_row_is_one_shards(num_files: int, count: int, row: int) -> None:
    shards = [StreamShard(index, count) for index in range(count)]
    for file in range(num_files):
        owners = [shard for shard in shards if shard.owns(file, row, num_files)]
        assert len(owners) == 1
        assert file in owners[0].files(num_files)


@given(st.integers(1, 9), st.integers(1, 9))
def test_shards_have_as_many_rows_as_each_other(num_files: int, count: int) -> None:
    """Of files with as many rows as there are shards, or one: to the row."""
    for rows in (count, 1):
        owned = [
            sum(
                StreamShard(index, count).owns(file, row, num_files)
                for file in range(num_files)
                for row in range(rows)
            )
            for index in range(count)
        ]
        assert max(owned) - min(owned) <= (rows == 1)
        assert sum(owned) == num_files * rows


@pytest.mark.parametrize(
    ("num_files", "count", "expected"),
    [
        (4, 4, [[0], [1], [2], [3]]),
        (8, 2, [[0, 2, 4, 6], [1, 3, 5, 7]]),
        # two groups of one file, shared by two shards each
        (2, 4, [[0], [1], [0], [1]]),
        (1, 3, [[0]] * 3),
        (5, 4, [[0, 1, 2, 3, 4]] * 4),
        (5, 1, [[0, 1, 2, 3, 4]]),
    ],
)
def test_files_are_shared_by_as_few_shards_as_can_be(num_files: int, count: int, expected: list[list[int]]) -> None:
    assert [StreamShard(index, count).files(num_files) for index in range(count)] == expected


# reading


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(1, 6))
def test_together_shards_read_each_row_once(sizes: list[int], count: int) -> None:
    stream = stream_of(sizes)
    assert stream.num_files == len(sizes)
    # each shard shuffles in its own way
    found = [keys(read(stream, index, count, seed=index)) for index in range(count)]
    expected = [(file, row) for file, size in enumerate(sizes) for row in range(size)]
    assert sorted(chain.from_iterable(found)) == expected
    # and has the same rows under any seed
    assert [sorted(keys(read(stream, index, count, seed=9))) for index in range(count)] == [
        sorted(each) for each in found
    ]


@pytest.mark.parametrize(("num_files", "count"), [(4, 2), (2, 4), (3, 2)])
def test_a_shard_opens_only_its_own_files(num_files: int, count: int) -> None:
    for index in range(count):
        stream = stream_of([3] * num_files)
        read(stream, index, count)
        assert sorted(OPENED) == StreamShard(index, count).files(num_files)


def test_rows_are_numbered_within_their_file() -> None:
    assert all(row.number == row.values["row"] for row in read(stream_of([40, 3, 70]), 1, 2))


def test_each_row_comes_in_any_place() -> None:
    """Of four rows: with the probability of a quarter in each, over 400 orders."""
    stream = stream_of([4])
    places = np.zeros((4, 4))
    for seed in range(400):
        places[range(4), [row.number for row in read(stream, seed=seed)]] += 1
    assert abs(places - 100).max() < 4 * np.sqrt(400 * 0.25 * 0.75)


def test_a_row_comes_no_sooner_than_the_buffer_holds_it() -> None:
    numbers = [row.number for row in read(stream_of([3 * SHUFFLE_BUFFER]))]
    places = np.argsort(numbers)
    ahead = np.arange(3 * SHUFFLE_BUFFER) - places
    assert sorted(numbers) == list(range(3 * SHUFFLE_BUFFER))
    assert ahead.max() == SHUFFLE_BUFFER - 1
    # and may stay
    assert -ahead.min() > SHUFFLE_BUFFER


def test_files_are_read_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_shards, "SHUFFLE_BUFFER", 1)
    files = [file for file, _ in keys(read(stream_of([5] * 25)))]
    for start in range(0, 50, FILES_AT_ONCE):
        assert len(set(files[start : start + FILES_AT_ONCE])) == FILES_AT_ONCE
    # the same ten, which are not the first ones
    assert set(files[:FILES_AT_ONCE]) == set(files[FILES_AT_ONCE : 2 * FILES_AT_ONCE]) != set(range(FILES_AT_ONCE))


@pytest.mark.parametrize(
    ("sizes", "index", "count", "own", "together"),
    [([3, 4], 0, 2, 3, 3), ([3, 4], 1, 4, 2, 4), ([3, 4, 5], 3, 4, 2, 12), ([2], 3, 4, 0, 2), ([5], 0, 1, 5, 5)],
)
def test_rows_are_counted(sizes: list[int], index: int, count: int, own: int, together: int) -> None:
    stream, shard = stream_of(sizes), StreamShard(index, count)
    assert stream.count_rows(shard) == own == len(read(stream, index, count))
    assert stream.count_rows(shard, all_shards=True) == together


# streams that choose rows by their place in the whole


@pytest.mark.parametrize("kind", ["take", "skip", "mapped", "first", "random", "both"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_that_were_chosen_stay_chosen(kind: str, count: int) -> None:
    """Parts of `take(5)` over 4 files would be rows of all 4 files; the rows left out are those of an evaluation."""
    split, other = split_of([4] * 4), split_of([9, 9]).map(lambda row: {"file": row["file"] + 10})
    chosen = {
        "take": lambda: split.take(5),
        "skip": lambda: split.skip(5),
        "mapped": lambda: split.skip(5).map(lambda row: {"row": row["row"] + 100}, features=FEATURES),
        "first": lambda: interleave_datasets([split, other]),
        "random": lambda: interleave_datasets([split, other], probabilities=[0.5, 0.5], seed=1),
        "both": lambda: concatenate_datasets([other, split.skip(5)]),
    }[kind]()
    stream = TaskStream(chosen, as_they_are)
    expected = sorted((row["file"], row["row"]) for row in chosen)
    assert len(expected) > 3
    assert sorted(chain.from_iterable(keys(read(stream, index, count)) for index in range(count))) == expected


def test_a_stream_that_was_read_is_cut_up_as_before() -> None:
    split = split_of([4] * 4).shuffle(seed=1)
    stream = TaskStream(split, as_they_are)
    assert stream.num_files == 4
    before = keys(read(stream, 0, 2))
    assert len(list(split)) == 16
    again = TaskStream(split, as_they_are)
    assert (again.num_files, keys(read(again, 0, 2))) == (4, before)


def test_streams_that_were_shuffled_or_filtered_are_cut_up_too() -> None:
    for split in (
        split_of([4] * 4).shuffle(seed=1),
        split_of([4] * 4).filter(lambda row: row["row"] != 2).shuffle(seed=3, buffer_size=2),
        concatenate_datasets([split_of([4] * 2), split_of([2, 2]).map(lambda row: {"file": row["file"] + 10})]),
    ):
        stream = TaskStream(split, as_they_are)
        # datasets 4.0 counts the files of the part that has the fewest
        assert stream.num_files > 1
        found = [keys(read(stream, index, 4)) for index in range(4)]
        assert all(found)
        assert sorted(chain.from_iterable(found)) == sorted((row["file"], row["row"]) for row in split)


def test_a_stream_that_was_split_by_node_is_refused() -> None:
    half = split_dataset_by_node(split_of([4]), rank=0, world_size=2)
    with pytest.raises(InputError, match="task 't', split 'train': expected the whole stream, which is split here"):
        TaskStream(half, as_they_are, "task 't', split 'train'")


# preparing


def test_iterating_prepares_all_rows_in_their_order() -> None:
    seen: list[list[int]] = []

    def negate(columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        seen.append(numbers)
        return {"x": [-value for value in columns["row"]]}

    stream = TaskStream(split_of([600]), negate)
    assert [row["x"] for row in stream] == [-number for number in range(600)]
    assert list(chain.from_iterable(seen)) == list(range(600))


def test_rows_are_plain_whatever_the_format() -> None:
    rows = Dataset.from_dict({"x": [[1, 2], [3]]}).to_iterable_dataset()
    for split in (rows, rows.with_format("numpy"), rows.with_format("torch"), rows.with_format("arrow")):
        assert list(TaskStream(split, as_they_are)) == [{"x": [1, 2]}, {"x": [3]}]
