"""Biaffine scores: by hand, and against the equations written out."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from mt_transformers.heads.biaffine import BiaffineAttention, BiaffineClassifier


def test_attention_by_hand() -> None:
    attention = BiaffineAttention(2)
    with torch.no_grad():
        attention.linear.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        attention.linear.bias.copy_(torch.tensor([5.0, 6.0]))
    # what the dependent asks for: 1 + 20 + 5 and 3 + 40 + 6
    dependents = torch.tensor([[[1.0, 10.0]]])
    heads = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]]])
    assert attention(dependents, heads).tolist() == [[[26.0, 49.0, 3.0]]]


def test_classifier_by_hand() -> None:
    classifier = BiaffineClassifier(size=1, num_labels=2)
    with torch.no_grad():
        classifier.linear.weight.copy_(torch.tensor([[2.0], [3.0], [5.0], [7.0]]))
        classifier.linear.bias.copy_(torch.tensor([11.0, 13.0, 17.0, 19.0]))
    scores = classifier(torch.tensor([[2.0], [0.0]]), torch.tensor([[10.0], [1.0]]))
    # (2 * 2 + 11) * 10 + 3 * 2 + 13 and (5 * 2 + 17) * 10 + 7 * 2 + 19; then what the head says alone, and the biases
    assert scores.tolist() == [[169.0, 303.0], [24.0, 36.0]]


def test_attention_follows_the_equation() -> None:
    attention = BiaffineAttention(3).double()
    weight, bias = attention.linear.weight, attention.linear.bias
    dependents, heads = torch.randn(2, 4, 3).double(), torch.randn(2, 5, 3).double()
    scores = attention(dependents, heads)
    assert scores.shape == (2, 4, 5)
    for row, word, head in product(range(2), range(4), range(5)):
        expected = heads[row, head] @ weight @ dependents[row, word] + heads[row, head] @ bias
        torch.testing.assert_close(scores[row, word, head], expected)


def test_classifier_follows_the_equation() -> None:
    size, num_labels = 3, 4
    classifier = BiaffineClassifier(size, num_labels).double()
    weight = classifier.linear.weight.view(num_labels, size + 1, size)
    bias = classifier.linear.bias.view(num_labels, size + 1)
    dependents, heads = torch.randn(5, size).double(), torch.randn(5, size).double()
    scores = classifier(dependents, heads)
    for pair, label in product(range(5), range(num_labels)):
        together = heads[pair] @ weight[label, :size] @ dependents[pair]
        by_themselves = heads[pair] @ bias[label, :size] + dependents[pair] @ weight[label, size]
        torch.testing.assert_close(scores[pair, label], together + by_themselves + bias[label, size])


@pytest.mark.parametrize("module", [BiaffineAttention(2), BiaffineClassifier(2, 3)])
def test_gradients(module: nn.Module) -> None:
    module = module.double()
    shape = (3, 2) if isinstance(module, BiaffineClassifier) else (1, 3, 2)
    inputs = [torch.randn(shape).double().requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(module, inputs)


def test_no_pairs() -> None:
    assert BiaffineClassifier(2, 3)(torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0, 3)
