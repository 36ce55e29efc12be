"""Which kind of backbone a model is: what it reads, and how it is run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from transformers import MODEL_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from ..errors import InputError

__all__ = ["Arguments", "Kind", "find_kind", "find_model_class", "only_looks_back"]

Kind = Literal["text", "encoder_decoder", "image", "audio", "two_tower", "single_stream"]

_AUDIO_INPUTS = ("input_values", "input_features")

_CAUSAL_TOWERS = {"aimv2", "clip", "clipseg", "groupvit", "metaclip_2", "owlv2", "owlvit"}
_CAUSAL_TEXTS = _CAUSAL_TOWERS | {f"{name}_text_model" for name in _CAUSAL_TOWERS}
"""Models of two towers whose text tower only looks back. They are no language models, and no config says it."""

_ENCODERS = {"bert-generation"}
"""Encoders that transformers lists among the decoders, because they can be told to be one."""


@dataclass(frozen=True)
class Arguments:
    """
    What a function takes by name.

    Args:
        names (`frozenset[str]`): Names of its parameters.
        open_ended (`bool`): Whether it takes any other name, too.

    Example:
        >>> Arguments.of(lambda input_ids, **kwargs: None)
        Arguments(names=frozenset({'input_ids'}), open_ended=True)
    """

    names: frozenset[str]
    open_ended: bool

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Arguments:
        """Read them from a function's signature."""
        parameters = inspect.signature(function).parameters
        open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return cls(frozenset(name for name, each in parameters.items() if each.kind in named), open_ended)

    def take(self, name: str) -> bool:
        """Whether the function can be called with an argument of this name."""
        return self.open_ended or name in self.names


def find_model_class(config: PreTrainedConfig) -> type | None:
    """
    Find the class that `AutoModel` builds for a config.

    Args:
        config (`PreTrainedConfig`): Config of the backbone.

    Returns:
        `type`: The class; None for code that lies on the hub.

    Example:
        >>> from transformers import BertConfig
        >>> find_model_class(BertConfig()).__name__
        'BertModel'
    """
    found: Any = MODEL_MAPPING.get(type(config), None)
    if isinstance(found, (list, tuple)):
        by_name = {each.__name__: each for each in found}
        found = next((by_name[name] for name in config.architectures or () if name in by_name), found[0])
    return found if isinstance(found, type) else None


def find_kind(config: PreTrainedConfig, model_class: type | None) -> Kind:
    """
    Tell from a model's class how it is run.

    Args:
        config (`PreTrainedConfig`): Config of the backbone.
        model_class (`type`, *optional*): Class of the model; None for code that lies on the hub, which counts as text.

    Returns:
        `str`: `text`, `encoder_decoder` (of text), `image`, `audio`, `two_tower` (a text and an image tower side by
        side) or `single_stream` (text and image in one sequence).

    Raises:
        InputError: If the model reads something else.

    Example:
        >>> from transformers import CLIPConfig
        >>> find_kind(CLIPConfig(), find_model_class(CLIPConfig()))
        'two_tower'
    """
    if model_class is None:
        return "text"
    names = Arguments.of(model_class.forward).names  # type: ignore[attr-defined]
    main = getattr(model_class, "main_input_name", "input_ids")
    if hasattr(model_class, "get_text_features"):
        if hasattr(model_class, "get_image_features"):
            return "two_tower"
        raise InputError(f"backbone {config.model_type!r}: expected the second tower to read images.")
    if main in _AUDIO_INPUTS:
        return "audio"
    if main == "pixel_values":
        return "image"
    if main != "input_ids":
        raise InputError(
            f"backbone {config.model_type!r}: expected a model of text, images or audio, found one of {main!r}."
        )
    if "decoder_input_ids" in names:
        return "encoder_decoder"
    # models that put an image's features in the place of placeholder tokens give one position a token: they are text
    in_place = hasattr(model_class, "get_image_features") or only_looks_back(config)
    return "single_stream" if "pixel_values" in names and not in_place else "text"


def find_text_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """
    The config of the text side, the config itself where there is no other.

    Raises:
        InputError: If there are several.
    """
    try:
        return config.get_text_config()
    except ValueError as error:
        raise InputError(f"backbone {config.model_type!r}: {error}") from error


def only_looks_back(config: PreTrainedConfig) -> bool:
    """
    Tell from a config whether the text side only looks back.

    Args:
        config (`PreTrainedConfig`): Config of the backbone.

    Returns:
        `bool`: True for decoders such as GPT-2 and for CLIP's text tower; False for encoders and encoder-decoders.

    Example:
        >>> from transformers import BertConfig, GPT2Config
        >>> only_looks_back(BertConfig()), only_looks_back(GPT2Config())
        (False, True)
    """
    text_config = find_text_config(config)
    if config.is_encoder_decoder or getattr(text_config, "attn_type", None) == "bi":
        return False
    # what Llama and its like are told when they are trained to look both ways, and Gemma for embeddings
    both_ways = getattr(text_config, "use_bidirectional_attention", False) in (True, "all")
    if both_ways or getattr(text_config, "is_causal", None) is False:
        return False
    # a tower is told by its model whether to decode, whatever its config says
    decodes = text_config is config and bool(getattr(config, "is_decoder", False))
    encoders = {*MODEL_FOR_MASKED_LM_MAPPING_NAMES, *_ENCODERS}
    writes = text_config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and text_config.model_type not in encoders
    return decodes or writes or config.model_type in _CAUSAL_TEXTS
