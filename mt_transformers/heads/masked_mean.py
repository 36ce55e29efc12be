"""The average of the positions that are no padding."""

from __future__ import annotations

import torch

__all__ = ["masked_mean"]


def masked_mean(encoded: torch.Tensor, encoded_mask: torch.Tensor) -> torch.Tensor:
    """
    Average the encoded tokens of each row, padding left out.

    Source: Reimers and Gurevych (2019), https://huggingface.co/papers/1908.10084, section 3. A row without any token
    gives zeros.

    Args:
        encoded (`torch.Tensor` of shape `(rows, sequence_length, hidden_size)`): Output of the backbone.
        encoded_mask (`torch.Tensor` of shape `(rows, sequence_length)`): True for tokens, False for padding.

    Returns:
        `torch.Tensor` of shape `(rows, hidden_size)`.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [9.0]]]), torch.tensor([[True, False]]))
        tensor([[1.]])
    """
    # (rows, sequence_length, 1)
    weights = encoded_mask.unsqueeze(-1).to(encoded.dtype)
    # (rows, hidden_size)
    return (encoded * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
