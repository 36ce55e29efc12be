"""Biaffine scores: how well two words go together, as head and dependent."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["BiaffineAttention", "BiaffineClassifier"]


class BiaffineAttention(nn.Module):
    """
    Score each candidate as the head of each word: the variable-class biaffine classifier.

    The score is `head @ U @ dependent + head @ u`: how likely the two go together, and how likely the head has
    dependents at all.

    Source: Dozat and Manning (2017), https://openreview.net/forum?id=Hk95PK9le, equation 6.

    Args:
        size (`int`): Size of the vectors on both sides.

    Example:
        >>> attention = BiaffineAttention(1)
        >>> _ = nn.init.constant_(attention.linear.weight, 2.0), nn.init.constant_(attention.linear.bias, 1.0)
        >>> dependents, heads = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[1.0], [10.0]]])
        >>> attention(dependents, heads).tolist()
        [[[3.0, 30.0], [7.0, 70.0]]]
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        # its weight is U, its bias u
        self.linear = nn.Linear(size, size)

    def forward(self, dependents: torch.Tensor, heads: torch.Tensor) -> torch.Tensor:
        """
        Score.

        Args:
            dependents (`torch.Tensor` of shape `(rows, words, size)`): The words.
            heads (`torch.Tensor` of shape `(rows, candidates, size)`): Their possible heads.

        Returns:
            `torch.Tensor` of shape `(rows, words, candidates)`.
        """
        scores: torch.Tensor = self.linear(dependents) @ heads.transpose(1, 2)
        return scores


class BiaffineClassifier(nn.Module):
    """
    Score the labels of pairs: the fixed-class biaffine classifier.

    Each label's score is `head @ U @ dependent` with a matrix of the label's own, and what head and dependent say each
    by itself, with a bias.

    Source: Dozat and Manning (2017), https://openreview.net/forum?id=Hk95PK9le, equation 3.

    Args:
        size (`int`): Size of the vectors on both sides.
        num_labels (`int`): Number of labels.

    Example:
        >>> classifier = BiaffineClassifier(size=4, num_labels=3)
        >>> classifier(torch.zeros(7, 4), torch.zeros(7, 4)).shape
        torch.Size([7, 3])
    """

    def __init__(self, size: int, num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        # for each label the weights of a head that the dependent asks for, and what it says by itself
        self.linear = nn.Linear(size, num_labels * (size + 1))

    def forward(self, dependents: torch.Tensor, heads: torch.Tensor) -> torch.Tensor:
        """
        Score.

        Args:
            dependents (`torch.Tensor` of shape `(pairs, size)`): The dependents.
            heads (`torch.Tensor` of shape `(pairs, size)`): The head of each.

        Returns:
            `torch.Tensor` of shape `(pairs, num_labels)`.
        """
        # (pairs, num_labels, size + 1)
        weights = self.linear(dependents).unflatten(1, (self.num_labels, -1))
        scores: torch.Tensor = (weights[..., :-1] @ heads.unsqueeze(2)).squeeze(2) + weights[..., -1]
        return scores
