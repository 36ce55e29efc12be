"""
Make the demo's data: fixed, stratified subsets of SNIPS and BANKING77.

    python scripts/build_demo_data.py SOURCE_FOLDER OUTPUT_FOLDER

SOURCE_FOLDER holds `snips/{train,validation,test}.parquet` and `banking77/{train,validation,test}.parquet`.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Subset:
    """
    What to take of one dataset.

    Args:
        name (`str`):
            Folder of the source, and first part of the files written.
        label_column (`str`):
            ClassLabel column by which the rows are stratified.
        columns (`tuple[str, ...]`):
            Columns to keep, in order.
        rows_per_class (`dict[str, int]`):
            Split -> rows of every class.
    """

    name: str
    label_column: str
    columns: tuple[str, ...]
    rows_per_class: dict[str, int]


SUBSETS = (
    Subset("snips", "intent", ("tokens", "slots", "intent"), {"train": 200, "validation": 20, "test": 50}),
    Subset("banking77", "label", ("text", "label"), {"train": 25, "validation": 3, "test": 6}),
)


def read_split(path: Path) -> Dataset:
    """Read one parquet file without a cache; the features come from the schema the file carries."""
    return Dataset(pq.read_table(path))


def choose_rows(texts: list[str], labels: list[int], rows_per_class: int, seen_texts: set[str]) -> list[int]:
    """
    Choose the rows of one split.

    The rows are taken in the order of their text's SHA-256: an order that needs no random generator, depends on
    nothing but the text and mixes the classes.

    Args:
        texts (`list[str]`):
            Text of each row.
        labels (`list[int]`):
            Class of each row.
        rows_per_class (`int`):
            Rows to take of every class.
        seen_texts (`set[str]`):
            Texts not to take again; the texts chosen are added to it.

    Returns:
        `list[int]`: The rows chosen, in the order in which to write them.

    Raises:
        ValueError: If a class has too few rows.
    """
    chosen: list[int] = []
    taken: defaultdict[int, int] = defaultdict(int)
    for row in sorted(range(len(texts)), key=lambda row: hashlib.sha256(texts[row].encode()).digest()):
        text, label = texts[row], labels[row]
        if taken[label] < rows_per_class and text not in seen_texts:
            seen_texts.add(text)
            taken[label] += 1
            chosen.append(row)
    short = {label: count for label, count in taken.items() if count < rows_per_class}
    if short:
        raise ValueError(
            f"`rows_per_class` is {rows_per_class}, but these classes have fewer distinct texts: {short}."
        )
    return chosen


def build_subset(subset: Subset, source_folder: Path, output_folder: Path) -> None:
    """Write the three files of one dataset; no text occurs twice in them."""
    seen_texts: set[str] = set()
    for split in SPLITS:
        dataset = read_split(source_folder / subset.name / f"{split}.parquet")
        rows = choose_rows(
            list(dataset["text"]), list(dataset[subset.label_column]), subset.rows_per_class[split], seen_texts
        )
        path = output_folder / f"{subset.name}_{split}.parquet"
        dataset.select(rows).select_columns(list(subset.columns)).to_parquet(path)
        print(f"{path}: {len(rows)} of {dataset.num_rows} rows")


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description="Make the demo's data from the full datasets.")
    parser.add_argument("source_folder", type=Path, help="folder that holds snips/ and banking77/")
    parser.add_argument("output_folder", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    arguments.output_folder.mkdir(parents=True, exist_ok=True)
    for subset in SUBSETS:
        build_subset(subset, arguments.source_folder, arguments.output_folder)


if __name__ == "__main__":
    main()
