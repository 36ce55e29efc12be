"""Exported folders: written whole or not at all, and never over anything else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures import tiny_model, tiny_tokenizer
from mt_transformers.errors import InputError
from mt_transformers.inference.export.folder import (
    COMPARISON_FILE,
    MANIFEST_FILE,
    check_target,
    is_exported,
    read_manifest,
    write_export,
)


def write(folder: Path, content: str = "graph") -> None:
    """An export whose graph is a text."""
    model = tiny_model()
    with write_export(
        folder, model, tiny_tokenizer(), model.config, export_format="onnx", quantized=False
    ) as unfinished:
        (unfinished / "model.onnx").write_text(content)


def change_manifest(folder: Path, **changes: Any) -> None:
    """Rewrite what a folder says of itself; a value of None takes the key away."""
    values = {**json.loads((folder / MANIFEST_FILE).read_text()), **changes}
    kept = {name: value for name, value in values.items() if value is not None}
    (folder / MANIFEST_FILE).write_text(json.dumps(kept))


def test_an_earlier_export_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path / "out")
    (tmp_path / "out" / COMPARISON_FILE).write_text("[]")
    write(tmp_path / "out", "another")
    assert (tmp_path / "out" / "model.onnx").read_text() == "another"
    assert not (tmp_path / "out" / COMPARISON_FILE).exists()
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_empty_is_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert is_exported(tmp_path / "out")


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out")
    model = tiny_model()
    with (
        pytest.raises(KeyError),
        write_export(tmp_path / "out", model, tiny_tokenizer(), model.config, export_format="onnx", quantized=False),
    ):
        raise KeyError
    assert (tmp_path / "out" / "model.onnx").read_text() == "graph"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_failure_to_rename_gives_the_earlier_export_its_name_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out")
    rename = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(source).name.endswith(".new"):
            raise OSError("no space left")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="out: cannot be written: no space left"):
        write(tmp_path / "out", "another")
    assert (tmp_path / "out" / "model.onnx").read_text() == "graph"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_anything_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="it is a file"):
        check_target(tmp_path / "file")
    with pytest.raises(InputError, match="there is no folder"):
        check_target(tmp_path / "missing" / "out")
    with pytest.raises(InputError, match="holds files and is no earlier export"):
        check_target(tmp_path)
    write(tmp_path / "out")
    check_target(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"it holds 'notes\.txt', which is no part of an earlier export"):
        check_target(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "exported in format 2, this version of mt_transformers .* reads formats up to 1"),
        ({"format_version": "1"}, "expected the description of an exported model"),
        ({"format_version": True}, "expected the description of an exported model"),
        ({"max_positions": None, "files": None}, "expected max_positions, files, found"),
    ],
)
def test_manifests_that_cannot_be_used(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path / "out")
    change_manifest(tmp_path / "out", **changes)
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / "out")


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_what_is_no_manifest(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).write_text(text)
    assert is_exported(tmp_path)
    with pytest.raises(InputError, match=MANIFEST_FILE):
        read_manifest(tmp_path)
