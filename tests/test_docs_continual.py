"""The page on learning tasks one after another: its programs run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from continual_streams import class_stream, kinds_of_words, make_continual
from fixtures import tiny_tokenizer
from mt_transformers.continual import STRATEGIES

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "continual.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """The Python blocks of the page."""
    return re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_program(tiny_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = {split: kinds_of_words(24).rename_column("kind", "intent") for split in ("train", "test")}
    names: dict[str, Any] = {"splits": rows, "backbone": tiny_backbone, "tokenizer": tiny_tokenizer()}
    exec(compile(blocks()[0], "docs", "exec", dont_inherit=True), names)
    assert names["results"].matrix.shape == (3, 3)
    assert names["trainer"].strategy.options() == [{**names["trainer"].strategy.options()[0], **names["strategy"]}]


def test_the_strategy_of_ones_own(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "docs"}
    exec(compile(blocks()[1], "docs", "exec", dont_inherit=True), names)
    moved = []
    for strength in (0.0, 1.0):
        given = {"optim": "sgd", "learning_rate": 0.05, "max_grad_norm": 0}
        strategy = [names["L2Anchor"](strength=strength), {"name": "replay", "buffer_size": 6}]
        trainer = make_continual(tmp_path / str(strength), class_stream(), strategy, **given)
        before = trainer.model.backbone.get_params()
        trainer.train()
        moved.append(torch.linalg.vector_norm(trainer.model.backbone.get_params() - before).item())
    assert moved[1] < moved[0]


def test_every_strategy_stands_in_the_table() -> None:
    assert re.findall(
        r"^\| `([a-z_0-9]+)` \|", PAGE.split("## Strategies")[1].split("\n## ")[0], re.MULTILINE
    ) == list(STRATEGIES)
