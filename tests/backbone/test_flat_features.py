"""How many numbers a row of features is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers import num_flat_features
from mt_transformers.errors import InputError


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_it_is_the_width_of_a_flattened_row(shape: list[int]) -> None:
    features = torch.zeros(shape)
    assert num_flat_features(features) == math.prod(shape[1:])
    assert features.reshape(shape[0], num_flat_features(features)).numel() == features.numel()


def test_a_batch_without_rows_has_a_width() -> None:
    assert num_flat_features(torch.zeros(0, 3, 4)) == 12


def test_a_number_is_refused() -> None:
    with pytest.raises(InputError, match=r"^num_flat_features: expected a tensor of shape \(rows, \.\.\.\)"):
        num_flat_features(torch.tensor(1.0))
