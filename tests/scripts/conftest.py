"""What the tests of the benchmarks share: data under the names of the real sets, and a tiny backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import BertModel, set_seed

from fixtures import GOOD, INTENTS, MOODS, NOUNS, tiny_bert_config, tiny_tokenizer

ROWS = {"emotion": 24, "irony": 8, "offensive": 16, "hate": 12}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of several lengths under the names of the real data sets."""
    folder = tmp_path_factory.mktemp("data")
    texts = Features({"text": Value("string"), "label": ClassLabel(names=MOODS)})
    for name, rows in {**{f"tweeteval_{name}": rows for name, rows in ROWS.items()}, "banking77": 8}.items():
        (folder / name).mkdir()
        values = {
            "text": [f"the {NOUNS[row % 4]} is" + f" {GOOD[row % 4]}" * (1 + row % 7) for row in range(rows)],
            "label": [row % 2 for row in range(rows)],
        }
        for split in ("train", "validation"):
            Dataset.from_dict(values, features=texts).to_parquet(folder / name / f"{split}.parquet")
    (folder / "snips").mkdir()
    tokens = Features({"tokens": List(Value("string")), "intent": ClassLabel(names=INTENTS)})
    Dataset.from_dict({"tokens": [["play", "music"]] * 4, "intent": [0, 1, 0, 1]}, features=tokens).to_parquet(
        folder / "snips" / "train.parquet"
    )
    return folder


@pytest.fixture(scope="session")
def quiet_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny backbone without dropout."""
    folder = tmp_path_factory.mktemp("quiet_backbone")
    set_seed(0)
    BertModel(tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)
