"""Tasks that are streamed: the rows of the map-style preparation, mixed as far as that goes without a length."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, IterableDataset, List, Value

from fixtures import INTENTS, MOODS, SLOTS, tiny_tokenizer
from mt_transformers import Mixture, Task
from mt_transformers.data import (
    DataCollatorForMultiTask,
    MultiTaskDataset,
    PreparedTasks,
    complete_heads,
    label_sources,
    load_splits,
    prepare_split,
)
from mt_transformers.data.stream_shards import TaskStream
from mt_transformers.data.streaming import MultiTaskStream, prepare_stream
from mt_transformers.errors import InputError
from mt_transformers.heads import HeadConfig, get_head_config

HEADS: dict[str, dict[str, Any]] = {
    "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
}
KINDS: dict[str, dict[str, Any]] = {
    "single": {"head_type": "sequence_classification", "id2label": MOODS},
    "several": {
        "head_type": "sequence_classification",
        "id2label": MOODS,
        "problem_type": "multi_label_classification",
    },
    "tags": {"head_type": "token_classification", "id2label": SLOTS},
    "score": {"head_type": "regression", "mean": [0.0], "std": [1.0]},
}
KIND_FEATURES = Features(
    {
        "tokens": List(Value("string")),
        "single": ClassLabel(names=MOODS),
        "several": List(ClassLabel(names=MOODS)),
        "tags": List(ClassLabel(names=SLOTS)),
        "score": Value("float64"),
    }
)
UNIFORM = Mixture(sampling="uniform")


def configs(heads: dict[str, dict[str, Any]]) -> dict[str, HeadConfig]:
    return {name: get_head_config(name, values) for name, values in heads.items()}


def streamed(task: Task) -> Task:
    """The task with its train split as a stream, and its other splits as they are."""
    splits = {**task.dataset, "train": task.dataset["train"].to_iterable_dataset()}
    return Task(dataset=splits, inputs=task.inputs, labels=task.labels)


def numbers(count: int, start: int = 0) -> TaskStream:
    """A stream whose rows are numbers, and stay so."""
    rows = Dataset.from_dict({"number": list(range(start, start + count))}).to_iterable_dataset()
    return TaskStream(rows, lambda columns, _: columns)


def two(first: int, second: int) -> dict[str, TaskStream]:
    return {"a": numbers(first), "b": numbers(second, 10_000)}


def mixed(streams: dict[str, TaskStream], seed: int = 0, epoch: int = 0, **options: Any) -> Iterator[int]:
    """The numbers of the rows of an epoch, after a check that each has its task's index."""
    rows = MultiTaskStream(streams, Mixture(**{"sampling": "uniform", **options}), seed)
    rows.set_epoch(epoch)
    for row in rows:
        assert row["task_index"] == row["number"] // 10_000
        assert row["pass_index"] == epoch
        yield row["number"]


def tasks_of(found: Any) -> str:
    return "".join("ab"[number // 10_000] for number in found)


# the rows


@pytest.mark.parametrize("max_length", [None, 5])
def test_rows_are_those_of_the_map_style_preparation(two_tasks: dict[str, Task], max_length: int | None) -> None:
    if max_length is not None:
        # no word of it shall lose its label
        del two_tasks["requests"]
    for name, task in two_tasks.items():
        split, tokenizer, heads = task.dataset["train"], tiny_tokenizer(), configs(HEADS)
        expected = prepare_split(name, task, "train", split, heads, tokenizer, max_length)
        found = prepare_stream(name, task, split.to_iterable_dataset(), heads, tokenizer, max_length)
        assert list(found) == expected.to_list()
        assert max(len(row["input_ids"]) for row in found) == (max_length or 7)


def kinds(unlabelled: int, labelled: int) -> Task:
    """Rows of every kind of label, first some without any."""
    rows: list[dict[str, Any]] = [
        {"tokens": ["a", "film"], "single": None, "several": None, "tags": None, "score": None}
        for _ in range(unlabelled)
    ]
    rows += [
        {"tokens": ["the", "book"], "single": 1, "several": [0], "tags": [0, 3], "score": 0.5} for _ in range(labelled)
    ]
    dataset = Dataset.from_list(rows, features=KIND_FEATURES)
    return Task(dataset={"train": dataset}, inputs={"tokens": "tokens"}, labels={name: name for name in KINDS})


def test_labels_may_come_late(two_tasks: dict[str, Task]) -> None:
    """Streams are typed by their first rows, which may have no label of any kind."""
    task, tokenizer, heads = kinds(1010, 4), tiny_tokenizer(), configs({**KINDS, "mood": HEADS["mood"]})
    tasks = {"kinds": task, "moods": two_tasks["moods"]}
    prepared = PreparedTasks({name: streamed(each) for name, each in tasks.items()}, heads, tokenizer)
    prepared.prepare()
    rows = prepared.train_dataset(Mixture(sampling="uniform", order="sequential"), 0)
    expected = MultiTaskDataset(
        {
            name: prepare_split(name, each, "train", each.dataset["train"], heads, tokenizer)
            for name, each in tasks.items()
        }
    )
    assert sorted(map(filled, rows)) == sorted(map(filled, expected))


def filled(row: dict[str, Any]) -> str:
    """What a row says, without the columns of other tasks and without its pass."""
    kept = {key: row[key] for key in sorted(row) if row[key] is not None and key != "pass_index"}
    return json.dumps(kept, default=float)


@pytest.mark.parametrize("order", ["random", "round_robin", "sequential"])
def test_a_batch_is_that_of_the_map_style_rows(two_tasks: dict[str, Task], order: str) -> None:
    heads, tokenizer = configs(HEADS), tiny_tokenizer()
    prepared = PreparedTasks({name: streamed(task) for name, task in two_tasks.items()}, heads, tokenizer)
    prepared.prepare()
    assert list(prepared.streams) == ["requests", "moods"]
    assert [list(splits) for splits in prepared.splits.values()] == [["validation", "test"]] * 2
    rows = list(prepared.train_dataset(Mixture(sampling="uniform", order=order), 3))
    plain = PreparedTasks(two_tasks, heads, tokenizer)
    plain.prepare()
    known = list(plain.train_dataset(Mixture(), 0))
    same = [next(each for each in known if each["input_ids"] == row["input_ids"]) for row in rows]
    collate = DataCollatorForMultiTask(tokenizer, heads)
    for start in range(0, len(rows), 6):
        found, expected = collate(rows[start : start + 6]), collate(same[start : start + 6])
        assert set(found) == set(expected)
        for key in ("input_ids", "attention_mask", "token_type_ids", "task_index"):
            assert torch.equal(found[key], expected[key])
        for key in ("labels", "rows"):
            assert set(found[key]) == set(expected[key])
            assert all(torch.equal(found[key][head], each) for head, each in expected[key].items())
    batch = collate(rows)
    requests = batch["task_index"] == 0
    assert torch.equal(batch["rows"]["intent"], requests.nonzero().squeeze(1))
    assert torch.equal(batch["rows"]["mood"], (~requests).nonzero().squeeze(1))
    assert Counter(batch["task_index"].tolist())[0] >= 16


# the mixture


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({"sampling": "uniform"}, 0.5),
        ({"sampling": "weighted", "weights": {"b": 3.0, "a": 1.0}}, 0.25),
        ({"sampling": "weighted", "weights": {"a": 9.0, "b": 1.0}}, 0.9),
    ],
)
def test_shares_are_probabilities(options: dict[str, Any], share: float, epoch: int) -> None:
    rows, count = two(4000, 4000), 3000
    found = tasks_of(islice(mixed(rows, epoch=epoch, **options), count)).count("a")
    assert abs(found - share * count) < 4 * math.sqrt(share * (1 - share) * count)


def test_a_task_of_weight_0_has_no_row() -> None:
    found = islice(mixed(two(400, 400), sampling="weighted", weights={"a": 1.0, "b": 0.0}, stop="first"), 300)
    assert tasks_of(found) == "a" * 300


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_round_robin_alternates(epoch: int) -> None:
    streams = {"a": numbers(20), "b": numbers(20, 10_000), "c": numbers(20, 20_000)}
    rows = list(mixed(streams, epoch=epoch, order="round_robin"))
    assert [number // 10_000 for number in rows] == [0, 1, 2] * 20
    assert len(set(rows)) == 60


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_sequential_is_task_after_task(epoch: int) -> None:
    rows = list(mixed(two(5, 3), epoch=epoch, order="sequential"))
    assert tasks_of(rows) == "aaaaabbb"
    assert sorted(rows) == [*range(5), *range(10_000, 10_003)]


@pytest.mark.parametrize("order", ["random", "round_robin"])
@pytest.mark.parametrize("sizes", [(3, 5), (5, 3)])
def test_first_ends_when_one_task_is_used_up(sizes: tuple[int, int], order: str) -> None:
    rows = list(mixed(two(*sizes), order=order, stop="first"))
    counts = Counter(tasks_of(rows))
    assert len(set(rows)) == len(rows)
    assert counts["a"] == sizes[0] or counts["b"] == sizes[1]
    if order == "round_robin":
        assert tasks_of(rows) == {(3, 5): "ababa", (5, 3): "ababab"}[sizes]


@pytest.mark.parametrize("order", ["random", "round_robin", "sequential"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_all_is_every_row_once(order: str, epoch: int) -> None:
    rows = list(mixed(two(3, 5), epoch=epoch, order=order, stop="all"))
    assert sorted(rows) == [*range(3), *range(10_000, 10_005)]
    if order == "round_robin":
        assert tasks_of(rows) == "abababbb"


@pytest.mark.parametrize("stop", [None, "longest"])
def test_longest_goes_on_until_every_row_was_seen(stop: Any) -> None:
    rows = list(mixed(two(3, 5), order="round_robin", stop=stop))
    assert tasks_of(rows) == "ababababab"
    assert Counter(rows)[10_000] == 1
    assert sorted(Counter(number for number in rows if number < 3).values()) == [1, 2, 2]
    rows = list(mixed(two(10, 200), stop=stop))
    counts = Counter(tasks_of(rows))
    # as many of the small task as of the large one, whose every row comes once
    assert counts["b"] == len({row for row in rows if row >= 10_000}) == 200
    assert abs(counts["a"] - 200) < 80
    assert {row for row in rows if row < 10_000} == set(range(10))


@pytest.mark.parametrize("order", ["random", "round_robin", "sequential"])
def test_seed_and_epoch_settle_the_order(order: str) -> None:
    places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]

    def orders() -> list[list[int]]:
        return [list(mixed(two(30, 20), seed, epoch, order=order, stop="all")) for seed, epoch in places]

    first = orders()
    torch.manual_seed(5)
    assert orders() == first
    assert len({str(each) for each in first}) == len(places)
    assert [sorted(each) for each in first] == [[*range(30), *range(10_000, 10_020)]] * len(places)


def test_the_order_of_the_tasks_is_another_in_each_epoch() -> None:
    found = [tasks_of(islice(mixed(two(400, 400), seed, epoch), 100)) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert len(set(found)) == 6


def test_an_epoch_can_be_gone_back_to() -> None:
    rows = MultiTaskStream(two(30, 20), UNIFORM, 0)
    first = list(rows)
    rows.set_epoch(1)
    assert list(rows) != first
    rows.set_epoch(0)
    assert list(rows) == first


# what is refused


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        *[
            (Mixture(sampling=sampling, **options), f"streams have no length, expected .*, found '{sampling}'")
            for sampling, options in (
                ("proportional", {}),
                ("temperature", {"temperature": 2.0}),
                ("capped", {"cap": 3}),
                ("smoothing", {"alpha": 0.5}),
                ("dynamic", {}),
            )
        ],
        (Mixture(sampling="uniform", batches="homogeneous"), "streams come in mixed batches, found 'homogeneous'"),
        (Mixture(sampling="uniform", instances_per_epoch=10), "instances_per_epoch is for tasks with a known number"),
        (Mixture(sampling="weighted", weights={"requests": 1.0}), "a weight for each task, .* none for 'moods'"),
    ],
)
def test_mixtures_that_need_a_length_are_refused(two_tasks: dict[str, Task], mixture: Mixture, message: str) -> None:
    tasks = {name: streamed(task) for name, task in two_tasks.items()}
    prepared = PreparedTasks(tasks, configs(HEADS), tiny_tokenizer())
    prepared.prepare()
    with pytest.raises(InputError, match=message):
        prepared.train_dataset(mixture, 0)


def test_streams_beside_tables_are_refused(two_tasks: dict[str, Task]) -> None:
    two_tasks["moods"] = streamed(two_tasks["moods"])
    prepared = PreparedTasks(two_tasks, configs(HEADS), tiny_tokenizer())
    prepared.prepare()
    with pytest.raises(InputError, match="train splits of moods are streams, those of requests are not: stream all"):
        prepared.train_dataset(UNIFORM, 0)


def test_a_table_without_a_train_split_may_stand_beside_streams(two_tasks: dict[str, Task]) -> None:
    requests = two_tasks["requests"]
    only = Task(dataset={"test": requests.dataset["test"]}, inputs=requests.inputs, labels=requests.labels)
    tasks = {"requests": only, "moods": streamed(two_tasks["moods"])}
    prepared = PreparedTasks(tasks, configs(HEADS), tiny_tokenizer())
    prepared.prepare()
    rows = list(prepared.train_dataset(UNIFORM, 0))
    assert [row["task_index"] for row in rows] == [0] * 8


def test_a_stream_without_features_is_refused() -> None:
    def generate() -> Iterator[dict[str, Any]]:
        yield {"text": "a film", "label": 0}

    bare = IterableDataset.from_generator(generate)
    task = Task(dataset={"train": bare}, inputs={"text": "text"}, labels={"mood": "label"})
    with pytest.raises(InputError, match="task 't', split 'train': expected a stream whose features are known"):
        load_splits("t", task)
    features = Features({"text": Value("string"), "label": ClassLabel(names=MOODS)})
    task.dataset = {"train": bare.cast(features)}
    assert list(load_splits("t", task)) == ["train"]
    found = list(prepare_stream("t", task, task.dataset["train"], configs(HEADS), tiny_tokenizer()))
    assert [row["labels_mood"] for row in found] == [0]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_streamed_split_for_evaluation_is_refused(two_tasks: dict[str, Task], split: str) -> None:
    task = two_tasks["moods"]
    task.dataset[split] = task.dataset[split].to_iterable_dataset()
    with pytest.raises(
        InputError, match=f"task 'moods', split '{split}': expected no stream, found an IterableDataset"
    ):
        load_splits("moods", task)


def test_columns_of_a_stream_are_checked(two_tasks: dict[str, Task]) -> None:
    task = streamed(two_tasks["moods"])
    task.labels = {"mood": "lable"}
    with pytest.raises(InputError, match="unknown column 'lable', did you mean 'label'"):
        load_splits("moods", task)


@pytest.mark.parametrize(
    ("feature", "values", "head", "known"),
    [
        # label names of a text column
        (Value("string"), ["x", "y"], {"head_type": "sequence_classification"}, {"id2label": ["x", "y"]}),
        # the number of rows of each class
        (
            ClassLabel(names=MOODS),
            [0, 1],
            {"head_type": "sequence_classification", "class_weights": "balanced"},
            {"class_weights": [1.0, 2.0]},
        ),
        # mean and standard deviation
        (Value("float64"), [0.5, 1.5], {"head_type": "regression"}, {"mean": [1.0], "std": [0.5]}),
    ],
)
def test_heads_that_would_read_the_stream_are_refused(
    feature: Any, values: list[Any], head: dict[str, Any], known: dict[str, Any]
) -> None:
    features = Features({"text": Value("string"), "label": feature})
    rows = Dataset.from_dict({"text": ["a film", "a book"], "label": values}, features=features).to_iterable_dataset()
    task = Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"h": "label"})

    def complete(values: dict[str, Any]) -> None:
        heads = configs({"h": values})
        complete_heads(heads, label_sources({"t": task}, {"t": load_splits("t", task)}))

    with pytest.raises(InputError, match="head 'h': column 'label' is streamed and cannot be read beforehand"):
        complete(head)
    complete({**head, **known})


def test_label_names_of_the_features_are_taken(two_tasks: dict[str, Task]) -> None:
    heads = configs({name: {"head_type": values["head_type"]} for name, values in HEADS.items()})
    PreparedTasks({name: streamed(task) for name, task in two_tasks.items()}, heads, tiny_tokenizer())
    assert {name: config.to_dict()["id2label"] for name, config in heads.items()} == {
        "intent": dict(enumerate(INTENTS)),
        "slots": dict(enumerate(SLOTS)),
        "mood": dict(enumerate(MOODS)),
    }


@pytest.mark.parametrize("bad", [3, 1500])
def test_a_bad_row_is_named_when_it_is_read(bad: int) -> None:
    texts = ["a film"] * 1600
    texts[bad] = None  # type: ignore[call-overload]
    features = Features({"text": Value("string"), "label": ClassLabel(names=MOODS)})
    rows = Dataset.from_dict({"text": texts, "label": [0] * 1600}, features=features).to_iterable_dataset()
    task = Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"mood": "label"})
    prepared = PreparedTasks({"t": task}, configs(HEADS), tiny_tokenizer())
    prepared.prepare()
    message = f"task 't', split 'train', column 'text', row {bad}: expected a text, found None"
    with pytest.raises(InputError, match=message):
        list(prepared.streams["t"])
    with pytest.raises(InputError, match=message):
        list(prepared.train_dataset(UNIFORM, 0))
