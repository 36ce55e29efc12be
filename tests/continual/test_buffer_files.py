"""A saved buffer is the buffer: its rows, tensors, random states; and a folder is whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Features, Image, List, Value
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures

from mt_transformers.continual.buffer import Buffer, Slot
from mt_transformers.continual.buffer_files import load_buffer, save_buffer
from mt_transformers.errors import InputError

TEXTS = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
PICTURES = Features({"image": Image(), "tags": List(Value("int64"))})
# a task's name is no file's name
FEATURES = {"moods": TEXTS, "../pictures\n": PICTURES}


def row_of(task: str, number: int) -> dict[str, Any]:
    if task == "moods":
        return {"text": f"text {number}", "label": number % 2}
    return {"image": Pictures.new("RGB", (2, 3), (number % 256, 1, 2)), "tags": list(range(number % 3))}


def fill(buffer: Buffer, groups: str, first: int = 0) -> None:
    """Rows of two tasks; of some of them logits or features, of different shapes and dtypes."""
    for number, (slot, group) in enumerate(zip(buffer.place(list(groups)), groups, strict=True), start=first):
        if slot is None:
            continue
        task = list(FEATURES)[number % 2]
        row = Slot(task, row_of(task, number), group, experience=number // 10, prepared={"input_ids": [number]})
        if number % 3:
            dtype = torch.bfloat16 if number % 4 == 0 else torch.float32
            row.logits = {"mood": torch.full((2,), number, dtype=dtype), "slots": torch.randn(number % 5, 3)}
        if number % 4 == 1:
            row.features = {"mood": torch.randn(4)}
        buffer.put(slot, row)


def plain(value: Any) -> Any:
    """Something that can be compared."""
    if isinstance(value, Pictures.Image):
        return value.mode, value.size, value.tobytes()
    return value


def assert_same(found: Buffer, expected: Buffer) -> None:
    assert (found.size, found.sampling) == (expected.size, expected.sampling)
    assert found.state_dict() == expected.state_dict()
    assert len(found) == len(expected)
    for one, other in zip(found.slots, expected.slots, strict=True):
        assert (one.task, one.group, one.experience) == (other.task, other.group, other.experience)
        assert {name: plain(value) for name, value in one.row.items()} == {
            name: plain(value) for name, value in other.row.items()
        }
        assert one.prepared == {}
        for mine, its in [(one.logits, other.logits), (one.features, other.features)]:
            assert mine.keys() == its.keys()
            assert all(mine[head].dtype == its[head].dtype and torch.equal(mine[head], its[head]) for head in its)


def filled(groups: str = "abacbaab" * 5, size: int = 12) -> Buffer:
    buffer = Buffer(size, "class_balanced", seed=4)
    fill(buffer, groups)
    return buffer


@given(
    groups=st.text("abc", max_size=40),
    size=st.integers(1, 12),
    sampling=st.sampled_from(["reservoir", "class_balanced"]),
    seed=st.integers(0, 99),
)
def test_a_loaded_buffer_goes_on_as_the_saved_one(
    tmp_path_factory: pytest.TempPathFactory, groups: str, size: int, sampling: Any, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("buffers") / "buffer"
    buffer = Buffer(size, sampling, seed)
    fill(buffer, groups)
    buffer.draw(2)
    save_buffer(buffer, folder, FEATURES)
    loaded = load_buffer(folder)
    assert_same(loaded, buffer)
    assert [loaded.draw(3) for _ in range(4)] == [buffer.draw(3) for _ in range(4)]
    assert loaded.place(list("abcd" * 9)) == buffer.place(list("abcd" * 9))
    shutil.rmtree(folder)


def test_what_is_in_the_folder(tmp_path: Path) -> None:
    save_buffer(filled(), tmp_path / "buffer", FEATURES)
    assert {each.name for each in tmp_path.iterdir()} == {"buffer"}
    assert {each.name for each in (tmp_path / "buffer").iterdir()} == {
        "buffer.json",
        "rows-0.arrow",
        "rows-1.arrow",
        "tensors.safetensors",
    }


def test_an_empty_buffer_comes_back(tmp_path: Path) -> None:
    save_buffer(Buffer(3, seed=5), tmp_path / "buffer", {})
    loaded = load_buffer(tmp_path / "buffer")
    assert_same(loaded, Buffer(3, seed=5))
    assert loaded.draw(2) == []


def test_a_buffer_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    folder = tmp_path / "inner" / "buffer"
    save_buffer(filled("ab"), folder, FEATURES)
    save_buffer(filled("a"), folder, FEATURES)
    assert len(load_buffer(folder)) == 1
    assert not (folder / "rows-1.arrow").exists()
    save_buffer(load_buffer(folder), str(folder), FEATURES)
    (tmp_path / "empty").mkdir()
    save_buffer(filled("ab"), tmp_path / "empty", FEATURES)
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    for name in ("file", "other"):
        with pytest.raises(InputError, match=f"{name}: not overwritten: it is no earlier buffer"):
            save_buffer(filled("ab"), tmp_path / name, FEATURES)
    assert (tmp_path / "other" / "thesis.tex").exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty", "file", "inner", "other"]


def test_an_earlier_buffer_stays_if_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "buffer"
    save_buffer(filled("ab"), folder, FEATURES)
    broken = filled()
    broken[3].row["unknown"] = 1
    with pytest.raises(
        InputError, match=r"buffer: task '../pictures\\n', row 2: expected the columns image, tags, found"
    ):
        save_buffer(broken, folder, FEATURES)
    with pytest.raises(InputError, match="buffer: the features of task 'moods', of which there are rows, are missing"):
        save_buffer(filled(), folder, {"../pictures\n": PICTURES})
    replace = os.replace

    def fail(source: Any, target: Any) -> None:
        if str(source).endswith(".new"):
            raise PermissionError("no")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="buffer: cannot be written: no"):
        save_buffer(filled(), folder, FEATURES)
    assert len(load_buffer(folder)) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["buffer"]


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    left = tmp_path / f".buffer.{os.getpid()}.new"
    left.mkdir()
    (left / "rows-7.arrow").touch()
    save_buffer(filled("ab"), tmp_path / "buffer", FEATURES)
    assert not left.exists()
    assert not (tmp_path / "buffer" / "rows-7.arrow").exists()


@pytest.mark.parametrize("name", ["buffer.json", "rows-0.arrow", "rows-1.arrow", "tensors.safetensors"])
@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x93garbage" * 99),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"{", b"\xff", 1)),
    ],
    ids=["missing", "empty", "garbage", "cut", "changed"],
)
def test_a_file_that_is_missing_or_broken_is_named(name: str, damage: Callable[[Path], Any], tmp_path: Path) -> None:
    save_buffer(filled(), tmp_path / "buffer", FEATURES)
    damage(tmp_path / "buffer" / name)
    with pytest.raises(InputError, match=f"buffer/{name}: "):
        load_buffer(tmp_path / "buffer")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "expected format 1, found 2: update mt_transformers"),
        ({"state": {"sampling": {"size": 0}}}, "size: expected a whole number of at least 1, found 0"),
        ({"slots": []}, "rows-0.arrow: expected 0 rows, found 6"),
        ({"slots": [], "tasks": [], "tensors": []}, "buffer.json: buffer: expected 12 rows, found 0"),
        ({"sampling": "recent"}, "unknown sampling 'recent'"),
        ({"state": {}}, "KeyError"),
        ({"state": None}, "TypeError"),
        ({"slots": 5}, "TypeError"),
        ({"slots": [[9, "a", 0]]}, "IndexError"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_buffer(filled(), tmp_path, FEATURES)
    file = tmp_path / "buffer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=message):
        load_buffer(tmp_path)
    file.write_text("[]")
    with pytest.raises(InputError, match=r"buffer.json: cannot be read as part of a buffer: TypeError"):
        load_buffer(tmp_path)


@pytest.mark.parametrize("name", ["rows-0.arrow", "tensors.safetensors"])
def test_files_that_do_not_belong_together_are_refused(name: str, tmp_path: Path) -> None:
    save_buffer(filled(), tmp_path / "one", FEATURES)
    save_buffer(filled(size=8), tmp_path / "two", FEATURES)
    shutil.copy(tmp_path / "two" / name, tmp_path / "one")
    message = f"one/{name}: expected the file that was saved with the buffer, found another or a damaged one"
    with pytest.raises(InputError, match=message):
        load_buffer(tmp_path / "one")


def test_a_buffer_that_waits_for_rows_is_not_saved(tmp_path: Path) -> None:
    buffer = Buffer(3)
    buffer.place(["a"])
    with pytest.raises(InputError, match="slot 0 waits for the row that was placed there"):
        save_buffer(buffer, tmp_path / "buffer", FEATURES)
    assert not (tmp_path / "buffer").exists()
