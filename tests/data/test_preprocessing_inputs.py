"""Rows of several sequences, labels of several parts and of none, and images, from the dataset to prepared columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, load_from_disk
from transformers import ViTImageProcessor

from fixtures import MOODS, VOCABULARY, tiny_tokenizer
from mt_transformers import Task
from mt_transformers.data import DataCollatorForMultiTask, Processing, prepare_split
from mt_transformers.data.streaming import prepare_stream
from mt_transformers.errors import InputError
from mt_transformers.heads import EncodedRows, HeadConfig, LabelSource, get_head_config


@dataclass(kw_only=True)
class AnyConfig(HeadConfig):
    """A label is whatever the column holds; keeps what it was given to see."""

    seen: ClassVar[list[EncodedRows]] = []

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        self.seen.append(rows)
        return list(values)

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return torch.tensor([-100 if label is None else label for label in labels])

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        return predictions, labels


@dataclass(kw_only=True)
class SeveralConfig(AnyConfig):
    """Reads all sequences of a row, and keeps the contexts."""

    multi_sequence: ClassVar[bool] = True
    needs_gold: ClassVar[bool] = True
    stride: int | None = field(default=None)

    @property
    def window_stride(self) -> int | None:
        return self.stride

    def encode_gold(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return [f"{source.task_name} {value}" for value in values]


@dataclass(kw_only=True)
class QuestionConfig(SeveralConfig):
    head_type = "question_for_test_preprocessing_inputs"
    task_inputs: ClassVar[tuple[str, ...]] = ("question", "context")


@dataclass(kw_only=True)
class PartsConfig(AnyConfig):
    head_type = "parts_for_test_preprocessing_inputs"
    label_parts: ClassVar[tuple[str, ...]] = ("first", "last")

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return [[value["first"], value["last"]] for value in values]


@dataclass(kw_only=True)
class RawConfig(AnyConfig):
    head_type = "raw_for_test_preprocessing_inputs"
    label_column = "none"

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        assert all(value is True for value in values)
        return [1] * len(values)


MOOD = get_head_config("mood", {"head_type": "sequence_classification", "id2label": MOODS})


def prepare(
    rows: Dataset,
    inputs: dict[str, Any],
    labels: dict[str, Any],
    heads: dict[str, HeadConfig],
    max_length: int | None = None,
    processing_class: Any = None,
) -> Dataset:
    """Prepare as split `train` of task `t`, with the tiny tokenizer unless told otherwise."""
    task = Task(dataset={"train": rows}, inputs=inputs, labels=labels)
    return prepare_split("t", task, "train", rows, heads, processing_class or tiny_tokenizer(), max_length)


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        prepare(*arguments, **options)
    return str(caught.value)


def words(ids: list[int]) -> str:
    """The tokens of a sequence, without [CLS]."""
    return " ".join(VOCABULARY[index] for index in ids[1:])


QUESTIONS = {"question": "q", "context": "c"}
CONTEXT = "a by in is new old the . film book"


# several sequences


def test_windows_of_a_context() -> None:
    rows = Dataset.from_dict({"q": ["play", "play"], "c": [CONTEXT, "dido"], "y": [3, 4]})
    prepared = prepare(rows, QUESTIONS, {"h": "y"}, {"h": SeveralConfig(stride=1)}, 10)
    assert set(prepared.column_names) == {
        "input_ids",
        "token_type_ids",
        "more_input_ids",
        "more_token_type_ids",
        "length",
        "labels_h",
        "gold_h",
    }
    assert [words(ids) for ids in prepared["input_ids"]] == [
        "play [SEP] a by in is new old [SEP]",
        "play [SEP] dido [SEP]",
    ]
    assert [[words(ids) for ids in row] for row in prepared["more_input_ids"]] == [
        ["play [SEP] a by in is new old [SEP]", "play [SEP] old the . film book [SEP]"],
        ["play [SEP] dido [SEP]"],
    ]
    assert prepared["more_token_type_ids"][0][1] == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert list(prepared["length"]) == [10, 5]
    assert list(prepared["gold_h"]) == ["t 3", "t 4"]


def test_windows_share_as_much_as_any_head_asks_for() -> None:
    rows = Dataset.from_dict({"q": ["play"], "c": [CONTEXT], "y": [0]})
    heads: dict[str, HeadConfig] = {"a": SeveralConfig(stride=0), "b": SeveralConfig(stride=2), "c": SeveralConfig()}
    prepared = prepare(rows, QUESTIONS, dict.fromkeys("abc", "y"), heads, 12)
    assert [words(ids) for ids in prepared["more_input_ids"][0]] == [
        "play [SEP] a by in is new old the . [SEP]",
        "play [SEP] the . film book [SEP]",
    ]


def test_choices_behind_a_text() -> None:
    rows = Dataset.from_dict({"t": ["music by", "a"], "x": ["dido", "film"], "y": ["cher is", "book"], "z": [1, 0]})
    prepared = prepare(rows, {"text": "t", "choices": ["y", "x"]}, {"h": "z"}, {"h": SeveralConfig()})
    assert [[words(ids) for ids in row] for row in prepared["more_input_ids"]] == [
        ["music by [SEP] cher is [SEP]", "music by [SEP] dido [SEP]"],
        ["a [SEP] book [SEP]", "a [SEP] film [SEP]"],
    ]
    # of the longest sequence
    assert list(prepared["length"]) == [7, 5]


def test_many_rows_of_one_window_come_before_one_of_several() -> None:
    count = 1100
    rows = Dataset.from_dict({"q": ["play"] * count, "c": ["dido"] * (count - 1) + [CONTEXT], "y": [0] * count})
    prepared = prepare(rows, QUESTIONS, {"h": "y"}, {"h": SeveralConfig()}, 10)
    assert [len(each) for each in prepared["more_input_ids"]] == [1] * (count - 1) + [2]


def test_a_head_that_reads_one_sequence_gets_the_first_window() -> None:
    rows = Dataset.from_dict({"q": ["play", "play"], "c": [CONTEXT, "dido"], "y": MOODS})
    heads: dict[str, HeadConfig] = {"mood": MOOD, "h": SeveralConfig()}
    prepared = prepare(rows, QUESTIONS, {"mood": "y"}, heads, 10)
    assert set(prepared.column_names) == {"input_ids", "token_type_ids", "length", "labels_mood"}
    batch = DataCollatorForMultiTask(tiny_tokenizer(), heads)(prepared.to_list())
    assert batch["input_ids"].shape == (2, 10)
    assert batch["labels"]["mood"].tolist() == [0, 1]
    # beside one that reads all of them
    both = prepare(rows, QUESTIONS, {"mood": "y", "h": "y"}, {"mood": MOOD, "h": RawOfTwo()}, 10)
    batch = DataCollatorForMultiTask(tiny_tokenizer(), {"mood": MOOD, "h": RawOfTwo()})(both.to_list())
    assert batch["input_ids"].shape == (3, 10)
    assert batch["labels"]["mood"].tolist() == [0, 1]
    assert batch["sequences"]["h"].tolist() == [[0, 2], [1, -1]]


@dataclass(kw_only=True)
class RawOfTwo(AnyConfig):
    """Reads all sequences; its labels are all 1."""

    multi_sequence: ClassVar[bool] = True

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return [1] * len(values)


def test_a_stream_gives_the_same_rows() -> None:
    rows = Dataset.from_dict({"q": ["play", "play"], "c": ["dido", CONTEXT], "y": [3, 4]})
    task = Task(dataset={"train": rows}, inputs=QUESTIONS, labels={"h": "y"})
    heads: dict[str, HeadConfig] = {"h": SeveralConfig(stride=1)}
    stream = prepare_stream("t", task, rows.to_iterable_dataset(), heads, tiny_tokenizer(), 10)
    prepared = prepare(rows, QUESTIONS, {"h": "y"}, heads, 10)
    # what only metrics need is no part of training
    assert list(stream) == prepared.remove_columns("gold_h").to_list()


@pytest.mark.parametrize(
    ("columns", "inputs", "message"),
    [
        ({"c": [["a", "b"], ["a", None]]}, {"choices": "c"}, "column 'c', row 1: expected a text, found None."),
        ({"c": [["a"], []]}, {"choices": "c"}, "column 'c', row 1: expected at least one text, found none."),
        ({"c": [["a"], None]}, {"sentences": "c"}, "column 'c', row 1: expected a text, found None."),
        (
            {"c": ["a", "b"], "d": [None, "e"]},
            {"choices": ["c", "d"]},
            "columns ['c', 'd'], row 0: expected a text, found None.",
        ),
        ({"q": ["a", "b"], "c": ["a", None]}, QUESTIONS, "column 'c', row 1: expected a text, found None."),
    ],
)
def test_texts_that_are_missing(columns: dict[str, Any], inputs: dict[str, Any], message: str) -> None:
    rows = Dataset.from_dict({**columns, "y": [0, 0]})
    assert refusal(rows, inputs, {"h": "y"}, {"h": SeveralConfig()}) == f"task 't', split 'train', {message}"


# what heads are given


def test_heads_see_inputs_words_and_offsets() -> None:
    AnyConfig.seen.clear()
    rows = Dataset.from_dict({"q": ["play"], "c": [CONTEXT], "w": [["dido", "is"]], "y": [0]})
    prepare(rows, QUESTIONS, {"h": "y"}, {"h": SeveralConfig(stride=1)}, 10)
    (seen,) = AnyConfig.seen
    assert list(seen.numbers) == [0]
    assert {name: list(values) for name, values in seen.inputs.items()} == {"question": ["play"], "context": [CONTEXT]}
    assert list(seen.word_ids) == []
    spans = [(0, 1), (2, 4), (5, 7), (8, 10), (11, 14), (15, 18), (19, 22), (23, 24), (25, 29), (30, 34)]
    assert seen.offsets == [[[None] * 3 + spans[:6] + [None], [None] * 3 + spans[5:] + [None]]]
    AnyConfig.seen.clear()
    prepare(rows, {"tokens": "w"}, {"h": "y"}, {"h": AnyConfig()})
    (seen,) = AnyConfig.seen
    assert seen.word_ids == [[None, 0, 1, None]]
    assert list(seen.offsets) == []
    assert {name: list(values) for name, values in seen.inputs.items()} == {"tokens": [["dido", "is"]]}


def test_rows_keep_their_numbers_in_later_batches() -> None:
    AnyConfig.seen.clear()
    rows = Dataset.from_dict({"t": ["play"] * 1002, "y": [0] * 1002})
    prepare(rows, {"text": "t"}, {"h": "y"}, {"h": AnyConfig()})
    assert [list(seen.numbers)[-2:] for seen in AnyConfig.seen] == [[998, 999], [1000, 1001]]
    assert [len(seen.inputs["text"]) for seen in AnyConfig.seen] == [1000, 2]


# labels of several columns, and of none


def parts_of(tmp_path: Path, labels: dict[str, str]) -> list[Any]:
    """Labels of two parts, of rows on disk, which `datasets` caches."""
    if not (tmp_path / "rows").exists():
        Dataset.from_dict({"t": ["play"], "a": [7], "b": [8]}).save_to_disk(tmp_path / "rows")
    rows = load_from_disk(tmp_path / "rows")
    return list(prepare(rows, {"text": "t"}, {"h": labels}, {"h": PartsConfig()})["labels_h"])


def test_each_part_has_its_column_whatever_the_order(tmp_path: Path) -> None:
    assert parts_of(tmp_path, {"first": "a", "last": "b"}) == [[7, 8]]
    # nor does the cache take one for the other
    assert parts_of(tmp_path, {"last": "a", "first": "b"}) == [[8, 7]]
    assert parts_of(tmp_path, {"last": "b", "first": "a"}) == [[7, 8]]


def test_labels_that_are_made_from_the_input() -> None:
    rows = Dataset.from_dict({"t": ["play", "dido"], "y": [0, 1]})
    assert list(prepare(rows, {"text": "t"}, {"h": None}, {"h": RawConfig()})["labels_h"]) == [1, 1]


# tasks that cannot train a head

ONE_TEXT = "sequence_classification reads one text a row"
PARTS = PartsConfig.head_type
RAW = RawConfig.head_type


@pytest.mark.parametrize(
    ("inputs", "label", "head", "message"),
    [
        (
            {"text": "t"},
            "y",
            QuestionConfig(),
            f"{QuestionConfig.head_type} needs the inputs question, context, found text.",
        ),
        ({"choices": "s"}, "y", MOOD, "sequence_classification reads one text a row, but 'choices' gives several."),
        (
            {"sentences": "s"},
            "y",
            MOOD,
            "sequence_classification reads one text a row, but 'sentences' gives several.",
        ),
        (
            {"chosen": "t", "rejected": "t"},
            "y",
            MOOD,
            "sequence_classification reads one text a row, but 'chosen' gives several.",
        ),
        ({"text": "t"}, None, MOOD, "sequence_classification needs a column with labels, found none."),
        ({"text": "t"}, {"a": "y"}, MOOD, "sequence_classification needs one column, found {'a': 'y'}."),
        ({"text": "t"}, "y", PartsConfig(), f"{PARTS} needs a column for each of first, last, found 'y'."),
        (
            {"text": "t"},
            {"first": "y"},
            PartsConfig(),
            f"{PARTS} needs a column for each of first, last, found {{'first': 'y'}}.",
        ),
        (
            {"text": "t"},
            "y",
            RawConfig(),
            f"{RAW} makes its labels from the input: expected no column, found 'y'.",
        ),
    ],
)
def test_tasks_that_cannot_train_a_head(inputs: dict[str, Any], label: Any, head: HeadConfig, message: str) -> None:
    rows = Dataset.from_dict({"t": ["play"], "s": [["play", "dido"]], "y": [0]}).cast_column(
        "y", ClassLabel(names=MOODS)
    )
    assert refusal(rows, inputs, {"h": label}, {"h": head}) == f"task 't', head 'h': {message}"


# images

PICTURE = np.full((4, 4, 3), 255, dtype=np.uint8).tolist()


def images() -> Processing:
    return Processing(tiny_tokenizer(), ViTImageProcessor(size={"height": 2, "width": 2}))


@pytest.mark.parametrize("column", ["images", "photo"])
@pytest.mark.parametrize("label", ["y", None])
def test_images_stay_as_they_are(column: str, label: str | None) -> None:
    rows = Dataset.from_dict({column: [PICTURE, PICTURE], "y": MOODS, "other": [1, 2]})
    heads: dict[str, HeadConfig] = {"h": MOOD if label else RawConfig()}
    prepared = prepare(rows, {"images": column}, {"h": label}, heads, processing_class=images())
    assert set(prepared.column_names) == {"images", "length", "labels_h"}
    assert np.asarray(prepared[1]["images"]).tolist() == PICTURE
    assert [int(each) for each in prepared["labels_h"]] == ([0, 1] if label else [1, 1])
    batch = DataCollatorForMultiTask(images(), heads)([prepared[0], prepared[1]])
    assert batch["pixel_values"].tolist() == torch.ones(2, 3, 2, 2).tolist()


@pytest.mark.parametrize("label", ["y", None])
def test_images_beside_texts(label: str | None) -> None:
    rows = Dataset.from_dict({"photo": [PICTURE], "t": ["play dido"], "y": MOODS[:1]})
    heads: dict[str, HeadConfig] = {"h": MOOD if label else RawConfig()}
    prepared = prepare(rows, {"images": "photo", "text": "t"}, {"h": label}, heads, processing_class=images())
    assert set(prepared.column_names) == {"images", "input_ids", "token_type_ids", "length", "labels_h"}
    assert prepared[0]["length"] == 4


def test_columns_that_are_no_input_are_left_out_whatever_their_name() -> None:
    columns = {"t": ["play"], "y": MOODS[:1], "audio": [[0.5]], "images": [[1]], "photo": [PICTURE]}
    rows = Dataset.from_dict(columns)
    text = prepare(rows, {"text": "t"}, {"h": "y"}, {"h": MOOD})
    assert set(text.column_names) == {"input_ids", "token_type_ids", "length", "labels_h"}
    photo = prepare(rows, {"images": "photo"}, {"h": "y"}, {"h": MOOD}, processing_class=images())
    assert set(photo.column_names) == {"images", "length", "labels_h"}
    assert np.asarray(photo[0]["images"]).tolist() == PICTURE


def test_inputs_that_nothing_prepares_are_refused() -> None:
    rows = Dataset.from_dict({"photo": [PICTURE], "y": MOODS[:1]})
    assert refusal(rows, {"images": "photo"}, {"h": "y"}, {"h": MOOD}) == (
        "task 't' reads images, but the processing class has no image_processor."
    )
