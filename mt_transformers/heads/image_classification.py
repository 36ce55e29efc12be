"""One label, or any number of labels, for an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .registry import register_head
from .sequence_classification import SequenceClassificationHead, SequenceClassificationHeadConfig

__all__ = ["ImageClassificationHead", "ImageClassificationHeadConfig"]


@dataclass(kw_only=True)
class ImageClassificationHeadConfig(SequenceClassificationHeadConfig):
    """
    Config of [`ImageClassificationHead`]: the fields of [`SequenceClassificationHeadConfig`].

    `input: auto` is the image wherever the backbone reads one, behind text too; other backbones are refused.
    """

    reads: ClassVar[tuple[str, ...]] = ("encoded_image",)
    task_inputs: ClassVar[tuple[str, ...]] = ("images",)
    answer_inputs: ClassVar[tuple[str, ...]] = ("images",)


@register_head("image_classification")
class ImageClassificationHead(SequenceClassificationHead):
    """
    Classify images: the backbone's pooled features, optional feed-forward layers, a linear classifier.

    Args:
        config ([`ImageClassificationHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.

    Example:
        >>> import torch
        >>> from transformers import ViTConfig
        >>> from mt_transformers import MultiTaskConfig, MultiTaskModel
        >>> vit = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)
        >>> heads = {
        ...     "digit": {"head_type": "image_classification", "num_labels": 10},
        ...     "parity": {"head_type": "image_classification", "id2label": ["even", "odd"]},
        ... }
        >>> model = MultiTaskModel(MultiTaskConfig(backbone_config=vit, heads=heads))
        >>> outputs = model(pixel_values=torch.zeros(2, 3, 8, 8))
        >>> outputs["digit_logits"].shape, outputs["parity_logits"].shape
        (torch.Size([2, 10]), torch.Size([2, 2]))
    """

    config_class = ImageClassificationHeadConfig
    config: ImageClassificationHeadConfig
