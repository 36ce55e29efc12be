"""Glorot's initial weights, for `module.apply`."""

from __future__ import annotations

from torch import nn

__all__ = ["xavier"]


def xavier(module: nn.Module) -> None:
    """
    Begin a linear layer anew: weights from Glorot's uniform distribution, a bias of zeros.

    Any other module is left as it is, its parameters too, so that `model.heads.apply(xavier)` begins all linear layers
    of the heads anew and keeps what stands around them, such as norms and embeddings.

    Source: Glorot and Bengio (2010), https://proceedings.mlr.press/v9/glorot10a.html, equation 16; for linear layers
    only as `xavier` in `backbone/__init__.py` of https://github.com/aimagelab/mammoth.

    Args:
        module (`nn.Module`): Any module.

    Example:
        >>> layers = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4)).apply(xavier)
        >>> layers[0].bias.tolist(), bool((layers[0].weight.abs() <= 1).all())  # sqrt(6 / (2 + 4)) = 1
        ([0.0, 0.0, 0.0, 0.0], True)
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
