"""Where the rows of a batch come from."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from fixtures import tiny_tokenizer
from mt_transformers.continual.sources import ROW_NUMBER, SOURCES, SourceCollator, number_rows
from mt_transformers.data import TASK_INDEX
from mt_transformers.heads import get_head_config

HEADS = {"mood": get_head_config("mood", {"head_type": "sequence_classification", "num_labels": 2})}


def test_rows_keep_their_numbers_when_some_are_chosen() -> None:
    split = number_rows(Dataset.from_dict({"length": [3, 2, 5]}))
    assert split.select([2, 0])[ROW_NUMBER][:] == [2, 0]
    assert split.select([2, 0])["length"][:] == [5, 3]


def test_a_batch_says_task_and_number_of_each_row() -> None:
    """Rows out of a buffer have no number, rows that fill a batch no task either."""
    row = {"input_ids": [2, 5, 3], "attention_mask": [1, 1, 1], "length": 3, "labels_mood": 1}
    features = [
        {**row, TASK_INDEX: 1, ROW_NUMBER: 7},
        {**row, TASK_INDEX: 0},
        {**row, TASK_INDEX: -1, ROW_NUMBER: 4},
    ]
    batch = SourceCollator(tiny_tokenizer(), HEADS)(features)
    np.testing.assert_array_equal(batch[SOURCES], [[1, 7], [0, -1], [-1, -1]])
    assert batch[SOURCES].dtype == np.int64
    assert ROW_NUMBER not in batch
    assert batch["input_ids"].shape == (3, 3)


def test_rows_without_a_task_have_no_sources() -> None:
    row = {"input_ids": [2, 5, 3], "attention_mask": [1, 1, 1], "length": 3, "labels_mood": 1}
    assert SOURCES not in SourceCollator(tiny_tokenizer(), HEADS)([row])
