"""Shares: each formula, with numbers worked out by hand."""

from __future__ import annotations

import pytest

from mt_transformers.data import shares_of
from mt_transformers.data.shares import SAMPLINGS

SIZES = {"a": 100, "b": 400, "c": 1600}


@pytest.mark.parametrize(
    ("sampling", "options", "parts"),
    [
        ("proportional", {}, [1, 4, 16]),
        ("uniform", {}, [1, 1, 1]),
        # the square roots are 10, 20, 40
        ("temperature", {"temperature": 2.0}, [1, 2, 4]),
        ("temperature", {"temperature": 0.5}, [1, 16, 256]),
        ("temperature", {}, [1, 4, 16]),
        ("capped", {"cap": 400}, [1, 4, 4]),
        ("capped", {"cap": 100}, [1, 1, 1]),
        ("capped", {"cap": 5000}, [1, 4, 16]),
        ("smoothing", {"alpha": 0.5}, [1, 2, 4]),
        ("smoothing", {"alpha": 1.5}, [1, 8, 64]),
        ("smoothing", {"alpha": 0.0}, [1, 1, 1]),
        ("smoothing", {}, [1, 4, 16]),
        # by name, whatever the order
        ("weighted", {"weights": {"c": 1.0, "a": 3.0, "b": 0.0}}, [3, 0, 1]),
    ],
)
def test_each_formula(sampling: str, options: dict, parts: list[int]) -> None:
    expected = {name: pytest.approx(part / sum(parts), rel=1e-12) for name, part in zip(SIZES, parts, strict=True)}
    assert shares_of(sampling, SIZES, **options) == expected


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_one_task_has_all(sampling: str) -> None:
    assert shares_of(sampling, {"a": 7}, weights={"a": 0.2}, temperature=3.0, cap=2, alpha=0.7) == {"a": 1.0}


@pytest.mark.parametrize(
    ("sampling", "options"), [("temperature", {"temperature": 0.001}), ("smoothing", {"alpha": 1000.0})]
)
def test_extreme_exponents_do_not_overflow(sampling: str, options: dict) -> None:
    assert shares_of(sampling, {"a": 100, "b": 200}, **options) == {"a": pytest.approx(0.0), "b": 1.0}
    assert shares_of(sampling, {"a": 200, "b": 200}, **options) == {"a": 0.5, "b": 0.5}
