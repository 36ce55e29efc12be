"""The line above the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures import tiny_model
from mt_transformers.inference.page import describe_model


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("---\nbase_model: someone/tiny\n---\nA model.", "someone/tiny (bert)"),
        ("---\nlicense: mit\n---\n", "bert"),
        ("---\nbase_model: [a/b, c/d]\n---\n", "bert"),
        ("---\nbase_model: [\n---\n", "bert"),
        ("no metadata", "bert"),
        (None, "bert"),
    ],
)
def test_the_card_names_the_backbone(tmp_path: Path, card: str | None, name: str) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    model = tiny_model()
    size = f"{model.num_parameters() / 1000:.3g}K"
    assert describe_model(model, str(tmp_path)) == f"{name}, {size} parameters, 3 heads"
