"""The page on balancing: its tables have all methods, and its recipe means what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mt_transformers.balancing import GradientAggregation, LossWeighting, make_balancing
from mt_transformers.balancing.aggregations import AGGREGATIONS
from mt_transformers.balancing.weightings import WEIGHTINGS
from mt_transformers.search.checks import check_values
from mt_transformers.training.recipe import load_yaml, parse_recipe
from mt_transformers.training.search_space import Choices, Interval

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "balancing.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
HEADS, TASKS = ["intent", "slots", "banking"], ["snips", "banking77"]


@pytest.mark.parametrize(
    ("heading", "methods"), [("Weighing losses", WEIGHTINGS), ("Aggregating gradients", AGGREGATIONS)]
)
def test_every_method_stands_in_the_table(heading: str, methods: dict[str, str]) -> None:
    section = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE) == list(methods)


def test_what_is_searched_for() -> None:
    recipe = parse_recipe(load_yaml(RECIPES[1]), Path())
    assert recipe.search is not None
    check_values(load_yaml(RECIPES[1]), Path(), recipe.search)
    assert [type(each) for each in recipe.search.values()] == [Interval, Interval, Choices]


def test_the_recipe() -> None:
    text = RECIPES[0]
    assert isinstance(make_balancing(load_yaml(text)["training"]["balancing"], HEADS, TASKS), LossWeighting)
    pytest.importorskip("torchjd")
    other = load_yaml(
        text.replace("  balancing: uw", "  # balancing: uw").replace("  # balancing: {", "  balancing: {")
    )
    method = make_balancing(other["training"]["balancing"], HEADS, TASKS)
    assert isinstance(method, GradientAggregation)
    assert (method.name, method.tasks) == ("pcgrad", HEADS)
