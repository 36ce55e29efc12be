"""The data bundled with the demo: counts, classes, features, and where the rows come from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, List, Value, load_dataset

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "mt_transformers" / "demo" / "data"
SPLITS = ("train", "validation", "test")
CASES = [(name, split) for name in ("snips", "banking77") for split in SPLITS]

LABEL_COLUMN = {"snips": "intent", "banking77": "label"}
CLASSES = {"snips": 7, "banking77": 77}
ROWS_PER_CLASS = {
    "snips": {"train": 200, "validation": 20, "test": 50},
    "banking77": {"train": 25, "validation": 3, "test": 6},
}


def read(path: Path) -> Dataset:
    """Read a parquet file without a cache."""
    return Dataset(pq.read_table(path))


def keys(dataset: Dataset, columns: list[str]) -> list[str]:
    """Each row as a string that can be counted and compared."""
    return [repr([row[column] for column in columns]) for row in dataset]


@pytest.fixture
def full_data() -> Path:
    """The folder of the full datasets, where there is one."""
    folder = os.environ.get("MT_TRANSFORMERS_DATA")
    if not folder:
        pytest.skip("MT_TRANSFORMERS_DATA is not set")
    return Path(folder)


@pytest.mark.parametrize(("name", "split"), CASES)
def test_counts_cover_every_class(name: str, split: str) -> None:
    dataset = read(DATA / f"{name}_{split}.parquet")
    expected = dict.fromkeys(range(CLASSES[name]), ROWS_PER_CLASS[name][split])
    assert Counter(dataset[LABEL_COLUMN[name]]) == expected


@pytest.mark.parametrize("split", SPLITS)
def test_features_of_snips(split: str) -> None:
    features = read(DATA / f"snips_{split}.parquet").features
    assert list(features) == ["tokens", "slots", "intent"]
    assert features["tokens"] == List(Value("string"))
    assert isinstance(features["slots"], List)
    assert isinstance(features["slots"].feature, ClassLabel)
    assert features["slots"].feature.names[:3] == ["O", "B-album", "I-album"]
    assert features["slots"].feature.num_classes == 79
    assert features["intent"].names[:2] == ["AddToPlaylist", "BookRestaurant"]


@pytest.mark.parametrize("split", SPLITS)
def test_features_of_banking77(split: str) -> None:
    features = read(DATA / f"banking77_{split}.parquet").features
    assert list(features) == ["text", "label"]
    assert features["text"] == Value("string")
    assert features["label"].num_classes == 77
    assert features["label"].names[0] == "card_arrival"


def test_load_dataset_gives_the_class_labels_back(tmp_path: Path) -> None:
    dataset = load_dataset(
        "parquet",
        data_files={split: str(DATA / f"snips_{split}.parquet") for split in SPLITS},
        cache_dir=str(tmp_path),
    )
    assert dataset.num_rows == {"train": 1400, "validation": 140, "test": 350}
    row = dataset["train"][0]
    features = dataset["train"].features
    assert features["intent"].int2str(row["intent"]) == "BookRestaurant"
    assert features["slots"].feature.int2str(row["slots"])[-1] == "B-country"


@pytest.mark.parametrize("split", SPLITS)
def test_a_token_has_one_tag(split: str) -> None:
    dataset = read(DATA / f"snips_{split}.parquet")
    assert all(len(row["tokens"]) == len(row["slots"]) > 0 for row in dataset)


@pytest.mark.parametrize(("name", "column"), [("snips", "tokens"), ("banking77", "text")])
def test_no_text_occurs_twice(name: str, column: str) -> None:
    texts = Counter(text for split in SPLITS for text in keys(read(DATA / f"{name}_{split}.parquet"), [column]))
    assert [text for text, count in texts.items() if count > 1] == []


@pytest.mark.parametrize(("name", "split"), CASES)
def test_rows_are_those_of_the_source(name: str, split: str, full_data: Path) -> None:
    bundled = read(DATA / f"{name}_{split}.parquet")
    source = read(full_data / name / f"{split}.parquet").select_columns(bundled.column_names)
    assert bundled.features == source.features
    assert Counter(keys(bundled, bundled.column_names)) <= Counter(keys(source, bundled.column_names))


def test_the_script_makes_the_same_rows_again(full_data: Path, tmp_path: Path) -> None:
    script = ROOT / "scripts" / "build_demo_data.py"
    subprocess.run([sys.executable, str(script), str(full_data), str(tmp_path)], check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in DATA.glob("*.parquet"))
    for path in DATA.glob("*.parquet"):
        assert pq.read_table(path).equals(pq.read_table(tmp_path / path.name), check_metadata=True), path.name
