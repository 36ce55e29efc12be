"""The model as it was before an experience, to be asked for its answers while the experience is learnt."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import torch

from ...heads import HeadConfig, SequenceClassificationHeadConfig
from ...modeling import MultiTaskModel
from ..learner import Learner

__all__ = ["ask", "frozen_copy", "has_one_class_a_row", "without_labels"]


def frozen_copy(model: MultiTaskModel) -> MultiTaskModel:
    """
    Copy a model that is to stay as it is.

    Args:
        model ([`MultiTaskModel`]): The model; it is not changed.

    Returns:
        [`MultiTaskModel`]: The copy, on the same device, in evaluation mode, without gradients.

    Example:
        >>> from transformers import BertConfig
        >>> from mt_transformers import MultiTaskConfig
        >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
        >>> teacher = frozen_copy(MultiTaskModel(MultiTaskConfig(backbone_config=bert, heads={})))
        >>> teacher.training, any(each.requires_grad for each in teacher.parameters())
        (False, False)
    """
    copied: MultiTaskModel = copy.deepcopy(model)
    copied.requires_grad_(False).eval()
    return copied


@torch.no_grad()
def ask(learner: Learner, teacher: MultiTaskModel, inputs: Mapping[str, Any], heads: Collection[str]) -> Any:
    """
    Have heads of a teacher answer all rows of a micro-batch, whether these have labels for them or not.

    Args:
        learner ([`Learner`]): Of the experience.
        teacher ([`MultiTaskModel`]): What [`frozen_copy`] gave.
        inputs (`Mapping[str, Any]`): The micro-batch.
        heads (`Collection[str]`): The heads.

    Returns:
        [`MultiTaskModelOutput`].
    """
    return learner.forward(without_labels(inputs), model=teacher, heads=heads)


def without_labels(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A micro-batch that every head answers all rows of."""
    return {name: value for name, value in inputs.items() if name not in ("labels", "rows")}


def has_one_class_a_row(config: HeadConfig) -> bool:
    """
    Tell whether a head chooses one class for each row.

    Args:
        config ([`HeadConfig`]): Its config.

    Example:
        >>> has_one_class_a_row(SequenceClassificationHeadConfig(num_labels=3))
        True
    """
    return isinstance(config, SequenceClassificationHeadConfig) and not config.multi_label
