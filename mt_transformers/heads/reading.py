"""What a head reads of the backbone: one output or several, the last layer or another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .masked_mean import masked_mean
from .reading_config import SCALAR_MIX, ReadingConfig

__all__ = ["FeatureReader", "ScalarMix"]


class ScalarMix(nn.Module):
    """
    A learned weighted sum of layers.

    Source: Peters et al. (2018), https://aclanthology.org/N18-1202, equation 1: a softmax over one weight a layer,
    times one scale.

    Args:
        num_layers (`int`): Layers that are mixed.

    Example:
        >>> ScalarMix(2)([torch.tensor([1.0]), torch.tensor([3.0])])
        tensor([2.], grad_fn=<MulBackward0>)
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(num_layers))
        self.scale = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start from the plain average of the layers."""
        nn.init.zeros_(self.weights)
        nn.init.ones_(self.scale)

    def forward(self, layers: Sequence[torch.Tensor]) -> torch.Tensor:
        """
        Mix.

        Args:
            layers (`Sequence[torch.Tensor]`): The layers, all of one shape.

        Returns:
            `torch.Tensor` of that shape.
        """
        shares = self.weights.softmax(dim=0)
        mixed: torch.Tensor = sum(share * layer for share, layer in zip(shares, layers, strict=True))
        return self.scale * mixed


class FeatureReader(nn.Module):
    """
    Takes out of the backbone's outputs what one head reads.

    Args:
        config ([`ReadingConfig`]): The head's config, resolved.
    """

    def __init__(self, config: ReadingConfig) -> None:
        super().__init__()
        self._config = config
        self.scalar_mix = ScalarMix(config.num_layers or 1) if config.layer == SCALAR_MIX else None

    def forward(self, encoded: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Read.

        Args:
            encoded (`Mapping[str, Any]`): The backbone's outputs, layers among them where the head reads any.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Features of shape `(rows, positions, hidden_size)` and their mask of
            shape `(rows, positions)`. Pooled features have one position.
        """
        if self._config.reads_pooled:
            return self._pooled(encoded, self._config.inputs)
        name = self._config.inputs[0]
        mask = encoded[f"{name}_mask"]
        if self._config.layer == -1:
            return encoded[name], mask
        layers = encoded[f"{name.removeprefix('encoded_')}_layers"]
        if self.scalar_mix is not None:
            return self.scalar_mix(layers), mask
        return layers[int(self._config.layer)], mask

    def _pooled(self, encoded: Mapping[str, Any], names: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [
            encoded[f"{name}_pooled"]
            if f"{name}_pooled" in encoded
            else masked_mean(encoded[name], encoded[f"{name}_mask"])
            for name in names
        ]
        # (rows, 1, hidden_size)
        fused = _fuse(parts, self._config.fusion).unsqueeze(1)
        return fused, torch.ones(fused.shape[:2], dtype=torch.bool, device=fused.device)


def _fuse(parts: Sequence[torch.Tensor], fusion: str) -> torch.Tensor:
    if fusion == "concat":
        return torch.cat(list(parts), dim=-1)
    fused = parts[0]
    for part in parts[1:]:
        fused = fused + part if fusion == "sum" else fused * part
    return fused
