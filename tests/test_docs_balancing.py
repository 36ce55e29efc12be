"""The page on balancing: its tables have all methods, and its recipe means what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mt_transformers.balancing import GradientAggregation, LossWeighting, make_balancing
from mt_transformers.balancing.aggregations import AGGREGATIONS
from mt_transformers.balancing.weightings import WEIGHTINGS
from mt_transformers.training.recipe import load_yaml

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "balancing.md").read_text(encoding="utf-8")
HEADS, TASKS = ["intent", "slots", "banking"], ["snips", "banking77"]


@pytest.mark.parametrize(
    ("heading", "methods"), [("Weighing losses", WEIGHTINGS), ("Aggregating gradients", AGGREGATIONS)]
)
def test_every_method_stands_in_the_table(heading: str, methods: dict[str, str]) -> None:
    section = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE) == list(methods)


def test_the_recipe() -> None:
    [text] = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert isinstance(make_balancing(load_yaml(text)["training"]["balancing"], HEADS, TASKS), LossWeighting)
    pytest.importorskip("torchjd")
    other = load_yaml(
        text.replace("  balancing: uw", "  # balancing: uw").replace("  # balancing: {", "  balancing: {")
    )
    method = make_balancing(other["training"]["balancing"], HEADS, TASKS)
    assert isinstance(method, GradientAggregation)
    assert (method.name, method.tasks) == ("pcgrad", HEADS)
