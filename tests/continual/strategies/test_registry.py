"""Strategies by name."""

from __future__ import annotations

from dataclasses import is_dataclass
from importlib import import_module
from typing import Any

import pytest

from mt_transformers.continual.strategies import STRATEGIES, Strategy, make_strategy


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_is_in_the_module_of_its_name_and_says_its_source(name: str) -> None:
    found = getattr(import_module(f"mt_transformers.continual.strategies.{name}"), STRATEGIES[name])
    assert issubclass(found, Strategy)
    assert is_dataclass(found)
    assert found.name == name
    assert "Source:" in (found.__doc__ or "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("replai", "strategy: unknown name 'replai'.*replay"),
        ([], "expected at least one, found none"),
        ({"buffer_size": 3}, "expected a name, or a mapping with a 'name'"),
        (7, "expected a name, or a mapping with a 'name', found 7"),
        ({"name": "replay", "size": 3}, "strategy 'replay': unknown option 'size'"),
        ({"name": "replay", "buffer_size": -1}, "strategy 'replay': buffer_size: expected a whole number"),
        ({"name": "replay", "_buffer": None}, "unknown option '_buffer'"),
    ],
)
def test_what_is_no_strategy_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_strategy(given)
