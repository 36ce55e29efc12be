"""One label, or any number of labels, for a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .registry import register_head
from .sequence_classification import SequenceClassificationHead, SequenceClassificationHeadConfig

__all__ = ["AudioClassificationHead", "AudioClassificationHeadConfig"]


@dataclass(kw_only=True)
class AudioClassificationHeadConfig(SequenceClassificationHeadConfig):
    """
    Config of [`AudioClassificationHead`]: the fields of [`SequenceClassificationHeadConfig`].

    Pooling goes over the frames of the recording, `mean` by default; backbones that read no audio are refused.
    """

    reads: ClassVar[tuple[str, ...]] = ("encoded_audio",)
    task_inputs: ClassVar[tuple[str, ...]] = ("audio",)
    answer_inputs: ClassVar[tuple[str, ...]] = ("audio",)


@register_head("audio_classification")
class AudioClassificationHead(SequenceClassificationHead):
    """
    Classify recordings: pooling over frames, optional feed-forward layers, a linear classifier.

    Args:
        config ([`AudioClassificationHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.

    Example:
        >>> import torch
        >>> config = AudioClassificationHeadConfig(id2label=["yes", "no"], pooling="mean")
        >>> head = AudioClassificationHead(config, hidden_size=4)
        >>> head(torch.zeros(3, 7, 4), torch.ones(3, 7, dtype=torch.bool))["logits"].shape
        torch.Size([3, 2])
    """

    config_class = AudioClassificationHeadConfig
    config: AudioClassificationHeadConfig
