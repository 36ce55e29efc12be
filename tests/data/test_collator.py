"""Batches of rows of several tasks: every label where it belongs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st

from fixtures import VOCABULARY, tiny_tokenizer
from mt_transformers.data import LABEL_PREFIX, DataCollatorForMultiTask, MultiTaskDataset
from mt_transformers.heads import IGNORED, HeadConfig, get_head_config, item_mask

NAN = float("nan")


def heads() -> dict[str, HeadConfig]:
    """A head of each kind; `words` has a label for every id of the vocabulary."""
    fields: dict[str, dict[str, Any]] = {
        "intent": {"head_type": "sequence_classification", "num_labels": 3},
        "topics": {
            "head_type": "sequence_classification",
            "num_labels": 2,
            "problem_type": "multi_label_classification",
        },
        "words": {"head_type": "token_classification", "num_labels": len(VOCABULARY)},
        "stars": {"head_type": "regression", "mean": [0.0], "std": [1.0]},
    }
    return {name: get_head_config(name, values) for name, values in fields.items()}


def collate(rows: list[dict[str, Any]], side: str = "right", multiple: int | None = None) -> dict[str, Any]:
    """Collate with the tiny tokenizer."""
    return DataCollatorForMultiTask(tiny_tokenizer(side), heads(), multiple)(rows)


# two tasks: 0 feeds intent and words, 1 feeds intent and stars
ROWS = [
    {"input_ids": [2, 7, 3], "length": 3, "labels_intent": 1, "labels_words": [-100, 4, -100], "task_index": 0},
    {"input_ids": [2, 8, 9, 3], "length": 4, "labels_intent": 2, "labels_stars": [2.5], "task_index": 1},
    {"input_ids": [2, 5, 6, 7, 3], "labels_intent": -100, "labels_words": [-100, 1, -100, 2, -100], "task_index": 0},
    {"input_ids": [2, 3], "length": 2, "labels_intent": 0, "labels_stars": [NAN], "task_index": 1},
]


def test_a_mixed_batch() -> None:
    batch = collate(ROWS)
    assert set(batch) == {"input_ids", "attention_mask", "labels", "rows", "task_index"}
    assert batch["input_ids"].tolist() == [[2, 7, 3, 0, 0], [2, 8, 9, 3, 0], [2, 5, 6, 7, 3], [2, 3, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch["task_index"].tolist() == [0, 1, 0, 1]
    assert {name: rows.tolist() for name, rows in batch["rows"].items()} == {
        "intent": [0, 1, 3],
        "words": [0, 2],
        "stars": [1],
    }
    assert list(batch["labels"]) == ["intent", "words", "stars"]
    torch.testing.assert_close(batch["labels"]["intent"], torch.tensor([1, 2, IGNORED, 0]))
    assert batch["labels"]["words"].tolist() == [
        [-100, 4, -100, -100, -100],
        [-100] * 5,
        [-100, 1, -100, 2, -100],
        [-100] * 5,
    ]
    torch.testing.assert_close(batch["labels"]["stars"], torch.tensor([[NAN], [2.5], [NAN], [NAN]]), equal_nan=True)
    assert all(each.dtype == torch.long for each in (*batch["rows"].values(), batch["task_index"]))


def same_batch(batch: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal keys and values, NaN being equal to NaN."""
    if not isinstance(batch, dict):
        return torch.equal(torch.nan_to_num(batch, nan=-7.0), torch.nan_to_num(other, nan=-7.0))
    return list(batch) == list(other) and all(same_batch(batch[key], other[key]) for key in batch)


def test_the_side_on_which_the_tokenizer_pads_does_not_matter() -> None:
    batch = collate(ROWS, "left")
    assert same_batch(batch, collate(ROWS, "right"))
    assert not same_batch(batch, collate(ROWS[::-1], "right"))
    assert batch["input_ids"].tolist() == [[2, 7, 3, 0, 0], [2, 8, 9, 3, 0], [2, 5, 6, 7, 3], [2, 3, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch["labels"]["words"].tolist() == [
        [-100, 4, -100, -100, -100],
        [-100] * 5,
        [-100, 1, -100, 2, -100],
        [-100] * 5,
    ]
    assert batch["labels"]["intent"].tolist() == [1, 2, -100, 0]
    assert batch["rows"]["words"].tolist() == [0, 2]


@pytest.mark.parametrize(("multiple", "length"), [(None, 5), (4, 8), (5, 5), (8, 8)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_pad_to_multiple_of(multiple: int | None, length: int, side: str) -> None:
    batch = collate(ROWS, side, multiple)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (4, length)
    assert batch["labels"]["words"].shape == (4, length)
    # the longest row's ids and labels, before its padding
    padding = length - 5
    assert batch["input_ids"][2].tolist() == [2, 5, 6, 7, 3, *[0] * padding]
    assert batch["labels"]["words"][2].tolist() == [-100, 1, -100, 2, -100, *[IGNORED] * padding]


def test_token_types_are_padded_too() -> None:
    rows = [
        {"input_ids": [2, 7, 3, 8, 3], "token_type_ids": [0, 0, 0, 1, 1]},
        {"input_ids": [2], "token_type_ids": [0]},
    ]
    batch = collate(rows)
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 1, 1], [0] * 5]


@pytest.mark.parametrize(
    "labels",
    [
        {"labels_intent": -100},
        {"labels_intent": None},
        {"labels_words": [-100, -100, -100]},
        {"labels_words": None},
        {"labels_stars": [NAN]},
        {"labels_stars": None},
        {"labels_topics": [NAN, NAN]},
        {"labels_topics": None},
    ],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_head_without_a_labelled_row_has_no_rows(labels: dict[str, Any], side: str) -> None:
    row = {"input_ids": [2, 7, 3], "task_index": 0, **labels}
    (key, value), *_ = labels.items()
    head = key.removeprefix("labels_")
    batch = collate([row, row], side)
    # the heads of a task are in all its batches, which evaluation relies on
    assert list(batch["labels"]) == list(batch["rows"]) == ([] if value is None else [head])
    assert all(len(rows) == 0 for rows in batch["rows"].values())
    assert not any(item_mask(each).any() for each in batch["labels"].values())
    batch = collate([row, {"input_ids": [2, 3], "labels_intent": 2, "task_index": 1}], side)
    assert batch["labels"]["intent"].tolist() == [-100, 2]
    assert batch["rows"]["intent"].tolist() == [1]


@pytest.mark.parametrize("head", ["intent", "words", "stars", "topics"])
def test_a_head_of_an_evaluation_is_in_all_batches(head: str) -> None:
    row = {"input_ids": [2, 7, 3], f"labels_{head}": None}
    batch = collate([row, row])
    assert list(batch["labels"]) == list(batch["rows"]) == [head]
    assert not item_mask(batch["labels"][head]).any()
    assert len(batch["rows"][head]) == 0


def test_rows_without_any_label() -> None:
    batch = collate([{"input_ids": [2, 7, 3]}, {"input_ids": [2, 3]}])
    assert set(batch) == {"input_ids", "attention_mask", "labels", "rows"}
    assert (batch["labels"], batch["rows"]) == ({}, {})


def test_several_labels_of_a_row() -> None:
    rows = [{"input_ids": [2, 3], "labels_topics": [0.0, 1.0]}, {"input_ids": [2, 3]}]
    rows.append({"input_ids": [2, 3], "labels_topics": [0.0, 0.0]})
    batch = collate(rows)
    expected = torch.tensor([[0.0, 1.0], [NAN, NAN], [0.0, 0.0]])
    torch.testing.assert_close(batch["labels"]["topics"], expected, equal_nan=True)
    # no label at all is an answer, too
    assert batch["rows"]["topics"].tolist() == [0, 2]


def test_the_rows_are_left_as_they_were() -> None:
    rows = [{**row, "input_ids": list(row["input_ids"])} for row in ROWS]
    collate(rows, "left")
    assert str(rows) == str(ROWS)


def two_tasks_of_rows() -> MultiTaskDataset:
    """Rows 0 and 1 feed intent and words, rows 2 and 3 intent and stars; all of them have labels."""
    ids = List(Value("int64"))
    first = {"input_ids": [[2, 7, 3], [2, 5, 6, 7, 3]], "length": [3, 5], "labels_intent": [1, 2]}
    words = [[-100, 4, -100], [-100, 1, -100, 2, -100]]
    second = {"input_ids": [[2, 8, 9, 3], [2, 3]], "length": [4, 2], "labels_intent": [0, 1]}
    features = {"input_ids": ids, "length": Value("int64"), "labels_intent": Value("int64")}
    return MultiTaskDataset(
        {
            "a": Dataset.from_dict(
                {**first, "labels_words": words}, features=Features({**features, "labels_words": ids})
            ),
            "b": Dataset.from_dict(
                {**second, "labels_stars": [[2.5], [0.5]]},
                features=Features({**features, "labels_stars": List(Value("float64"))}),
            ),
        }
    )


def test_a_row_that_fills_up_trains_nothing() -> None:
    batch = collate(two_tasks_of_rows().__getitems__([0, ~1, 2, ~3, 1]))
    assert batch["input_ids"][1].tolist() == [2, 5, 6, 7, 3]
    assert batch["attention_mask"].sum(1).tolist() == [3, 5, 4, 2, 5]
    assert batch["task_index"].tolist() == [0, -1, 1, -1, 0]
    assert {name: rows.tolist() for name, rows in batch["rows"].items()} == {
        "intent": [0, 2, 4],
        "words": [0, 4],
        "stars": [2],
    }
    assert batch["labels"]["intent"].tolist() == [1, IGNORED, 0, IGNORED, 2]
    assert batch["labels"]["words"][1].tolist() == batch["labels"]["words"][3].tolist() == [IGNORED] * 5
    stars = torch.tensor([[NAN], [NAN], [2.5], [NAN], [NAN]])
    torch.testing.assert_close(batch["labels"]["stars"].float(), stars, equal_nan=True)


@pytest.mark.parametrize("numbers", [[~0], [~2], [~0, ~0, ~2]])
def test_a_batch_that_only_fills_up(numbers: list[int]) -> None:
    batch = collate(two_tasks_of_rows().__getitems__(numbers))
    assert (batch["labels"], batch["rows"]) == ({}, {})
    assert batch["task_index"].tolist() == [-1] * len(numbers)
    assert batch["input_ids"].shape[0] == batch["attention_mask"].shape[0] == len(numbers)
    assert batch["attention_mask"].any()


@given(
    numbers=st.lists(st.integers(-4, 3), min_size=1, max_size=8),
    side=st.sampled_from(["left", "right"]),
    multiple=st.sampled_from([None, 8]),
)
def test_rows_that_fill_up_leave_the_others_alone(numbers: list[int], side: str, multiple: int | None) -> None:
    dataset = two_tasks_of_rows()
    batch = collate(dataset.__getitems__(numbers), side, multiple)
    whole = collate(dataset.__getitems__([number if number >= 0 else ~number for number in numbers]), side, multiple)
    real = torch.tensor([number >= 0 for number in numbers])
    assert batch["input_ids"].tolist() == whole["input_ids"].tolist()
    assert batch["attention_mask"].tolist() == whole["attention_mask"].tolist()
    assert batch["task_index"].tolist() == torch.where(real, whole["task_index"], -1).tolist()
    for name, rows in whole["rows"].items():
        kept = rows[real[rows]]
        if len(kept) == 0:
            assert name not in batch["labels"]
            assert name not in batch["rows"]
            continue
        assert batch["rows"][name].tolist() == kept.tolist()
        labels = batch["labels"][name]
        torch.testing.assert_close(labels[real], whole["labels"][name][real], equal_nan=True)
        assert (heads()[name].count_items(labels)[~real] == 0).all()


@st.composite
def mixed_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows with the labels of any heads; the label of each word is the id of its token."""
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        ids = draw(st.lists(st.integers(5, len(VOCABULARY) - 1), min_size=1, max_size=7))
        row: dict[str, Any] = {"input_ids": ids, "task_index": draw(st.integers(0, 3))}
        if draw(st.booleans()):
            row[LABEL_PREFIX + "words"] = list(ids)
        if draw(st.booleans()):
            row[LABEL_PREFIX + "intent"] = draw(st.sampled_from([IGNORED, 0, 1, 2]))
        if draw(st.booleans()):
            row[LABEL_PREFIX + "stars"] = [draw(st.sampled_from([NAN, -1.0, 0.0, 3.5]))]
        rows.append(row)
    return rows


@given(rows=mixed_rows(), side=st.sampled_from(["left", "right"]), multiple=st.sampled_from([None, 4]))
def test_every_label_lands_in_its_place(rows: list[dict[str, Any]], side: str, multiple: int | None) -> None:
    batch = collate(rows, side, multiple)
    mask = batch["attention_mask"].bool()
    assert batch["task_index"].tolist() == [row["task_index"] for row in rows]
    for index, row in enumerate(rows):
        assert batch["input_ids"][index, mask[index]].tolist() == row["input_ids"]
        words = batch["labels"].get("words", torch.full(mask.shape, IGNORED))[index]
        expected = batch["input_ids"][index] if "labels_words" in row else torch.full_like(words, IGNORED)
        assert words[mask[index]].tolist() == expected[mask[index]].tolist()
        assert (words[~mask[index]] == IGNORED).all()
        intent = batch["labels"].get("intent", torch.full((len(rows),), IGNORED))[index]
        assert intent == row.get("labels_intent", IGNORED)
        stars = batch["labels"].get("stars", torch.full((len(rows), 1), NAN))[index]
        torch.testing.assert_close(stars, torch.tensor(row.get("labels_stars", [NAN])), equal_nan=True)
    served = {
        "words": [index for index, row in enumerate(rows) if "labels_words" in row],
        "intent": [index for index, row in enumerate(rows) if row.get("labels_intent", IGNORED) != IGNORED],
        "stars": [
            index
            for index, row in enumerate(rows)
            if row.get("labels_stars", [NAN])[0] == row.get("labels_stars", [NAN])[0]
        ],
    }
    assert {name: each.tolist() for name, each in batch["rows"].items()} == {
        name: each for name, each in served.items() if any(LABEL_PREFIX + name in row for row in rows)
    }
    assert set(batch["labels"]) == set(batch["rows"])
