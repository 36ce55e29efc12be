"""How far backbones are from each other."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.inference.native.backbones import describe_differences
from mt_transformers.modeling.backbone_difference import largest_relative_difference


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=5), st.integers(0, 1000))
def test_the_largest_factor_is_found(factors: list[float], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = {f"w{i}": torch.randn(3, 4, generator=generator, dtype=torch.float64) for i in range(len(factors))}
    others = {f"w{i}": weights[f"w{i}"] * (1 + factor) for i, factor in enumerate(factors)}
    difference, where = largest_relative_difference(weights, others)
    assert difference == pytest.approx(max(factors), rel=1e-5, abs=1e-6)
    if where:
        assert factors[int(where[1:])] == pytest.approx(max(factors), rel=1e-5, abs=1e-6)


def test_what_grows_from_nothing_differs_without_bound() -> None:
    assert largest_relative_difference({"a": torch.zeros(2)}, {"a": torch.ones(2)}) == (math.inf, "a")
    assert largest_relative_difference({"a": torch.zeros(2)}, {"a": torch.zeros(2)}) == (0.0, "")


def test_integers_and_other_shapes_have_no_distance() -> None:
    weights = {"positions": torch.arange(3), "a": torch.ones(2)}
    assert largest_relative_difference(weights, {"positions": torch.arange(3) + 1, "a": torch.ones(3)}) == (0.0, "")


def test_equal_backbones_have_no_description() -> None:
    weights = {"a": torch.ones(2)}
    assert describe_differences(weights, {"a": torch.ones(2)}, {"x": 0}, {"x": 0}) is None
    assert describe_differences(weights, {"a": torch.ones(2)}, {"x": 0}, None) is None


def test_everything_that_differs_is_named() -> None:
    weights = {"a": torch.ones(4), "b": torch.ones(2)}
    others = {"a": torch.tensor([1.0, 1.0, 1.0, 1.001]), "b": torch.ones(3), "c": torch.ones(1)}
    found = describe_differences(weights, others, {"x": 0}, {"x": 1})
    assert found == "a by 0.0005 of its norm, the shapes of 2 weights, such as b, the vocabulary of the tokenizer"
