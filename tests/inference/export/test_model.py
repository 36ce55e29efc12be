"""Folders that cannot be run are refused by name, before any row is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fixtures import tiny_inputs
from mt_transformers.errors import InputError
from mt_transformers.inference import load_model, load_trained_model
from mt_transformers.inference.export import load_exported, session


@pytest.fixture
def folder(many_heads_folder: Path, tmp_path: Path) -> Path:
    """A copy of an export, to be broken."""
    return Path(shutil.copytree(many_heads_folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "model.onnx").unlink(), r"model\.onnx: no such file"),
        (lambda path: (path / "model.onnx").write_bytes(b"\x08\x07"), r"model\.onnx: ONNX Runtime cannot open it"),
        (lambda path: (path / "model.onnx.data").unlink(), r"model\.onnx: ONNX Runtime cannot open it"),
        (lambda path: (path / "model.onnx.data").write_bytes(b"x"), r"model\.onnx: ONNX Runtime cannot open it"),
        (lambda path: (path / "heads.safetensors").unlink(), r"heads\.safetensors: cannot be read"),
        (lambda path: (path / "heads.safetensors").write_bytes(b"x" * 16), r"heads\.safetensors: cannot be read"),
        (lambda path: (path / "config.json").write_text("{"), "its config cannot be read"),
        (lambda path: (path / "tokenizer.json").unlink(), "tokenizer .* cannot be loaded"),
        (
            lambda path: (path / "multi_task_export.json").write_text(
                (path / "multi_task_export.json").read_text().replace('"onnx"', '"dynamo"')
            ),
            "exported as 'dynamo', which is loaded with torch.export.load",
        ),
    ],
    ids=[
        "model",
        "broken model",
        "weights",
        "broken weights",
        "heads",
        "broken heads",
        "config",
        "tokenizer",
        "dynamo",
    ],
)
def test_broken_folders(spoil: Callable[[Path], object], message: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)


def test_without_onnx_runtime_the_extra_is_named(many_heads_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r'is not installed: pip install "mt_transformers\[onnx\]"'):
        load_model(many_heads_folder)


def test_heads_of_another_config_are_refused(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"preference"', '"preferred"', 1))
    with pytest.raises(InputError):
        load_model(folder)


def test_an_exported_folder_is_no_trained_one(many_heads_folder: Path) -> None:
    with pytest.raises(InputError, match="an exported model, which only predicts"):
        load_trained_model(many_heads_folder)


def test_missing_inputs_are_named_and_others_left_out(many_heads_folder: Path) -> None:
    exported, _ = load_exported(many_heads_folder)
    ids = tiny_inputs(2, 5)["input_ids"].int()
    with pytest.raises(InputError, match=r"reads input_ids, .*'token_type_ids' is missing"):
        exported(input_ids=ids, attention_mask=torch.ones(2, 5))
    every = {"input_ids": ids, "attention_mask": torch.ones(2, 5), "token_type_ids": torch.zeros(2, 5)}
    plain, more = exported(**every), exported(**every, position_ids=ids, use_cache=False)
    assert all(torch.equal(plain[name], more[name]) for name in plain)


def test_it_is_as_the_predictor_expects(many_heads_folder: Path) -> None:
    exported, _ = load_exported(many_heads_folder)
    assert exported.eval() is exported
    assert exported.device == torch.device("cpu")
    assert exported.backbone.output_names == ("encoded_text",)
    assert exported.backbone.max_positions == 64
    assert not any(each.requires_grad for head in exported.heads.values() for each in head.parameters())
    assert not any(head.training for head in exported.heads.values())
