"""The one place that knows `AutoModel`: which inputs it takes, what its outputs are called, how large they are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from .errors import InputError
from .heads import words_of_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Backbone", "default_pooling", "find_hidden_size"]

_UNUSED_LAYERS = {"add_pooling_layer": False}
"""Layers that no head reads. They would get no gradient, which distributed training has to be told of."""


def find_hidden_size(config: PreTrainedConfig) -> int:
    """
    Size of the features that a backbone encodes, for any config.

    Args:
        config (`PreTrainedConfig`): Config of the backbone.

    Returns:
        `int`: The size.

    Raises:
        InputError: If the config does not say it under any name that transformers maps to `hidden_size`.

    Example:
        >>> from transformers import DistilBertConfig
        >>> find_hidden_size(DistilBertConfig(dim=32, n_heads=2))
        32
    """
    text_config = config.get_text_config()
    for name in ("hidden_size", "d_model"):
        size = getattr(text_config, name, None)
        if isinstance(size, int):
            return size
    raise InputError(f"backbone {config.model_type!r}: its config has no hidden_size, so that no head can be built.")


def default_pooling(config: PreTrainedConfig) -> str:
    """
    The pooling that `"auto"` stands for: `last` for models that only look back, `mean` for all others.

    Args:
        config (`PreTrainedConfig`): Config of the backbone.

    Returns:
        `str`: The pooling.

    Example:
        >>> from transformers import BertConfig, GPT2Config
        >>> default_pooling(BertConfig()), default_pooling(GPT2Config())
        ('mean', 'last')
    """
    model_type = config.get_text_config().model_type
    looks_back = (
        model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        and not config.is_encoder_decoder
    )
    return "last" if looks_back else "mean"


class Backbone(nn.Module):
    """
    Any `AutoModel` behind one contract: an input `text` comes back as `encoded_text` with `encoded_text_mask`.

    The contract is AllenNLP's (`allennlp/modules/backbones/backbone.py`): every output is called `encoded_<input>`
    and has a mask `encoded_<input>_mask`.

    Args:
        model (`PreTrainedModel`): The model that encodes.

    Example:
        >>> from transformers import BertConfig
        >>> sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
        >>> outputs = Backbone.from_config(BertConfig(**sizes))(input_ids=torch.tensor([[1, 2, 3]]))
        >>> outputs["encoded_text"].shape, outputs["encoded_text_mask"].tolist()
        (torch.Size([1, 3, 8]), [[True, True, True]])
    """

    output_names = ("encoded_text",)

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.hidden_size = find_hidden_size(model.config)

    @classmethod
    def from_config(cls, config: PreTrainedConfig) -> Backbone:
        """Build a backbone with random weights."""
        model_class = MODEL_MAPPING.get(type(config), None)
        return cls(AutoModel.from_config(config, **_unused_layers(model_class)))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, **kwargs: Any) -> Backbone:
        """
        Load a backbone with its weights.

        Args:
            pretrained_model_name_or_path (`str`): Name on the hub, or a folder.
            kwargs (`Any`): For `AutoModel.from_pretrained`.

        Raises:
            InputError: If there is no such model.
        """
        try:
            model = AutoModel.from_pretrained(pretrained_model_name_or_path, **kwargs)
        except (OSError, ValueError) as error:
            raise InputError(f"backbone {pretrained_model_name_or_path!r} cannot be loaded: {error}") from error
        if _unused_layers(type(model)):
            model.pooler = None
        return cls(model)

    def forward(self, **inputs: Any) -> dict[str, torch.Tensor]:
        """
        Encode a batch.

        Args:
            inputs (`Any`): Inputs of the model, such as `input_ids` of shape `(batch_size, sequence_length)`.

        Returns:
            `dict[str, torch.Tensor]`: `encoded_text` of shape `(batch_size, sequence_length, hidden_size)`,
            `encoded_text_mask` of shape `(batch_size, sequence_length)`, True for tokens, and, where the input was
            ids, `token_ids` of that shape, for [`make_output_human_readable`].
        """
        encoded = self.model(**inputs).last_hidden_state
        mask = inputs.get("attention_mask")
        if mask is None:
            mask = torch.ones(encoded.shape[:2], dtype=torch.bool, device=encoded.device)
        outputs = {"encoded_text": encoded, "encoded_text_mask": mask.bool()}
        return outputs if inputs.get("input_ids") is None else {**outputs, "token_ids": inputs["input_ids"]}

    def make_output_human_readable(
        self, output_dict: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase | None
    ) -> dict[str, Any]:
        """
        Turn the ids that were kept into tokens and text.

        Args:
            output_dict (`Mapping[str, Any]`): What the model answered; it is not changed.
            tokenizer (`PreTrainedTokenizerBase`, *optional*): The tokenizer.

        Returns:
            `dict[str, Any]`: For each row `tokens`, `text` and `words`; nothing without ids or without a tokenizer.
        """
        if tokenizer is None or "token_ids" not in output_dict:
            return {}
        tokens, texts, words = [], [], []
        for ids, mask in zip(
            output_dict["token_ids"].tolist(), output_dict["encoded_text_mask"].tolist(), strict=True
        ):
            kept = [index for index, is_token in zip(ids, mask, strict=True) if is_token]
            text, found = words_of_ids(kept, tokenizer)
            first = mask.index(True) if kept else 0
            tokens.append(tokenizer.convert_ids_to_tokens(kept))
            texts.append(text)
            words.append([word._replace(position=word.position + first) for word in found])
        return {"tokens": tokens, "text": texts, "words": words}


def _unused_layers(model_class: Any) -> dict[str, bool]:
    """Arguments that leave out of a model of this class what no head reads."""
    if not isinstance(model_class, type):
        return {}
    taken = inspect.signature(model_class).parameters
    return {name: value for name, value in _UNUSED_LAYERS.items() if name in taken}
