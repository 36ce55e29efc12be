"""
Attention of variable lengths in plain PyTorch, for machines without flash attention.

- `VARIABLE_LENGTHS`: the name under which transformers knows it, once `register` was called.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

VARIABLE_LENGTHS = "variable_lengths_of_the_tests"


def variable_lengths(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each sequence on its own, as flash attention does with the ends of the sequences."""
    assert attention_mask is None
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    ends = [0, query.shape[2]] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    assert max_length_q is None or max_length_q >= max(b - a for a, b in pairwise(ends))
    parts = [
        functional.scaled_dot_product_attention(
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            attn_mask=_seen(end - start, causal, sliding_window),
            scale=scaling,
            enable_gqa=True,
        )
        for start, end in pairwise(ends)
    ]
    # (batch_size, tokens, heads, head_size)
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _seen(length: int, causal: bool, window: int | None) -> torch.Tensor:
    """Which tokens each token of a sequence sees."""
    distance = torch.arange(length).unsqueeze(1) - torch.arange(length)
    seen = distance.abs() < (length if window is None else window)
    return seen & (distance >= 0) if causal else seen


def register() -> None:
    """Make it known to transformers."""
    AttentionInterface.register(VARIABLE_LENGTHS, variable_lengths)
