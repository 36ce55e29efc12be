"""From the encoded tokens of several sequences a row to one vector for each of them."""

from __future__ import annotations

import torch

from .pooling import Pooling

__all__ = ["pool_sequences"]


def pool_sequences(
    pooler: Pooling, encoded: torch.Tensor, encoded_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Make one vector of each sequence of each row.

    Args:
        pooler ([`Pooling`]): How.
        encoded (`torch.Tensor` of shape `(rows, sequences, sequence_length, hidden_size)`): Output of the backbone.
        encoded_mask (`torch.Tensor` of shape `(rows, sequences, sequence_length)`):
            True for tokens, False for padding; all False where a row has fewer sequences.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: The vectors, of shape `(rows, sequences, hidden_size)`, and a boolean
        tensor of shape `(rows, sequences)`, True where there is a sequence. The vector of one that is missing means
        nothing, but is finite, and so is its gradient.

    Example:
        >>> encoded = torch.tensor([[[[1.0], [3.0]], [[5.0], [7.0]]]])
        >>> mask = torch.tensor([[[True, True], [False, False]]])
        >>> vectors, present = pool_sequences(Pooling("mean", hidden_size=1), encoded, mask)
        >>> vectors[0, 0], present
        (tensor([2.]), tensor([[ True, False]]))
    """
    mask = encoded_mask.bool()
    # (rows, sequences)
    present = mask.any(dim=-1)
    # over no position at all a maximum is -inf or nearly so, which weights turn into NaN
    readable = mask | ~present.unsqueeze(-1)
    pooled = pooler(encoded.flatten(0, 1), readable.flatten(0, 1))
    return pooled.unflatten(0, tuple(present.shape)), present
