"""Distances of logits from those that were kept."""

from __future__ import annotations

import torch

from mt_transformers.continual.strategies.seen import logit_errors


def test_each_row_counts_alike_however_much_was_kept_of_it() -> None:
    logits = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [9.0, 9.0]]])
    kept = [torch.zeros(2, 2), torch.zeros(1, 2)]
    # (1 + 4 + 9 + 16) / 4; the second position of the second row is padding
    assert logit_errors(logits, kept).tolist() == [7.5, 1.0]


def test_a_class_that_came_later_is_held_at_the_lowest_that_was_kept() -> None:
    kept = [torch.tensor([3.0, -1.0])]
    assert logit_errors(torch.tensor([[3.0, -1.0, -1.0]]), kept).tolist() == [0.0]
    assert logit_errors(torch.tensor([[3.0, -1.0, 2.0]]), kept).tolist() == [3.0]


def test_the_gradient_is_that_of_the_mean_over_the_logits() -> None:
    logits = torch.tensor([[1.0, 5.0]], dtype=torch.float64, requires_grad=True)
    logit_errors(logits, [torch.tensor([0.0, 2.0])]).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, 3.0]]
