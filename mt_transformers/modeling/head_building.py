"""A head from what a model's config says of it."""

from __future__ import annotations

from ..configuration import MultiTaskConfig
from ..errors import InputError
from ..heads import BackboneInfo, Head, feature_size, get_head_class

__all__ = ["build_head"]


def build_head(config: MultiTaskConfig, name: str, backbone: BackboneInfo) -> Head:
    """
    Build a head, and write into the config what it was built with.

    Args:
        config ([`MultiTaskConfig`]): The model's config.
        name (`str`): The head, which the config has.
        backbone ([`BackboneInfo`]): The backbone that it will stand on.

    Returns:
        [`Head`]: With the weights that its modules begin with.

    Raises:
        InputError: If its config lacks something, such as its label names, naming the head.

    Example:
        >>> from transformers import BertConfig
        >>> from mt_transformers.backbone import describe_backbone
        >>> heads = {"intent": {"head_type": "sequence_classification", "num_labels": 3}}
        >>> config = MultiTaskConfig(backbone_config=BertConfig(hidden_size=8), heads=heads)
        >>> build_head(config, "intent", describe_backbone(config.backbone_config)).hidden_size
        8
    """
    head_config = config.head_config(name)
    try:
        head_config.check_complete()
    except InputError as error:
        raise InputError(f"head {name!r}: {error}") from error
    config.heads[name] = head_config.to_dict()
    return get_head_class(head_config.head_type)(head_config, feature_size(head_config, backbone))
