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


def test_while_tracing_the_size_of_a_tensor_stays_symbolic_and_all_else_is_as_ever() -> None:
    plain = (builtins.len, torch.Tensor.remainder)
    seen: dict[str, Any] = {}

    def run(graph: Any, inputs: dict[str, torch.Tensor], dynamic: dict[str, dict[int, Any]]) -> str:
        seen["sizes"] = [len(torch.zeros(3, 2)), len([1, 2]), len("four")]
        seen["rest"] = torch.tensor([-1, 5]).remainder(3).tolist()

        class Rows(torch.nn.Module):
            def forward(self, values: torch.Tensor) -> torch.Tensor:
                return torch.arange(len(values)).remainder(values.shape[1])

        traced = torch.export.export(Rows(), (torch.zeros(5, 3),), dynamic_shapes=({0: dynamic["input_ids"][0]},))
        seen["other rows"] = traced.module()(torch.zeros(7, 3)).tolist()
        return "done"

    model = tiny_model().train()
    assert tracing.trace(model, tiny_tokenizer(), ["intent"], run) == "done"
    assert seen == {"sizes": [3, 2, 4], "rest": [2, 2], "other rows": [0, 1, 2, 0, 1, 2, 0]}
    assert (builtins.len, torch.Tensor.remainder) == plain
    assert model.training


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
