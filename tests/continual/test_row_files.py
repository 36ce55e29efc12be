"""Rows in Arrow files: any columns, pictures without loss, nothing that lies elsewhere."""

from __future__ import annotations

import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Array2D, Audio, ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Pictures

from mt_transformers.continual.row_files import read_rows, write_rows
from mt_transformers.errors import InputError

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK", "LAB"]


def noise(mode: str) -> Pictures.Image:
    """A small picture with many values."""
    if mode in ("I", "F"):
        values = np.random.default_rng(0).normal(size=(5, 7)) * 1e6
        return Pictures.fromarray(values.astype(np.int32 if mode == "I" else np.float32))
    if mode in ("I;16", "LAB"):
        return Pictures.frombytes(mode, (7, 5), bytes(range(7 * 5 * (2 if mode == "I;16" else 3))))
    return Pictures.effect_noise((7, 5), 80).convert("RGB").convert(mode)


def bytes_of(picture: Pictures.Image, kind: str) -> bytes:
    """A file with the picture."""
    stream = BytesIO()
    picture.save(stream, format=kind)
    return stream.getvalue()


def assert_same(found: Pictures.Image, expected: Pictures.Image) -> None:
    """Compare what there is of a picture beside the format of its file."""
    assert (found.mode, found.size) == (expected.mode, expected.size)
    assert found.tobytes() == expected.tobytes()
    assert found.getpalette() == expected.getpalette()


def round_trip(rows: list[dict[str, Any]], features: Features, folder: Path) -> list[dict[str, Any]]:
    write_rows(folder / "rows.arrow", rows, features, "task 'a'")
    return read_rows(folder / "rows.arrow")


def test_rows_with_any_columns_come_back(tmp_path: Path) -> None:
    features = Features(
        {
            "text": Value("string"),
            "tokens": List(Value("string")),
            "slots": List(ClassLabel(names=["O", "B-city"])),
            "label": ClassLabel(names=["bad", "good"]),
            "score": Value("float32"),
            "when": Value("timestamp[s]"),
            "nested": {"heads": List(Value("int16")), "parts": List({"name": Value("string")})},
            "pixels": Array2D((2, 3), "float32"),
            "bytes": Value("binary"),
        }
    )
    row = {
        "text": "zürich 東京",
        "tokens": ["in", "zürich"],
        "slots": [0, 1],
        "label": 1,
        "score": 0.5,
        "when": datetime.datetime(2020, 1, 2, 3, 4, 5),
        "nested": {"heads": [2, 0], "parts": [{"name": "x"}, {"name": None}]},
        "pixels": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]],
        "bytes": b"\x00\xff",
    }
    empty = dict.fromkeys(row) | {"tokens": [], "slots": [], "pixels": [[0.0] * 3] * 2, "nested": row["nested"]}
    # as the dataset gives them, whatever the order of a row's columns
    rows = list(Dataset.from_list([row, empty], features=features))
    assert round_trip([dict(reversed(each.items())) for each in rows], features, tmp_path) == rows
    assert Dataset.from_file(str(tmp_path / "rows.arrow")).features == features


@pytest.mark.parametrize("mode", MODES)
def test_pictures_come_back_without_loss(mode: str, tmp_path: Path) -> None:
    picture = noise(mode)
    (row,) = round_trip([{"image": picture}], Features({"image": Image()}), tmp_path)
    assert_same(row["image"], picture)


def test_pictures_that_were_read_from_lossy_files_come_back_without_loss(tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(bytes_of(noise("RGB"), "JPEG"))
    features = Features({"image": Image(), "images": List(Image())})
    split = Dataset.from_dict({"image": [str(file)], "images": [[str(file), None]]}, features=features)
    rows = [split[0], {"image": None, "images": []}]
    # a picture that Pillow opened knows its file
    opened = Pictures.open(file)
    opened.load()
    rows.append({"image": opened, "images": None})
    file.unlink()
    found = round_trip(rows, features, tmp_path)
    for picture in (found[0]["image"], found[0]["images"][0], found[2]["image"]):
        assert_same(picture, opened)
    assert (found[0]["images"][1], found[1], found[2]["images"]) == (None, rows[1], None)


def test_files_that_are_not_decoded_are_kept_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = bytes_of(noise("RGB"), "JPEG")
    (tmp_path / "picture.jpg").write_bytes(contents)
    # a file of that name beside the process is another one
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("other.jpg").write_bytes(b"no picture")
    features = Features({"image": Image(decode=False), "audio": Audio(decode=False)})
    rows = [
        {"image": {"bytes": None, "path": str(tmp_path / "picture.jpg")}, "audio": None},
        {"image": {"bytes": contents, "path": "other.jpg"}, "audio": {"bytes": b"sound", "path": None}},
    ]
    found = round_trip(rows, features, tmp_path)
    (tmp_path / "picture.jpg").unlink()
    assert found == [{"image": {"bytes": contents, "path": "picture.jpg"}, "audio": None}, rows[1]]


def test_pictures_as_arrays_or_names_come_back(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    Pictures.fromarray(values).save(tmp_path / "picture.png")
    rows = [{"image": values}, {"image": str(tmp_path / "picture.png")}]
    for row in round_trip(rows, Features({"image": Image()}), tmp_path):
        assert np.asarray(row["image"]).tolist() == values.tolist()


def test_a_picture_that_cannot_be_stored_is_named(tmp_path: Path) -> None:
    rows = [{"image": noise("RGB")}, {"image": noise("HSV")}]
    message = r"task 'a', row 1, column 'image': expected an image in one of the modes 1, L, .*, found HSV"
    with pytest.raises(InputError, match=message):
        round_trip(rows, Features({"image": Image()}), tmp_path)
    rows = [{"image": {"path": str(tmp_path / "gone.png"), "bytes": None}}]
    with pytest.raises(InputError, match=r"task 'a', row 0, column 'image': '.*gone.png' cannot be read"):
        round_trip(rows, Features({"image": Image()}), tmp_path)


def test_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": Value("int64")})
    message = "task 'a', row 1: expected the columns text, label, found text"
    with pytest.raises(InputError, match=message):
        round_trip([{"text": "x", "label": 1}, {"text": "x"}], features, tmp_path)
    with pytest.raises(InputError, match=r"task 'a': a row does not fit the columns of its dataset: .*many"):
        round_trip([{"text": "x", "label": "many"}], features, tmp_path)
    with pytest.raises(InputError, match="task 'a': a row does not fit the columns of its dataset"):
        round_trip([{"text": "x", "label": 2**70}], features, tmp_path)
