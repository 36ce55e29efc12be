"""Rows of the data folder, some of each class."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import numpy as np

from mt_transformers.errors import InputError

__all__ = ["data_folder", "load_parquet", "some_of_each"]


def data_folder() -> Path:
    """
    Where the data sets are.

    Returns:
        `Path`: What MT_TRANSFORMERS_DATA says.

    Raises:
        InputError: If it says nothing.
    """
    folder = os.environ.get("MT_TRANSFORMERS_DATA")
    if not folder:
        raise InputError("MT_TRANSFORMERS_DATA is not set: expected the folder of the full datasets.")
    return Path(folder)


def load_parquet(name: str) -> dict[str, datasets.Dataset]:
    """
    Load the splits of a data set.

    Args:
        name (`str`): Its folder.

    Returns:
        `dict[str, datasets.Dataset]`: `train`, `validation` and `test`.
    """
    files = {split: str(data_folder() / name / f"{split}.parquet") for split in ("train", "validation", "test")}
    loaded: dict[str, datasets.Dataset] = dict(datasets.load_dataset("parquet", data_files=files))
    return loaded


def some_of_each(split: datasets.Dataset, column: str, number: int, seed: int = 0) -> datasets.Dataset:
    """
    Take some rows of each class, at random.

    Args:
        split (`datasets.Dataset`): The rows.
        column (`str`): The column with the classes.
        number (`int`): Rows of each class, at most.
        seed (`int`, *optional*, defaults to 0): Which.

    Returns:
        `datasets.Dataset`: The rows, in the order that they have.
    """
    labels = np.asarray(split[column])
    order = np.random.default_rng(seed).permutation(len(labels))
    # place of each row among those of its class, in random order
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return split.select(np.sort(by_class[place < number]))
