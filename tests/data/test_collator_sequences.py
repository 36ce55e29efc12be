"""Batches with more sequences than rows, sequences that heads make themselves, and images beside texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from transformers import ViTImageProcessor

from fixtures import tiny_tokenizer
from mt_transformers.data import DataCollatorForMultiTask, Processing
from mt_transformers.errors import InputError
from mt_transformers.heads import IGNORED, EncodedRows, HeadConfig, LabelSource, get_head_config


@dataclass(kw_only=True)
class NumberConfig(HeadConfig):
    """A label is a number of its own for each row."""

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return list(values)

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return torch.tensor([IGNORED if label is None else label for label in labels])

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        return predictions, labels


@dataclass(kw_only=True)
class SeveralConfig(NumberConfig):
    """Reads all sequences of a row."""

    multi_sequence: ClassVar[bool] = True


@dataclass(kw_only=True)
class HidingConfig(NumberConfig):
    """Hides one token, another one in each epoch, and labels the row with it; outside of training it hides none."""

    makes_sequence: ClassVar[bool] = True

    def make_sequence(self, input_ids: Sequence[int], tokenizer: Any, epoch: int) -> tuple[list[int] | None, Any]:
        if epoch < 0:
            return None, input_ids[1]
        place = 1 + epoch % (len(input_ids) - 2)
        made = list(input_ids)
        made[place] = tokenizer.mask_token_id
        return made, input_ids[place]


MASK = 4
INTENT = get_head_config("intent", {"head_type": "sequence_classification", "num_labels": 3})
HEADS: dict[str, HeadConfig] = {
    "intent": INTENT,
    "choice": SeveralConfig(),
    "answer": SeveralConfig(),
    "hidden": HidingConfig(),
    "other_hidden": HidingConfig(),
}


def collate(rows: list[dict[str, Any]], epoch: int = -1, processing_class: Any = None) -> dict[str, Any]:
    """Collate with the tiny tokenizer, unless told otherwise."""
    return DataCollatorForMultiTask(processing_class or tiny_tokenizer(), HEADS, epoch=epoch)(rows)


def several(*sequences: list[int], **labels: Any) -> dict[str, Any]:
    """A row of several sequences, with the labels of some heads."""
    row = {"input_ids": sequences[0], "more_input_ids": list(sequences), "length": max(map(len, sequences))}
    return {**row, **{f"labels_{head}": label for head, label in labels.items()}}


def single(ids: list[int], **labels: Any) -> dict[str, Any]:
    """A row of one sequence."""
    return {"input_ids": ids, "length": len(ids), **{f"labels_{head}": label for head, label in labels.items()}}


# rows of several sequences


def test_first_sequences_stand_in_front() -> None:
    batch = collate(
        [
            several([2, 5, 3], [2, 6, 7, 3], [2, 8, 3], choice=1),
            several([2, 9, 3], choice=0),
            several([2, 10, 3], [2, 3], choice=1),
        ]
    )
    assert batch["input_ids"].tolist() == [
        [2, 5, 3, 0],
        [2, 9, 3, 0],
        [2, 10, 3, 0],
        [2, 6, 7, 3],
        [2, 8, 3, 0],
        [2, 3, 0, 0],
    ]
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 3, 3, 4, 3, 2]
    assert list(batch["sequences"]) == ["choice"]
    assert batch["sequences"]["choice"].tolist() == [[0, 3, 4], [1, -1, -1], [2, 5, -1]]
    # labels and their rows are over rows, not over sequences
    assert batch["labels"]["choice"].tolist() == [1, 0, 1]
    assert batch["rows"]["choice"].tolist() == [0, 1, 2]


def test_every_head_that_reads_several_gets_them() -> None:
    batch = collate(
        [
            several([2, 5, 3], [2, 6, 3], choice=1, intent=2),
            several([2, 7, 3], [2, 8, 3], [2, 9, 3], answer=0),
            single([2, 10, 3], intent=1),
        ]
    )
    assert batch["input_ids"][:, 1].tolist() == [5, 7, 10, 6, 8, 9]
    assert list(batch["sequences"]) == ["choice", "answer"]
    for places in batch["sequences"].values():
        assert places.tolist() == [[0, 3, -1], [1, 4, 5], [2, -1, -1]]
    # what reads one sequence reads the first
    assert batch["labels"]["intent"].tolist() == [2, IGNORED, 1]
    assert batch["rows"]["choice"].tolist() == [0]
    assert batch["rows"]["answer"].tolist() == [1]


def test_rows_of_one_sequence_each_are_told_apart_from_those_of_none() -> None:
    batch = collate([several([2, 5, 3], choice=1), several([2, 6, 3], choice=0)])
    assert batch["input_ids"].shape == (2, 3)
    assert batch["sequences"]["choice"].tolist() == [[0], [1]]


def test_what_else_the_tokenizer_gives_goes_with_its_sequence() -> None:
    rows = [several([2, 5, 3], [2, 6, 3, 7, 3], choice=0), several([2, 8, 3], [2, 3], choice=0)]
    types = [[[0, 0, 0], [0, 0, 0, 1, 1]], [[0, 0, 1], [0, 1]]]
    for row, own in zip(rows, types, strict=True):
        row |= {"token_type_ids": own[0], "more_token_type_ids": own}
    batch = collate(rows)
    assert batch["token_type_ids"].tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1],
        [0, 1, 0, 0, 0],
    ]


def test_a_row_of_a_stream_has_none_where_its_task_has_no_such_column() -> None:
    rows = [several([2, 5, 3], [2, 6, 3], choice=1), {**single([2, 7, 3], intent=1), "more_input_ids": None}]
    rows[0]["labels_intent"] = rows[1]["labels_choice"] = None
    batch = collate(rows)
    assert batch["sequences"]["choice"].tolist() == [[0, 2], [1, -1]]
    assert batch["rows"]["choice"].tolist() == [0]


@pytest.mark.parametrize("labels", [{}, {"intent": 1}])
def test_sequences_that_no_head_reads_are_left_out(labels: dict[str, int]) -> None:
    # the second row fills the batch of a task that reads one sequence
    batch = collate([single([2, 5, 3], **labels), several([2, 6, 3], [2, 7, 3])])
    assert batch["input_ids"].tolist() == [[2, 5, 3], [2, 6, 3]]
    assert "sequences" not in batch
    assert list(batch["labels"]) == list(labels)


# sequences that heads make


def test_a_sequence_takes_its_rows_place_where_nobody_else_reads_that() -> None:
    batch = collate([single([2, 5, 6, 3], hidden=True), single([2, 7, 8, 9, 3], hidden=True)], epoch=1)
    assert batch["input_ids"].tolist() == [[2, 5, MASK, 3, 0], [2, 7, MASK, 9, 3]]
    assert batch["sequences"]["hidden"].tolist() == [[0], [1]]
    assert batch["labels"]["hidden"].tolist() == [6, 8]
    assert batch["rows"]["hidden"].tolist() == [0, 1]


def test_it_is_appended_where_another_head_reads_the_row() -> None:
    batch = collate(
        [
            single([2, 5, 6, 3], hidden=True, intent=2),
            single([2, 7, 8, 3], hidden=True),
            single([2, 9, 10, 3], intent=1),
        ],
        epoch=0,
    )
    assert batch["input_ids"].tolist() == [[2, 5, 6, 3], [2, MASK, 8, 3], [2, 9, 10, 3], [2, MASK, 6, 3]]
    assert batch["attention_mask"].tolist() == [[1] * 4] * 4
    assert batch["sequences"]["hidden"].tolist() == [[3], [1], [-1]]
    assert batch["labels"]["hidden"].tolist() == [5, 7, IGNORED]
    assert batch["rows"]["hidden"].tolist() == [0, 1]
    assert batch["labels"]["intent"].tolist() == [2, IGNORED, 1]


def test_two_heads_each_make_a_sequence_of_their_own() -> None:
    batch = collate([single([2, 5, 6, 3], hidden=True, other_hidden=True)], epoch=0)
    assert batch["input_ids"].tolist() == [[2, 5, 6, 3], [2, MASK, 6, 3], [2, MASK, 6, 3]]
    assert batch["sequences"]["hidden"].tolist() == [[1]]
    assert batch["sequences"]["other_hidden"].tolist() == [[2]]


def test_it_stands_behind_the_further_sequences_of_all_rows() -> None:
    rows = [several([2, 5, 6, 3], [2, 7, 3], choice=0, hidden=True), several([2, 8, 3], [2, 9, 3], choice=1)]
    batch = collate(rows, epoch=0)
    assert batch["input_ids"][:, 1].tolist() == [5, 8, 7, 9, MASK]
    assert batch["sequences"]["choice"].tolist() == [[0, 2], [1, 3]]
    assert batch["sequences"]["hidden"].tolist() == [[4], [-1]]


def test_the_rows_own_sequence_may_do() -> None:
    batch = collate([single([2, 5, 6, 3], hidden=True, intent=0)], epoch=-1)
    assert batch["input_ids"].tolist() == [[2, 5, 6, 3]]
    assert batch["sequences"]["hidden"].tolist() == [[0]]
    assert batch["labels"]["hidden"].tolist() == [5]


def test_a_row_without_a_label_gets_no_sequence() -> None:
    batch = collate([single([2, 5, 6, 3], hidden=None), single([2, 7, 8, 3], hidden=True)], epoch=0)
    assert batch["input_ids"].tolist() == [[2, 5, 6, 3], [2, MASK, 8, 3]]
    assert batch["sequences"]["hidden"].tolist() == [[-1], [1]]


@pytest.mark.parametrize("labels", [{"hidden": True}, {"hidden": True, "intent": 0}])
def test_the_rows_are_left_as_they_were(labels: dict[str, Any]) -> None:
    rows = [single([2, 5, 6, 3], **labels)]
    kept = str(rows)
    first = collate(rows, epoch=0)
    assert str(rows) == kept
    # so that the next epoch starts from the row itself
    second = collate(rows, epoch=1)
    made = [int(batch["sequences"]["hidden"][0, 0]) for batch in (first, second)]
    assert first["input_ids"][made[0]].tolist() == [2, MASK, 6, 3]
    assert second["input_ids"][made[1]].tolist() == [2, 5, MASK, 3]


ids = st.lists(st.integers(5, 40), min_size=1, max_size=5).map(lambda inner: [2, *inner, 3])


@st.composite
def mixed_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of one sequence or several, with labels of any heads."""
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        labels: dict[str, Any] = {}
        if draw(st.booleans()):
            labels["intent"] = draw(st.integers(0, 2))
        for name in ("hidden", "other_hidden"):
            if draw(st.booleans()):
                labels[name] = True
        sequences = draw(st.lists(ids, min_size=1, max_size=3))
        if draw(st.booleans()):
            rows.append(several(*sequences, **labels, choice=0))
        else:
            rows.append(single(sequences[0], **labels))
    return rows


@given(rows=mixed_rows(), epoch=st.integers(-1, 3))
def test_every_head_finds_its_sequences(rows: list[dict[str, Any]], epoch: int) -> None:
    batch = collate(rows, epoch=epoch)
    found = [
        sequence[mask.bool()].tolist()
        for sequence, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    read = set()
    for number, row in enumerate(rows):
        if "labels_intent" in row:
            assert found[number] == row["input_ids"]
            read.add(number)
        for head in ("hidden", "other_hidden"):
            if head not in batch["labels"]:
                continue
            (place,) = batch["sequences"][head][number].tolist()
            if f"labels_{head}" not in row:
                assert place == -1
                continue
            made, label = HEADS[head].make_sequence(row["input_ids"], tiny_tokenizer(), epoch)
            assert found[place] == (row["input_ids"] if made is None else made)
            assert batch["labels"][head][number] == label
            read.add(place)
        if "choice" in batch["labels"]:
            places = [place for place in batch["sequences"]["choice"][number].tolist() if place >= 0]
            # a row that the head has no label for may bring sequences that others have changed
            if "labels_choice" in row:
                assert [found[place] for place in places] == row["more_input_ids"]
            read |= set(places)
    # nothing is encoded that nobody reads, but for the rows' first sequences
    assert set(range(len(found))) - read <= set(range(len(rows)))


# epochs


@dataclass
class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """The same row several times."""

    number: int

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> dict[str, Any]:
        return single([2, 5, 6, 7, 3], hidden=True)


# Python 3.12 warns of fork in a process with threads, which DataLoader does; can be removed once it spawns instead.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_epoch_reaches_workers_that_have_begun(num_workers: int) -> None:
    collator = DataCollatorForMultiTask(tiny_tokenizer(), HEADS)
    loader = DataLoader(
        Rows(6), batch_size=2, collate_fn=collator, num_workers=num_workers, persistent_workers=num_workers > 0
    )
    for epoch, label in ((-1, 5), (0, 5), (1, 6), (2, 7), (3, 5)):
        collator.set_epoch(epoch)
        batches = list(loader)
        assert [batch["labels"]["hidden"].tolist() for batch in batches] == [[label, label]] * 3
        hidden = torch.cat([batch["input_ids"] for batch in batches]) == MASK
        assert hidden.sum(dim=1).tolist() == [0 if epoch < 0 else 1] * 6


def test_the_epoch_may_be_given_at_once() -> None:
    assert collate([single([2, 5, 6, 3], hidden=True)], epoch=1)["labels"]["hidden"].tolist() == [6]


# images


def images_and_text() -> Processing:
    processor = ViTImageProcessor(size={"height": 2, "width": 2}, image_mean=[0.0] * 3, image_std=[1.0] * 3)
    return Processing(tiny_tokenizer(), processor)


def picture(brightness: int) -> np.ndarray:
    return np.full((4, 6, 3), brightness, dtype=np.uint8)


def test_images() -> None:
    rows = [{"images": picture(255), "labels_intent": 1}, {"images": picture(51), "labels_intent": 2}]
    batch = collate(rows, processing_class=images_and_text().image_processor)
    assert set(batch) == {"pixel_values", "labels", "rows"}
    assert batch["pixel_values"].shape == (2, 3, 2, 2)
    assert batch["pixel_values"].mean(dim=(1, 2, 3)).tolist() == pytest.approx([1.0, 0.2])
    assert batch["labels"]["intent"].tolist() == [1, 2]


def test_images_beside_texts() -> None:
    rows = [{**single([2, 5, 3], intent=1), "images": picture(0)}, {**single([2, 3]), "images": picture(255)}]
    batch = collate(rows, processing_class=images_and_text())
    assert set(batch) == {"input_ids", "attention_mask", "pixel_values", "labels", "rows"}
    assert batch["input_ids"].tolist() == [[2, 5, 3], [2, 3, 0]]
    assert batch["pixel_values"].mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([single([2, 5, 3]), {**single([2, 5, 3]), "images": picture(0)}], "images"),
        ([single([2, 5, 3]), {**single([2, 5, 3]), "images": None}, {"images": picture(0)}], "images"),
        ([{**single([2, 5, 3]), "images": picture(0)}, {"images": picture(0)}], "input_ids"),
    ],
)
def test_rows_of_different_kinds_share_no_batch(rows: list[dict[str, Any]], name: str) -> None:
    with pytest.raises(InputError, match=f"^some rows of a batch have the input '{name}' and others do not"):
        collate(rows, processing_class=images_and_text())
