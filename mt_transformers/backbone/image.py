"""Models of images: sequences of patches such as ViT's, and feature maps such as ConvNeXt's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..heads.backbone_info import BackboneInfo
from .padding import find_mask
from .reader import Layers, Reader, in_dtype_of, parameters_of

__all__ = ["NORMS_OF_POOLED", "ImageReader", "flatten_map"]

NORMS_OF_POOLED = {
    "altclip": "post_layernorm",
    "altclip_vision_model": "post_layernorm",
    "chinese_clip": "post_layernorm",
    "chinese_clip_vision_model": "post_layernorm",
    "clip": "post_layernorm",
    "clip_vision_model": "post_layernorm",
    "clipseg": "post_layernorm",
    "convnext": "layernorm",
    "convnextv2": "layernorm",
    "metaclip_2": "post_layernorm",
    "metaclip_2_vision_model": "post_layernorm",
}
"""Model type -> the last norm, where only pooled features go through it; no name or config tells it from others."""


class ImageReader(Reader):
    """Runs a model of images."""

    def __init__(self, model: PreTrainedModel, info: BackboneInfo) -> None:
        super().__init__(model, info)
        self.has_class_token = has_class_token(model)

    def read(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], layers: Layers, outputs: Collection[str] | None
    ) -> dict[str, Any]:
        """See [`Reader.read`]."""
        layers = self.wanted("encoded_image", layers)
        output = self.run(model, self.arguments, in_dtype_of(model, inputs, "pixel_values"), layers)
        encoded = flatten_map(output.last_hidden_state)
        found = self.layers("encoded_image", output.hidden_states, encoded, layers=layers) if layers else {}
        return {
            "encoded_image": encoded,
            "encoded_image_mask": find_mask(None, encoded),
            "encoded_image_pooled": self._pool(output, encoded),
            **found,
        }

    def unread(self, model: PreTrainedModel, read: Collection[str]) -> Iterable[nn.Parameter]:
        """What stands for masked patches, and what only pooled features go through if they are not read."""
        yield from (value for name, value in model.named_parameters() if name.endswith("mask_token"))
        if "encoded_image_pooled" not in read:
            yield from parameters_of(model, "pooler")
            yield from parameters_of(model, NORMS_OF_POOLED.get(self.info.model_type, "pooler"))

    def _pool(self, output: Any, encoded: torch.Tensor) -> torch.Tensor:
        """The model's own pooled features, else its class token, else the mean."""
        pooled = getattr(output, "pooler_output", None)
        if isinstance(pooled, torch.Tensor):
            return pooled.flatten(1)
        # a map has no place for a class token
        if self.has_class_token and output.last_hidden_state.dim() == 3:
            return encoded[:, 0]
        return encoded.mean(dim=1)


def has_class_token(model: nn.Module) -> bool:
    """Whether a model puts a class token before the patches."""
    return any(name.endswith("cls_token") for name, _ in model.named_parameters())


def flatten_map(encoded: torch.Tensor) -> torch.Tensor:
    """
    Turn a feature map into a sequence, row by row; a sequence stays as it is.

    Args:
        encoded (`torch.Tensor` of shape `(rows, hidden_size, height, width)` or `(rows, positions, hidden_size)`):
            What a model gave.

    Returns:
        `torch.Tensor` of shape `(rows, positions, hidden_size)`.

    Example:
        >>> flatten_map(torch.arange(4).view(1, 1, 2, 2)).flatten().tolist()
        [0, 1, 2, 3]
    """
    return encoded.flatten(2).transpose(1, 2) if encoded.dim() == 4 else encoded
