"""Files that appear whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mt_transformers.cli.files import open_whole, write_json
from mt_transformers.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with open_whole(target) as file:
        file.write("björk\n")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == "björk\n".encode()
    assert names(tmp_path) == ["out.txt"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with open_whole(tmp_path / "out.txt") as file:
            file.write("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        write()
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old", encoding="utf-8")

    def write() -> None:
        with open_whole(target) as file:
            file.write("half")
            raise error

    with pytest.raises(error):
        write()
    assert (names(tmp_path), target.read_text(encoding="utf-8")) == (["out.txt"], "old")


def test_a_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old and longer", encoding="utf-8")
    with open_whole(str(target)) as file:
        file.write("new")
    assert (names(tmp_path), target.read_text(encoding="utf-8")) == (["out.txt"], "new")


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"none/out\.txt: cannot be written"),
        open_whole(tmp_path / "none" / "out.txt"),
    ):
        raise AssertionError("not reached")


def test_a_target_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    """And before anything is computed that would then have nowhere to go."""
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out: cannot be written"), open_whole(tmp_path / "out"):
        raise AssertionError("not reached")
    assert names(tmp_path) == ["out"]


def test_json_is_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "out.json", {"a": [1.5]})
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == {"a": [1.5]}
    with pytest.raises(TypeError):
        write_json(tmp_path / "out.json", {"a": object()})
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == {"a": [1.5]}
    assert names(tmp_path) == ["out.json"]
