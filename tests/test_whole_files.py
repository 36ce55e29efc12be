"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mt_transformers.whole_files import swap_folder, whole_file


def test_a_file_appears_when_all_was_written(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file.txt"
    with whole_file(file) as unfinished:
        unfinished.write_text("all")
        assert not file.exists()
    assert [each.name for each in file.parent.iterdir()] == ["file.txt"]


def test_a_file_that_was_there_stays_where_writing_fails(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("before")

    def write_half() -> None:
        with whole_file(file) as unfinished:
            unfinished.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file.txt", "before")]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with (
        pytest.raises(ValueError, match=r"taken/file\.txt: cannot be written"),
        whole_file(tmp_path / "taken" / "file.txt"),
    ):
        pass


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for name in ("new", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    swap_folder(tmp_path / "new", tmp_path / "target", tmp_path / "old")
    found = {each.relative_to(tmp_path).as_posix() for each in tmp_path.glob("*/*")}
    assert found == {"target/new", "old/target"}


def test_a_folder_keeps_its_name_where_the_other_cannot_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("new", "target"):
        (tmp_path / name).mkdir()
    (tmp_path / "target" / "kept").touch()
    rename = os.replace

    def refusing(source: Any, target: Any) -> None:
        if Path(source).name == "new":
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    with pytest.raises(OSError, match="no"):
        swap_folder(tmp_path / "new", tmp_path / "target", tmp_path / "old")
    assert (tmp_path / "target" / "kept").exists()
    assert not (tmp_path / "old").exists()
