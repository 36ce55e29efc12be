"""Rows of a dataset as an Arrow file that holds all they consist of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.arrow_writer import ArrowWriter

from ..errors import InputError

__all__ = ["read_rows", "write_rows"]

_FILES = (datasets.Image, datasets.Audio)
_LISTS = (datasets.List, datasets.LargeList)

# formats that keep all pixels as they are: Pillow writes only 16 of the 32 bits of I into a PNG
_PICTURE_FORMATS = dict.fromkeys(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], "PNG") | dict.fromkeys(
    ["I", "F", "CMYK", "LAB"], "TIFF"
)


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]], features: datasets.Features, where: str) -> None:
    """
    Write rows into a new file, images and recordings with their contents.

    Args:
        file (`Path`): The file.
        rows (`Sequence[Mapping[str, Any]]`): Rows as the dataset gives them.
        features (`datasets.Features`): Those of the dataset.
        where (`str`): What they are the rows of, for messages.

    Raises:
        InputError: If a row has not the columns of the features or a value that does not fit them.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> label = datasets.ClassLabel(names=["bad", "good"])
        >>> features = datasets.Features({"text": datasets.Value("string"), "label": label})
        >>> with TemporaryDirectory() as folder:
        ...     write_rows(Path(folder, "rows.arrow"), [{"text": "fine", "label": 1}], features, "task 'moods'")
        ...     read_rows(Path(folder, "rows.arrow"))
        [{'text': 'fine', 'label': 1}]
    """
    for number, row in enumerate(rows):
        if row.keys() != features.keys():
            raise InputError(
                f"{where}, row {number}: expected the columns {', '.join(features)}, found {', '.join(row)}."
            )
    with open(file, "wb") as stream, ArrowWriter(stream=stream, features=features) as writer:
        try:
            for number, row in enumerate(rows):
                writer.write(_stored_row(row, features, f"{where}, row {number}"))
            writer.finalize(close_stream=False)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise InputError(f"{where}: a row does not fit the columns of its dataset: {error}") from error


def read_rows(file: Path) -> list[dict[str, Any]]:
    """
    Read what [`write_rows`] wrote.

    Args:
        file (`Path`): The file.

    Returns:
        `list[dict[str, Any]]`: The rows, with images decoded if those of the features are.
    """
    return list(datasets.Dataset.from_file(str(file), in_memory=True))


def _stored_row(row: Mapping[str, Any], features: datasets.Features, where: str) -> dict[str, Any]:
    return {
        name: _stored(row[name], feature, f"{where}, column {name!r}") if _has_files(feature) else row[name]
        for name, feature in features.items()
    }


def _has_files(feature: Any) -> bool:
    if isinstance(feature, _LISTS):
        return _has_files(feature.feature)
    if isinstance(feature, Mapping):
        return any(map(_has_files, feature.values()))
    return isinstance(feature, _FILES)


def _stored(value: Any, feature: Any, where: str) -> Any:
    """The value with each image or recording in it as a dict of its bytes and name."""
    if value is None:
        return None
    if isinstance(feature, _LISTS):
        return [_stored(each, feature.feature, where) for each in value]
    if isinstance(feature, Mapping):
        return {name: _stored(value[name], each, where) for name, each in feature.items()}
    return _stored_file(value, feature, where) if isinstance(feature, _FILES) else value


def _stored_file(value: Any, feature: Any, where: str) -> dict[str, Any]:
    if hasattr(value, "getbands"):
        return {"bytes": _picture_bytes(value, where), "path": None}
    if not isinstance(value, Mapping) or "array" in value:
        value = feature.encode_example(value)
    if value.get("bytes") is not None or value.get("path") is None:
        return {"bytes": value.get("bytes"), "path": value.get("path")}
    path = Path(value["path"])
    try:
        return {"bytes": path.read_bytes(), "path": path.name}
    except OSError as error:
        raise InputError(f"{where}: {os.fspath(path)!r} cannot be read: {error}") from error


def _picture_bytes(picture: Any, where: str) -> bytes:
    """A picture of Pillow, without loss, unlike in `datasets`, which takes the format of the file it was read from."""
    if picture.mode not in _PICTURE_FORMATS:
        known = ", ".join(_PICTURE_FORMATS)
        raise InputError(f"{where}: expected an image in one of the modes {known}, found {picture.mode}.")
    stream = BytesIO()
    picture.save(stream, format=_PICTURE_FORMATS[picture.mode])
    return stream.getvalue()
