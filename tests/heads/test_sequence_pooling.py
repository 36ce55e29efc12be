"""Sequences of rows are pooled as each would be alone; missing ones stay finite."""

from __future__ import annotations

import pytest
import torch
from heads.several_texts import POOLINGS, random_sequences
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.heads import Pooling, pool_sequences


@pytest.mark.parametrize("pooling", POOLINGS)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_each_sequence_is_pooled_as_if_alone(pooling: str, counts: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    pooler = Pooling(pooling, 3).double()
    encoded, mask = random_sequences(counts, seed=seed)
    vectors, present = pool_sequences(pooler, encoded, mask)
    assert vectors.shape == (*mask.shape[:2], 3)
    assert present.sum(1).tolist() == counts
    for row, count in enumerate(counts):
        for place in range(count):
            own = mask[row, place]
            alone = pooler(encoded[row : row + 1, place, own], own[own].unsqueeze(0))
            torch.testing.assert_close(vectors[row, place], alone[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_missing_sequences_are_finite(pooling: str, dtype: torch.dtype) -> None:
    encoded, mask = random_sequences([3, 1])
    encoded = encoded.to(dtype).requires_grad_()
    vectors, present = pool_sequences(Pooling(pooling, 3).to(dtype), encoded, mask)
    assert present.tolist() == [[True, True, True], [True, False, False]]
    # none is more than what stands there
    assert bool((vectors.abs() <= 9).all())
    vectors.sum().backward()
    assert encoded.grad is not None
    assert bool(encoded.grad.isfinite().all())


def test_features_that_the_backbone_pooled() -> None:
    encoded = torch.arange(8.0).reshape(2, 2, 1, 2)
    mask = torch.tensor([[[True], [True]], [[True], [False]]])
    vectors, present = pool_sequences(Pooling("pooled", 2), encoded, mask)
    assert torch.equal(vectors, encoded.squeeze(2))
    assert torch.equal(present, mask.squeeze(2))
