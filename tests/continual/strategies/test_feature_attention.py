"""Attention maps over features, against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from mt_transformers.continual.strategies.feature_attention import (
    FeatureAttention,
    consistency_errors,
    propagation_errors,
)

ROWS, LENGTH, SIZE = 3, 4, 5
Scores = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Scores]:
    """Features of both models, a mask with padding, and scores."""
    generator = torch.Generator().manual_seed(0)
    learnt, kept = torch.randn(2, ROWS, LENGTH, SIZE, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).double()
    scores = (
        torch.randn(ROWS, SIZE, generator=generator, dtype=torch.float64),
        torch.randn(ROWS, LENGTH, generator=generator, dtype=torch.float64),
    )
    return learnt, kept, mask, scores


def test_scores_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    attention = FeatureAttention(SIZE, experiences=2).double()
    features, mask = torch.randn(2, LENGTH, SIZE).double(), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).double()
    channels, positions = attention(features, mask, torch.tensor([1, 0]))
    for row, (length, experience) in enumerate([(3, 1), (2, 0)]):
        average = features[row, :length].mean(dim=0) + attention.experience.weight[experience]
        bound, gate, direct = (
            (layer.weight @ average + layer.bias).tolist()
            for layer in (attention.bound, attention.gate, attention.direct)
        )
        expected = [math.tanh(b) / (1 + math.exp(-g)) + d for b, g, d in zip(bound, gate, direct, strict=True)]
        assert channels[row].tolist() == pytest.approx(expected)
        for place in range(LENGTH):
            score = attention.position.weight[0] @ features[row, place] + attention.position.bias[0]
            assert positions[row, place].item() == pytest.approx(score.item())


def test_features_are_compared_where_the_map_is_open(
    case: tuple[torch.Tensor, torch.Tensor, torch.Tensor, Scores],
) -> None:
    learnt, kept, mask, (channels, positions) = case
    distances, openness = propagation_errors(learnt, kept, mask, (channels, positions))
    for row, length in enumerate([4, 2, 1]):
        cells = [(place, channel) for place in range(length) for channel in range(SIZE)]
        scores = {cell: (channels[row, cell[1]] + positions[row, cell[0]]).item() for cell in cells}
        squares = [(learnt - kept)[row][cell].item() ** 2 for cell in cells if scores[cell] > 0]
        assert 0 < len(squares) < len(cells)
        assert distances[row].item() == pytest.approx(sum(squares) / len(cells))
        share = sum(1 / (1 + math.exp(-score)) for score in scores.values()) / len(cells)
        assert openness[row].item() == pytest.approx((share - 0.5) ** 2)


def test_the_map_learns_by_the_gradient_of_the_sigmoid(
    case: tuple[torch.Tensor, torch.Tensor, torch.Tensor, Scores],
) -> None:
    learnt, kept, mask, (channels, positions) = case
    channels.requires_grad_(True)
    propagation_errors(learnt, kept, mask, (channels, positions))[0].sum().backward()
    soft = (channels.detach().unsqueeze(1) + positions.unsqueeze(2)).sigmoid()
    slopes = soft * (1 - soft) * (learnt - kept).square() * mask.unsqueeze(2)
    expected = slopes.sum(dim=1) / mask.sum(dim=1, keepdim=True) / SIZE
    assert channels.grad is not None
    torch.testing.assert_close(channels.grad, expected)


def test_consistency_is_the_cross_entropy_of_each_cell(
    case: tuple[torch.Tensor, torch.Tensor, torch.Tensor, Scores],
) -> None:
    _, _, mask, (channels, positions) = case
    stored = channels.flip(0), positions.flip(1)
    errors = consistency_errors((channels, positions), stored, mask)
    for row, length in enumerate([4, 2, 1]):
        total = 0.0
        for place in range(length):
            for channel in range(SIZE):
                share = 1 / (1 + math.exp(-(channels[row, channel] + positions[row, place]).item()))
                was_open = stored[0][row, channel] + stored[1][row, place] > 0
                total -= math.log(share if was_open else 1 - share)
        assert errors[row].item() == pytest.approx(total / length / SIZE)


def test_padding_does_not_count(case: tuple[torch.Tensor, torch.Tensor, torch.Tensor, Scores]) -> None:
    learnt, kept, mask, scores = case
    before = propagation_errors(learnt, kept, mask, scores)
    changed = torch.where(mask.unsqueeze(2) > 0, learnt, 1e6)
    after = propagation_errors(changed, kept, mask, (scores[0], torch.where(mask > 0, scores[1], 7.0)))
    for left, right in zip(before, after, strict=True):
        torch.testing.assert_close(left, right)
