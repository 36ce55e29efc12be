"""Columns with images or audio: what they may hold, and their rows, checked and put beside the prepared ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import datasets
from datasets.fingerprint import Hasher

from ..errors import InputError
from ..version import __version__
from .audio import NO_DECODER
from .images import NO_PILLOW
from .processing import Processing

__all__ = ["MEDIA_BATCH_SIZE", "MediaChecker", "add_media", "check_media_feature", "keep_files"]

MEDIA_BATCH_SIZE = 16
"""Rows that are in memory at once while they are checked: as nested lists they are large."""

_LISTS = (datasets.List, datasets.LargeList)


def check_media_feature(where: str, name: str, feature: Any) -> None:
    """
    Refuse a column that holds no images or no audio, or that nothing here can decode.

    Args:
        where (`str`): The column, for messages.
        name (`str`): The input, `images` or `audio`.
        feature (`Any`): The column's `datasets` feature.

    Raises:
        InputError: If the column cannot be used.

    Example:
        >>> check_media_feature("column 'pixels'", "images", datasets.Array2D((8, 8), "uint8"))
        >>> check_media_feature("column 'file'", "images", datasets.Value("string"))
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: column 'file': expected images, as Image or as arrays, found
        Value('string'); cast_column('...', Image()) makes images of file names.
    """
    if isinstance(feature, datasets.Image | datasets.Audio) and find_spec(_DECODERS[type(feature)][0]) is None:
        raise InputError(f"{where}: {_DECODERS[type(feature)][1]}")
    if isinstance(feature, _FILES[name]):
        return
    dimensions, dtype = _array(feature["array"] if name == "audio" and _is_clip(feature) else feature)
    allowed = ((2, 3), ("int", "uint", "float")) if name == "images" else ((1,), ("float",))
    if dimensions in allowed[0] and dtype.startswith(allowed[1]):
        return
    kind = _FILES[name].__name__
    hint = ""
    if dtype == "string" and dimensions == 0:
        hint = f"; cast_column('...', {kind}()) makes {name} of file names"
    elif name == "audio" and dimensions == 1:
        hint = "; samples are floats from -1 to 1"
    raise InputError(f"{where}: expected {name}, as {kind} or as arrays, found {feature}{hint}.")


_FILES: Mapping[str, type] = {"images": datasets.Image, "audio": datasets.Audio}
_DECODERS = {datasets.Image: ("PIL", NO_PILLOW), datasets.Audio: ("torchcodec", NO_DECODER)}


def _is_clip(feature: Any) -> bool:
    return isinstance(feature, Mapping) and "array" in feature


def _array(feature: Any) -> tuple[int, str]:
    """Number of dimensions of a value, and the type of its entries."""
    if isinstance(feature, datasets.Array2D | datasets.Array3D):
        return len(feature.shape), feature.dtype
    dimensions = 0
    while isinstance(feature, _LISTS):
        feature, dimensions = feature.feature, dimensions + 1
    return dimensions, feature.dtype if isinstance(feature, datasets.Value) else ""


def keep_files(split: Any, names: Any) -> Any:
    """
    Leave files undecoded.

    Args:
        split (`datasets.Dataset` or `datasets.IterableDataset`): The rows.
        names (`Iterable[str]`): Their columns with images or audio.

    Returns:
        `datasets.Dataset` or `datasets.IterableDataset`: The rows, with a dict of `bytes` and `path` for each file.
    """
    for name in names:
        for kind in _FILES.values():
            if isinstance(split.features[name], kind):
                split = split.cast_column(name, kind(decode=False))
    return split


@dataclass
class MediaChecker:
    """
    Reads the images or recordings of a batch of rows once, so that one that is broken is named before any training.

    Args:
        where (`str`): Task and split, for messages.
        columns (`Mapping[str, str]`): For the inputs that are images or audio their columns in the dataset.
        processing ([`Processing`]): What will prepare them.
    """

    where: str
    columns: Mapping[str, str]
    processing: Processing

    def __call__(self, batch: Mapping[str, Any], rows: list[int]) -> dict[str, list[int]]:
        """
        Check.

        Args:
            batch (`Mapping[str, Sequence]`): Columns under the names of their inputs, files undecoded.
            rows (`list[int]`): The rows' numbers.

        Returns:
            `dict[str, list[int]]`: `length`: samples of each recording, 1 for files and images.

        Raises:
            InputError: If one cannot be used, naming task, split, column and row.
        """
        lengths = [1] * len(rows)
        for name, column in self.columns.items():
            for place, (row, value) in enumerate(zip(rows, batch[name], strict=True)):
                lengths[place] = self._check(name, value, f"{self.where}, column {column!r}, row {row}")
        return {"length": lengths}

    def _check(self, name: str, value: Any, where: str) -> int:
        if value is None:
            raise InputError(f"{where}: expected {name}, found None.")
        try:
            return self.processing.check_value(name, value)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error

    def fingerprint(self, split: datasets.Dataset) -> str:
        """
        Name the cache file of the result.

        Args:
            split (`datasets.Dataset`): The rows.

        Returns:
            `str`: A hash of all that the result depends on.
        """
        parts = [self.processing.image_processor, self.processing.feature_extractor]
        state = [None if part is None else part.to_json_string() for part in parts]
        return str(Hasher.hash(json.dumps([split._fingerprint, self.where, dict(self.columns), state, __version__])))


def add_media(
    prepared: datasets.Dataset, split: datasets.Dataset, checker: MediaChecker, num_proc: int | None = None
) -> datasets.Dataset:
    """
    Put the columns with images or audio beside prepared rows, once they are checked.

    They are not copied, unless the rows are a selection, such as a part of a shuffled dataset.

    Args:
        prepared (`datasets.Dataset`): The prepared rows; without a `length` they get the checker's.
        split (`datasets.Dataset`): The rows that they were made from, these columns under the names of their inputs.
        checker ([`MediaChecker`]): Its columns are those that are added.
        num_proc (`int`, *optional*): Processes to work with.

    Returns:
        `datasets.Dataset`: All columns; arrays come as `np.ndarray` from it.

    Raises:
        InputError: If an image or a recording cannot be used, naming task, split, column and row.
    """
    names = list(checker.columns)
    if not names:
        return prepared
    media = split.select_columns(names)
    arrays = [name for name in names if not isinstance(media.features[name], tuple(_FILES.values()))]
    as_arrays: dict[str, Any] = {"type": "numpy" if arrays else None, "columns": arrays or None}
    checked = (
        keep_files(media, names)
        .with_format(**as_arrays, output_all_columns=bool(arrays))
        .map(
            checker,
            batched=True,
            batch_size=MEDIA_BATCH_SIZE,
            with_indices=True,
            remove_columns=names,
            num_proc=num_proc,
            new_fingerprint=checker.fingerprint(media),
            desc=f"Checking {checker.where}",
        )
        .with_format(None)
    )
    parts = [prepared, media] if "length" in prepared.column_names else [prepared, checked, media]
    beside = datasets.concatenate_datasets(parts, axis=1)
    return beside.with_format(**as_arrays, output_all_columns=True) if arrays else beside
