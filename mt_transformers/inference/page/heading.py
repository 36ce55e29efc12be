"""What the page says of the model above all else."""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import ModelCard

from ...modeling import MultiTaskModel
from ..export import ExportedMultiTaskModel

__all__ = ["describe_model"]


def describe_model(model: MultiTaskModel | ExportedMultiTaskModel, folder: str) -> str:
    """
    Name a model's backbone, its size and the number of its heads.

    Args:
        model ([`MultiTaskModel`] or [`ExportedMultiTaskModel`]): The model.
        folder (`str`): Where it is from; its model card, if it has one, knows what the backbone is called.

    Returns:
        `str`: One line.

    Example:
        >>> from transformers import BertConfig
        >>> from mt_transformers import MultiTaskConfig
        >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
        >>> heads = {"mood": {"head_type": "sequence_classification", "num_labels": 2}}
        >>> describe_model(MultiTaskModel(MultiTaskConfig(backbone_config=bert, heads=heads)), "none")
        'bert, 56.8K parameters, 1 head'
    """
    kind = model.config.backbone_config.model_type
    name = _base_model(Path(folder) / "README.md")
    backbone = kind if name is None else f"{name} ({kind})"
    heads = len(model.heads)
    size = "ONNX"
    if isinstance(model, MultiTaskModel):
        size = f"{_format_size(model.num_parameters())} parameters"
    return f"{backbone}, {size}, {heads} head{'s'[: heads != 1]}"


def _base_model(card: Path) -> str | None:
    """The backbone's name in a model card; None where there is none, or no card that can be read."""
    if not card.is_file():
        return None
    try:
        found = ModelCard.load(card, ignore_metadata_errors=True).data.base_model
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, str) else None


def _format_size(number: int) -> str:
    for unit, size in (("B", 1_000_000_000), ("M", 1_000_000), ("K", 1000)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
