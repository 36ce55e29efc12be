"""What a config alone says of a backbone: names, sizes and layers of its outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedConfig

from ..errors import InputError
from ..heads.backbone_info import BackboneInfo
from .kind import Kind, find_kind, find_model_class, find_text_config, only_looks_back

__all__ = ["describe_backbone", "find_hidden_size", "find_vocab_size"]

_SIZES = ("hidden_size", "d_model", "hidden_dim")
_SIZES_OF_STAGES = ("neck_hidden_sizes", "hidden_sizes", "embed_dims", "embed_dim")
_STAGES = ("depths", "block_sizes", *_SIZES_OF_STAGES)
_EMBEDDING_SIZES = ("embedding_size", "word_embed_proj_dim", "input_embedding_size", "hidden_size", "d_model")
_ENCODER_LAYERS = ("encoder_layers", "num_encoder_layers", "encoder_num_hidden_layers", "num_hidden_layers")
_DECODER_LAYERS = ("decoder_layers", "num_decoder_layers", "num_hidden_layers")


def find_hidden_size(config: PreTrainedConfig) -> int:
    """
    Size of the features that a backbone encodes, for any config; of several outputs that of the main one.

    Args:
        config (`PreTrainedConfig`): Config of the backbone.

    Returns:
        `int`: The size.

    Raises:
        InputError: If the config does not say it under any name that transformers maps to `hidden_size`.

    Example:
        >>> from transformers import DistilBertConfig, ResNetConfig
        >>> find_hidden_size(DistilBertConfig(dim=32, n_heads=2)), find_hidden_size(ResNetConfig())
        (32, 2048)
    """
    text_config = find_text_config(config)
    size = _first_int(text_config, _SIZES)
    for name in _SIZES_OF_STAGES:
        sizes = getattr(text_config, name, None)
        if size is None and isinstance(sizes, (list, tuple)) and sizes and isinstance(sizes[-1], int):
            size = sizes[-1]
    if size is None:
        raise InputError(
            f"backbone {config.model_type!r}: its config has no hidden_size, so that no head can be built."
        )
    return size


def find_vocab_size(config: PreTrainedConfig) -> int | None:
    """Number of token ids that the text side of a backbone knows; None if its config does not say it."""
    return _first_int(find_text_config(config), ("vocab_size",))


def describe_backbone(config: PreTrainedConfig, model_class: type | None = None) -> BackboneInfo:
    """
    Describe a backbone without building it.

    Args:
        config (`PreTrainedConfig`): Config of the backbone.
        model_class (`type`, *optional*): Class of the model, by default the one that `AutoModel` builds.

    Returns:
        [`BackboneInfo`].

    Raises:
        InputError: If the model reads neither text nor images nor audio, or its config has no size.

    Example:
        >>> from transformers import ElectraConfig
        >>> info = describe_backbone(ElectraConfig(hidden_size=32, embedding_size=8, num_hidden_layers=2))
        >>> info.hidden_sizes, info.num_layers, info.embedding_size
        ({'encoded_text': 32}, {'encoded_text': 3}, 8)
    """
    model_class = find_model_class(config) if model_class is None else model_class
    kind = find_kind(config, model_class)
    causal = kind not in ("image", "audio") and only_looks_back(config)
    reads_text = kind not in ("image", "audio")
    text_config = find_text_config(config)
    return BackboneInfo(
        model_type=config.model_type,
        hidden_sizes=_hidden_sizes(config, kind),
        num_layers={name: number + 1 for name, number in _layers(config, kind).items() if number is not None},
        default_pooling=_poolings(kind, causal),
        causal=causal,
        vocab_size=find_vocab_size(config) if reads_text else None,
        embedding_size=_first_int(text_config, _EMBEDDING_SIZES) if reads_text else None,
        reads_together=kind == "single_stream",
    )


def find_image_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config of the image tower of a model with two towers."""
    for name in ("vision_config", "image_config"):
        found = getattr(config, name, None)
        if isinstance(found, PreTrainedConfig):
            return found
    raise InputError(f"backbone {config.model_type!r}: its config has no vision_config.")


def _hidden_sizes(config: PreTrainedConfig, kind: Kind) -> dict[str, int]:
    size = find_hidden_size(config)
    if kind == "text":
        return {"encoded_text": size}
    if kind == "encoder_decoder":
        return {"encoded_text": size, "encoded_text_decoder": size}
    if kind == "audio":
        adapted = getattr(config, "output_hidden_size", None) if getattr(config, "add_adapter", False) else None
        return {"encoded_audio": adapted or size}
    if kind == "image":
        return {"encoded_image": size, "encoded_image_pooled": size}
    if kind == "single_stream":
        return {"encoded_text": size, "encoded_image": size, "encoded_image_pooled": size}
    image_size = find_hidden_size(find_image_config(config))
    # SigLIP, which has no common projection, names the text tower's in that tower's config
    projected = getattr(config, "projection_dim", None)
    return {
        "encoded_text": size,
        "encoded_text_pooled": projected or getattr(find_text_config(config), "projection_size", None) or size,
        "encoded_image": image_size,
        "encoded_image_pooled": projected or image_size,
    }


def _layers(config: PreTrainedConfig, kind: Kind) -> dict[str, int | None]:
    """For each output the number of its layers, None where they are not of one shape."""
    text_config = find_text_config(config)
    encoder_layers = None if _has_stages(text_config) else _first_int(text_config, _ENCODER_LAYERS)
    if kind == "encoder_decoder":
        return {"encoded_text": encoder_layers, "encoded_text_decoder": _first_int(text_config, _DECODER_LAYERS)}
    if kind == "image":
        return {"encoded_image": _image_layers(config)}
    if kind == "audio":
        # an adapter shortens what comes out, so that the layers below it have other positions
        return {"encoded_audio": None if getattr(config, "add_adapter", False) else encoder_layers}
    if kind == "two_tower":
        return {"encoded_text": encoder_layers, "encoded_image": _image_layers(find_image_config(config))}
    if kind == "single_stream":
        return {"encoded_text": encoder_layers, "encoded_image": encoder_layers}
    return {"encoded_text": encoder_layers}


def _image_layers(config: PreTrainedConfig) -> int | None:
    """Layers of an image model, if it is one sequence of patches from the first layer to the last."""
    if _has_stages(config) or not hasattr(config, "patch_size"):
        return None
    return _first_int(config, ("num_hidden_layers",))


def _has_stages(config: PreTrainedConfig) -> bool:
    return any(isinstance(getattr(config, name, None), (list, tuple)) for name in _STAGES)


def _poolings(kind: Kind, causal: bool) -> dict[str, str]:
    text = "last" if causal else "mean"
    if kind == "text":
        return {"encoded_text": text}
    if kind == "encoder_decoder":
        return {"encoded_text": "mean", "encoded_text_decoder": "last"}
    if kind == "audio":
        return {"encoded_audio": "mean"}
    if kind == "image":
        return {"encoded_image": "pooled"}
    return {"encoded_text": "pooled" if kind == "two_tower" else text, "encoded_image": "pooled"}


def _first_int(config: Any, names: Iterable[str]) -> int | None:
    """The first of these fields that holds a number."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)
