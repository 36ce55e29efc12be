"""Which of a frozen sibling's features a model that learns on should keep."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ...heads.masked_mean import masked_mean

__all__ = ["FeatureAttention", "consistency_errors", "propagation_errors"]


class FeatureAttention(nn.Module):
    """
    An attention map over one layer's features: a score for each channel of a row plus one for each of its positions.

    Channels are scored from the average position `g`, to which what is learnt of the experience is added:
    `tanh(A g) * sigmoid(B g) + C g`; positions by a linear layer. What is kept is where a score is above 0.

    Source: Boschini et al. (2022), "Transfer without Forgetting", https://arxiv.org/abs/2206.00388, section 3.2.

    Args:
        size (`int`): Number of channels.
        experiences (`int`): Number of experiences.

    Example:
        >>> attention = FeatureAttention(size=4, experiences=2)
        >>> channels, positions = attention(torch.randn(3, 5, 4), torch.ones(3, 5), torch.tensor([0, 1, 1]))
        >>> channels.shape, positions.shape
        (torch.Size([3, 4]), torch.Size([3, 5]))
    """

    def __init__(self, size: int, experiences: int) -> None:
        super().__init__()
        self.experience = nn.Embedding(experiences, size)
        self.bound, self.gate, self.direct = (nn.Linear(size, size) for _ in range(3))
        self.position = nn.Linear(size, 1)

    def forward(
        self, features: torch.Tensor, mask: torch.Tensor, experience: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Score.

        Args:
            features (`torch.Tensor` of shape `(rows, positions, size)`): The sibling's.
            mask (`torch.Tensor` of shape `(rows, positions)`): 1 for tokens, 0 for padding.
            experience (`torch.Tensor` of shape `(rows,)`): Number of the experience that each row came in.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Scores of the channels, of shape `(rows, size)`, and of the positions,
            of shape `(rows, positions)`.
        """
        average = masked_mean(features, mask) + self.experience(experience)
        channels = self.bound(average).tanh() * self.gate(average).sigmoid() + self.direct(average)
        return channels, self.position(features).squeeze(2)


def propagation_errors(
    learnt: torch.Tensor, kept: torch.Tensor, mask: torch.Tensor, scores: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Squared distance of features from the sibling's, where the attention map is open.

    The map is 0 or 1, and its gradient that of the sigmoid of the score.

    Args:
        learnt (`torch.Tensor` of shape `(rows, positions, size)`): The features of the model that learns.
        kept (`torch.Tensor` of shape `(rows, positions, size)`): The sibling's.
        mask (`torch.Tensor` of shape `(rows, positions)`): 1 for tokens, 0 for padding.
        scores (`tuple[torch.Tensor, torch.Tensor]`): What [`FeatureAttention`] gave.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: For each row the distance, a mean over its tokens and channels, and how
        far its map is from being half open, `(mean of the sigmoids - 1/2)^2`; both of shape `(rows,)`.

    Example:
        >>> scores = torch.tensor([[9.0, -9.0]]), torch.tensor([[0.0]])
        >>> learnt, kept = torch.tensor([[[3.0, 5.0]]]), torch.zeros(1, 1, 2)
        >>> propagation_errors(learnt, kept, torch.ones(1, 1), scores)[0]
        tensor([4.5000])
    """
    soft = _map(scores).sigmoid()
    # the value of the first, the gradient of the second
    hard = (soft > 0.5).to(soft) + soft - soft.detach()
    distances = _token_mean(hard * (learnt - kept).square(), mask)
    return distances, (_token_mean(soft, mask) - 0.5).square()


def consistency_errors(
    scores: tuple[torch.Tensor, torch.Tensor], stored: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor
) -> torch.Tensor:
    """
    Cross-entropy of an attention map against the one that a row once had.

    Args:
        scores (`tuple[torch.Tensor, torch.Tensor]`): What [`FeatureAttention`] gives now.
        stored (`tuple[torch.Tensor, torch.Tensor]`): What it gave then.
        mask (`torch.Tensor` of shape `(rows, positions)`): 1 for tokens, 0 for padding.

    Returns:
        `torch.Tensor` of shape `(rows,)`: A mean over each row's tokens and channels.

    Example:
        >>> now, then = (torch.tensor([[0.0]]), torch.tensor([[0.0]])), (torch.tensor([[5.0]]), torch.tensor([[0.0]]))
        >>> consistency_errors(now, then, torch.ones(1, 1))
        tensor([0.6931])
    """
    was_open = (_map(stored) > 0).to(scores[0])
    return _token_mean(functional.binary_cross_entropy_with_logits(_map(scores), was_open, reduction="none"), mask)


def _map(scores: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Scores of channels and positions, of shape `(rows, positions, size)`."""
    channels, positions = scores
    return channels.unsqueeze(1) + positions.unsqueeze(2)


def _token_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens and channels of each row."""
    return masked_mean(values, mask).mean(dim=1)
