"""Predictions of models with adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures import tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskModel, MultiTaskPredictor
from mt_transformers.cli.main import main
from mt_transformers.errors import InputError
from mt_transformers.inference import load_model
from mt_transformers.modeling import add_task_adapters, get_peft_model, save_adapters

peft = pytest.importorskip("peft")

TASKS = {"requests": ["intent", "slots"], "ratings": ["stars", "intent"]}
TEXTS = ["play music by cher", "the film is great .", "weather in oslo"]


@pytest.fixture(params=["shared", "each"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with adapters, as one that was trained."""
    torch.manual_seed(0)
    tiny_model(tasks=TASKS).save_pretrained(tmp_path / "base")
    model = MultiTaskModel.from_pretrained(tmp_path / "base")
    make = get_peft_model if request.param == "shared" else add_task_adapters
    adapted = make(model, peft.LoraConfig(r=2))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    save_adapters(adapted, tmp_path / request.param)
    tiny_tokenizer().save_pretrained(tmp_path / request.param)
    return tmp_path / request.param


def test_rows_are_answered_as_they_are_alone(folder: Path) -> None:
    predictor = MultiTaskPredictor(*load_model(folder))
    rows = [{"text": text, "task": task} for text in TEXTS for task in TASKS]
    together = predictor(rows)
    for row, answer in zip(rows, together, strict=True):
        assert set(answer) == set(TASKS[row["task"]])
        _assert_near(answer, predictor([row])[0])
    assert set(predictor(rows, heads=["slots"])[0]) == {"slots"}
    if folder.name == "each":
        # the tasks' adapters answer differently
        assert together[0]["intent"] != together[1]["intent"]
        with pytest.raises(InputError, match="row 1: task is missing, the model has adapters for requests, ratings"):
            predictor([rows[0], TEXTS[0]])
    else:
        assert set(predictor(TEXTS)[0]) == {"intent", "slots", "stars"}


def test_the_command_line_predicts_with_adapters(folder: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "task": "requests"} for text in TEXTS]
    source, target = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["predict", str(folder), "--input", str(source), "--output", str(target)]) == 0
    expected = MultiTaskPredictor(*load_model(folder))(rows)
    for line, answer in zip(target.read_text().splitlines(), expected, strict=True):
        _assert_near(json.loads(line)["outputs"], json.loads(json.dumps(answer)))


def _assert_near(one: Any, other: Any) -> None:
    """Equal, numbers up to rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            _assert_near(value, other[key])
    elif isinstance(one, list):
        for value, expected in zip(one, other, strict=True):
            _assert_near(value, expected)
    else:
        assert one == (pytest.approx(other, abs=1e-4) if isinstance(other, float) else other)
