"""Whether a native model and a head answer alike, found by running both."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ...errors import InputError
from ...modeling import MultiTaskModel
from .placement import own_weights

__all__ = [
    "TOLERANCE",
    "double_config",
    "double_copy",
    "double_weights",
    "from_weights",
    "largest_difference",
    "made_up_inputs",
]

TOLERANCE = 1e-7
"""
Largest difference of logits that counts as none (share of the largest logit). Both are computed in float64: in float32
an activation that is nearly the same (`gelu` and `gelu_new`), or a cap that logits hardly reach, passes for rounding.
"""

_LENGTHS = (8, 6, 5, 3)
_CHOICES = 2
_SPECIAL_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id")
_FRAMES = (16, 11)
_FAULTS = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)
"""What native models of families that are not in the table say of rows that they cannot read."""


def double_copy(native: PreTrainedModel) -> PreTrainedModel:
    """
    Build a native model anew from its config and weights: on the CPU, in float64, in evaluation mode.

    What is computed from the config alone, such as rotary embeddings, may have been rounded along with the weights;
    here it is not.

    Args:
        native (`PreTrainedModel`): The model.

    Returns:
        `PreTrainedModel`: The copy.
    """
    return from_weights(type(native), double_config(native.config), double_weights(own_weights(native)))


def from_weights(model_class: Any, config: PreTrainedConfig, weights: dict[str, torch.Tensor]) -> PreTrainedModel:
    """
    Build a native model from its weights, as transformers loads it.

    Args:
        model_class (`type`): Its class.
        config (`PreTrainedConfig`): Its config.
        weights (`dict[str, torch.Tensor]`): Its weights in float64; they become those of the model.

    Returns:
        `PreTrainedModel`: In evaluation mode.
    """
    native: PreTrainedModel = model_class.from_pretrained(None, config=config, state_dict=weights, dtype=torch.float64)
    native.eval()
    return native


def double_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """
    Copy a config for a comparison in float64 on the CPU, where not every implementation of attention runs.

    Args:
        config (`PreTrainedConfig`): The config.

    Returns:
        `PreTrainedConfig`: The copy.

    Example:
        >>> from transformers import BertConfig
        >>> double_config(BertConfig(attn_implementation="flash_attention_2"))._attn_implementation
        'eager'
    """
    copied = copy.deepcopy(config)
    copied.dtype = torch.float64
    if copied._attn_implementation not in (None, "eager", "sdpa"):
        copied._attn_implementation = "eager"
    return copied


def double_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Copy weights to the CPU, in float64; numbers that are no weights stay integers.

    Args:
        weights (`Mapping[str, torch.Tensor]`): The weights.

    Returns:
        `dict[str, torch.Tensor]`: The copies.

    Example:
        >>> double_weights({"bias": torch.ones(1, dtype=torch.bfloat16), "steps": torch.tensor(2)})
        {'bias': tensor([1.], dtype=torch.float64), 'steps': tensor(2)}
    """
    return {
        name: value.detach().to("cpu", torch.float64 if value.is_floating_point() else None, copy=True)
        for name, value in weights.items()
    }


def made_up_inputs(model: MultiTaskModel) -> dict[str, torch.Tensor]:
    """
    Make up a small batch that a backbone can read, with padding on the right where it knows padding.

    Args:
        model ([`MultiTaskModel`]): The model.

    Returns:
        `dict[str, torch.Tensor]`: Inputs of the model, the same ones for each call.

    Raises:
        InputError: If nothing is known of what it reads.
    """
    backbone, generator = model.backbone.model, torch.Generator().manual_seed(0)
    makers: dict[str, Callable[[MultiTaskModel, torch.Generator], dict[str, torch.Tensor]]] = {
        "input_ids": _text,
        "pixel_values": _images,
        "input_values": _samples,
        "input_features": _spectrograms,
    }
    (head,) = model.named_heads.values()
    name = "pixel_values" if head.config.inputs[0].startswith("encoded_image") else backbone.main_input_name
    if name not in makers:
        raise InputError(f"backbone {backbone.config.model_type!r}: no {name} can be made up to compare with.")
    return makers[name](model, generator)


def _text(model: MultiTaskModel, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Rows of several lengths, with the padding token behind; those of encoder-decoders end as theirs do."""
    config, vocab_size = model.config.get_text_config(), model.backbone.info.vocab_size
    if vocab_size is None:
        raise InputError("the backbone's config has no vocab_size, so that no rows can be made up to compare.")
    special = {getattr(config, name, None) for name in _SPECIAL_TOKENS}
    known = torch.tensor([each for each in range(min(vocab_size, 1000)) if each not in special])
    longest = min(_LENGTHS[0], model.backbone.max_positions or _LENGTHS[0])
    lengths = torch.tensor(_LENGTHS).clamp(max=longest).unsqueeze(1)
    places = torch.arange(longest)
    ids = known[torch.randint(len(known), (len(lengths), longest), generator=generator)]
    last, padding = getattr(config, "eos_token_id", None), getattr(config, "pad_token_id", None)
    if config.is_encoder_decoder and isinstance(last, int):
        ids = ids.masked_fill(places == lengths - 1, last)
    mask = places < lengths
    ids = ids.masked_fill(~mask, padding if isinstance(padding, int) else 0)
    return {"input_ids": ids, "attention_mask": mask.long()}


def _images(model: MultiTaskModel, generator: torch.Generator) -> dict[str, torch.Tensor]:
    config: Any = model.backbone.model.config
    config = getattr(config, "vision_config", config)
    size = getattr(config, "image_size", 64)
    height, width = (size, size) if isinstance(size, int) else size
    return {"pixel_values": torch.randn(2, getattr(config, "num_channels", 3), height, width, generator=generator)}


def _samples(model: MultiTaskModel, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Recordings of two lengths."""
    strides = getattr(model.backbone.model.config, "conv_stride", None)
    if strides is None:
        raise InputError("the backbone's config has no conv_stride, so that no recordings can be made up to compare.")
    lengths = math.prod(strides) * torch.tensor(_FRAMES).unsqueeze(1)
    mask = torch.arange(int(lengths.max())) < lengths
    values = torch.randn(mask.shape, generator=generator) * mask
    return {"input_values": values, "attention_mask": mask.long()}


def _spectrograms(model: MultiTaskModel, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Full windows, as Whisper reads them."""
    config: Any = model.backbone.model.config
    length = 2 * getattr(config, "max_source_positions", 50)
    return {"input_features": torch.randn(2, getattr(config, "num_mel_bins", 80), length, generator=generator)}


@torch.no_grad()
def largest_difference(native: PreTrainedModel, model: MultiTaskModel) -> float:
    """
    Run both on a batch that is made up and compare their logits.

    Args:
        native (`PreTrainedModel`): The native model, in float64 on the CPU.
        model ([`MultiTaskModel`]): A model with one head, likewise.

    Returns:
        `float`: The largest difference between two logits (share of the largest logit).

    Raises:
        InputError: If one of them cannot be run on what is made up.
    """
    (name,) = model.named_heads
    inputs = {
        key: value.to(native.dtype) if value.is_floating_point() else value
        for key, value in made_up_inputs(model).items()
    }
    read = _READERS.get(model.named_heads[name].config.head_type, _plain)
    try:
        expected, found = read(native, model, name, inputs)
    except _FAULTS as error:
        raise InputError(f"{type(native).__name__} cannot be run on rows that are made up: {error}") from error
    scale = float(expected.abs().max())
    difference = float((expected - found).abs().max())
    return difference / scale if scale > 0 else difference


_Logits = tuple[torch.Tensor, torch.Tensor]


def _plain(native: Any, model: MultiTaskModel, name: str, inputs: dict[str, torch.Tensor]) -> _Logits:
    logits: torch.Tensor = native(**inputs).logits
    return logits, model(**inputs)[f"{name}_logits"]


def _tokens(native: Any, model: MultiTaskModel, name: str, inputs: dict[str, torch.Tensor]) -> _Logits:
    native_logits, logits = _plain(native, model, name, inputs)
    mask = inputs["attention_mask"].bool()
    return native_logits[mask], logits[mask]


def _spans(native: Any, model: MultiTaskModel, name: str, inputs: dict[str, torch.Tensor]) -> _Logits:
    answers, mask = native(**inputs), inputs["attention_mask"].bool()
    logits = torch.stack([answers.start_logits, answers.end_logits], dim=-1)
    return logits[mask], model(**inputs)[f"{name}_logits"][:, 0][mask]


def _choices(native: Any, model: MultiTaskModel, name: str, inputs: dict[str, torch.Tensor]) -> _Logits:
    """Scores of choices count by their differences only."""
    by_row = {key: value.unflatten(0, (-1, _CHOICES)) for key, value in inputs.items()}
    sequences = torch.arange(len(inputs["input_ids"])).view(-1, _CHOICES)
    found = model(**inputs, sequences={name: sequences})[f"{name}_logits"]
    expected = native(**by_row).logits
    return expected - expected[:, :1], found - found[:, :1]


def _masked(native: Any, model: MultiTaskModel, name: str, inputs: dict[str, torch.Tensor]) -> _Logits:
    mask = inputs["attention_mask"].bool()
    positions = torch.arange(mask.shape[1]).expand(mask.shape)
    labels = torch.stack([positions, torch.zeros_like(positions)], dim=-1)
    return native(**inputs).logits[mask], model(**inputs, labels={name: labels})[f"{name}_logits"][mask]


def _next(native: Any, model: MultiTaskModel, name: str, inputs: dict[str, torch.Tensor]) -> _Logits:
    logits = native(**inputs).logits
    last = inputs["attention_mask"].sum(dim=1) - 1
    return logits[torch.arange(len(last)), last], model(**inputs)[f"{name}_logits"]


_READERS: dict[str, Callable[..., _Logits]] = {
    "token_classification": _tokens,
    "question_answering": _spans,
    "multiple_choice": _choices,
    "masked_language_modeling": _masked,
    "causal_language_modeling": _next,
}
