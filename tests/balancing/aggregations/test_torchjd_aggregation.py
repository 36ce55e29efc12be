"""How objects of TorchJD are made, and what is done to Gramians."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.balancing.aggregations.torchjd_aggregation import square_root, unit_scale


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 100), st.floats(-6, 6))
def test_rows_of_the_square_root_have_the_inner_products(tasks: int, rank: int, seed: int, power: float) -> None:
    rows = torch.randn(tasks, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 10**power
    gramian = rows @ rows.T
    root = square_root(gramian)
    assert root.shape == (tasks, min(tasks, rank))
    largest = float(gramian.abs().max())
    torch.testing.assert_close(root @ root.T, gramian, rtol=0, atol=1e-12 * largest)


def test_an_eigenvalue_below_zero_by_rounding_is_left_out() -> None:
    gramian = torch.tensor([[1.0, -1.0], [-1.0, 1.0 - 1e-17]], dtype=torch.float64)
    assert square_root(gramian - 1e-17).shape == (2, 1)


def test_unit_scale_keeps_the_ratios() -> None:
    gramian = torch.tensor([[2e-9, -1e-9], [-1e-9, 4e-9]], dtype=torch.float64)
    scaled = unit_scale(gramian)
    assert float(scaled.diagonal().mean()) == pytest.approx(1.0)
    torch.testing.assert_close(scaled / scaled[0, 0], gramian / gramian[0, 0])
