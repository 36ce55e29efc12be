"""Tensors of many shapes as a few long ones, and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.continual.ragged import flatten, unflatten
from mt_transformers.errors import InputError

shapes = st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=6)


@given(shapes=shapes, dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]))
def test_tensors_come_back(shapes: list[list[int]], dtype: torch.dtype) -> None:
    tensors = [torch.randn(shape).mul(9).to(dtype) for shape in shapes]
    found = unflatten(flatten(tensors))
    assert [each.dtype for each in found] == [dtype] * len(shapes)
    assert all(torch.equal(one, other) for one, other in zip(tensors, found, strict=True))


def test_each_tensor_is_a_copy() -> None:
    found = unflatten(flatten([torch.ones(2), torch.ones(1000)]))
    assert found[0].untyped_storage().nbytes() == 8


@pytest.mark.parametrize(
    "change",
    [
        {"values": torch.ones(5)},
        {"dimensions": torch.tensor([1, 3])},
        {"dimensions": torch.tensor([4, -1])},
        {"sizes": torch.tensor([2, 2])},
        {"sizes": torch.tensor([2, -2, -2])},
    ],
)
def test_shapes_that_do_not_add_up_are_refused(change: dict[str, torch.Tensor]) -> None:
    flat = flatten([torch.ones(2), torch.ones(2, 2)])
    with pytest.raises(InputError, match=r"expected . values for 2 tensors"):
        unflatten(flat | change)
