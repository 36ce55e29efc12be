"""Tracing leaves nothing behind, and says what it lacks."""

from __future__ import annotations

import builtins
import logging
import sys
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
import torch

from fixtures import tiny_model, tiny_tokenizer
from mt_transformers.errors import InputError
from mt_transformers.inference.export import tracing


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        (
            {"transformers": "5.22.1"},
            r"transformers 5\.23 or newer, found 5\.22\.1: pip install",
        ),
        ({"torch": "2.10.0+cpu"}, r"torch 2\.11 or newer, found 2\.10\.0\+cpu"),
        ({"onnx": None}, r"needs the package 'onnx', which is not installed: pip install \"mt_transformers\[onnx\]\""),
    ],
)
def test_packages_that_are_missing_or_old(
    versions: dict[str, str | None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"transformers": "5.23.0", "torch": "2.11.0", "onnx": "1.23", **versions}

    def version(name: str) -> str:
        found = installed[name]
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(tracing, "version", version)
    with pytest.raises(InputError, match=message):
        tracing.check_packages("onnx")


def test_packages_that_are_there() -> None:
    pytest.importorskip("onnxscript")
    tracing.check_packages("onnx", "onnxscript")


def test_what_cannot_be_traced_is_an_input_error_with_its_reason() -> None:
    plain = builtins.len

    def run(graph: Any, inputs: dict[str, torch.Tensor], dynamic: dict[str, dict[int, Any]]) -> None:
        class Count(torch.nn.Module):
            def forward(self, values: torch.Tensor) -> torch.Tensor:
                return values[: int(values.max())]

        torch.export.export(Count(), (torch.tensor([2, 1]),))

    with pytest.raises(InputError, match="the model with the heads intent, stars cannot be traced: Could not"):
        tracing.trace(tiny_model(), tiny_tokenizer(), ["intent", "stars"], run)
    assert builtins.len is plain


def test_nothing_is_printed_and_logging_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.root.manager.disable
    with tracing.quietly():
        sys.stdout.write("[torch.onnx] Run decompositions...")
        assert not logging.getLogger("torch.onnx").isEnabledFor(logging.WARNING)
        assert logging.getLogger("torch.onnx").isEnabledFor(logging.ERROR)
    assert capsys.readouterr().out == ""
    assert logging.root.manager.disable == before
