"""What is traced: the model with its heads fixed, called with tensors only."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ...configuration import MultiTaskConfig
from ...data import Processing
from ...errors import InputError, check_known
from ...heads import MaskedLanguageModelingHead
from ...modeling import MultiTaskModel
from ...routing import ArgumentRouter

__all__ = ["HeadsGraph", "check_traceable", "choose_heads", "exported_config", "sample_inputs"]

_TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_TRACEABLE_ATTENTION = (None, "eager", "sdpa")
# sizes that all differ, and none of which is 0 or 1, so that no two dimensions are taken for one and the same
_SEQUENCES, _LENGTH, _IMAGES = 5, 7, 3
_TABLE = [[0, 2, -1], [1, 3, 4]]


class HeadsGraph(nn.Module):
    """
    A model with its heads fixed, for tracing: tensors in, what the heads put out back.

    Args:
        model ([`MultiTaskModel`]): The model, in evaluation mode.
        heads (`Sequence[str]`): The heads.

    Example:
        >>> from transformers import BertConfig
        >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
        >>> heads = {"intent": {"head_type": "sequence_classification", "num_labels": 3}}
        >>> model = MultiTaskModel(MultiTaskConfig(backbone_config=bert, heads=heads)).eval()
        >>> list(HeadsGraph(model, ["intent"])(input_ids=torch.tensor([[1, 2]])))
        ['intent_logits']
    """

    def __init__(self, model: MultiTaskModel, heads: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.heads = list(heads)
        self.several = _several(model, heads)
        # what transformers' exporters look for in what they trace
        self.config = model.config

    def forward(self, sequences: torch.Tensor | None = None, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Run the model.

        Args:
            sequences (`torch.Tensor` of shape `(rows, sequences)`, *optional*):
                See [`MultiTaskModel.forward`]; for all heads that read several sequences.
            inputs (`torch.Tensor`): Inputs of the backbone.

        Returns:
            `dict[str, torch.Tensor]`: What the heads put out, each under `<head>_<output>`.
        """
        tables = None if sequences is None else dict.fromkeys(self.several, sequences)
        outputs = self.model(**inputs, sequences=tables, heads=self.heads)
        names = [f"{head}_{key}" for head in self.heads for key in self.model.named_heads[head].config.output_names]
        return {name: outputs[name] for name in names if name in outputs}


def _several(model: MultiTaskModel, heads: Collection[str]) -> list[str]:
    return [name for name in heads if model.named_heads[name].config.multi_sequence]


def choose_heads(model: MultiTaskModel, heads: Collection[str] | None) -> list[str]:
    """
    The heads to export, in the model's order.

    Args:
        model ([`MultiTaskModel`]): The model.
        heads (`Collection[str]`, *optional*): Names of those that are wanted. Defaults to all.

    Returns:
        `list[str]`: Their names.

    Raises:
        InputError: If one is unknown, there is none, or one has answers that no graph can hold.
    """
    check_known(heads or (), model.named_heads, "heads", "head")
    chosen = [name for name in model.named_heads if heads is None or name in heads]
    if not chosen:
        raise InputError("heads: expected at least one head to export, found none.")
    for name in chosen:
        if isinstance(model.named_heads[name], MaskedLanguageModelingHead):
            raise InputError(
                f"head {name!r} (masked_language_modeling): it answers as many positions as a text has mask tokens, "
                "a number that no graph can know before it runs. Export the other heads."
            )
    return chosen


def check_traceable(model: MultiTaskModel) -> None:
    """
    Refuse a model that cannot be traced.

    Args:
        model ([`MultiTaskModel`]): The model.

    Raises:
        InputError: If it has adapters, its backbone reads something else than text or images, its weights are not
            float32, or its attention is that of a GPU.
    """
    if hasattr(model, "peft_config"):
        raise InputError("the model has adapters: merge them into the backbone (merge_adapters) to export it.")
    info = model.backbone.info
    names = {name for name in info.output_names if name != "encoded_text_decoder"}
    if names not in ({"encoded_text"}, {"encoded_image"}):
        raise InputError(
            f"backbone {info.model_type!r}: only backbones of text or of images can be exported, this one gives "
            f"{', '.join(info.output_names)}."
        )
    if model.dtype != torch.float32:
        raise InputError(f"expected a model in float32 to export, found {model.dtype}: call model.float() before.")
    attention = model.backbone.model.config._attn_implementation
    if attention not in _TRACEABLE_ATTENTION:
        raise InputError(f"expected attn_implementation 'sdpa' or 'eager' to export, found {attention!r}.")


def exported_config(config: MultiTaskConfig, heads: Collection[str]) -> MultiTaskConfig:
    """
    A model's config without the heads that are not exported.

    Args:
        config ([`MultiTaskConfig`]): The config.
        heads (`Collection[str]`): The heads that are.

    Returns:
        [`MultiTaskConfig`]: A config of its own; a task whose heads are all left out is gone.
    """
    found = copy.deepcopy(config)
    for key in ("heads", "loss_weights"):
        setattr(found, key, {name: value for name, value in getattr(config, key).items() if name in heads})
    for key in ("arg_name_mapping", "allowed_arguments"):
        kept = {name: value for name, value in getattr(config, key).items() if name in heads or name == "backbone"}
        setattr(found, key, kept)
    tasks = {task: [name for name in own if name in heads] for task, own in config.tasks.items()}
    found.tasks = {task: own for task, own in tasks.items() if own}
    return found


def sample_inputs(
    model: MultiTaskModel, processing_class: Any, heads: Sequence[str]
) -> tuple[dict[str, torch.Tensor], dict[str, dict[int, Any]]]:
    """
    Inputs to trace a model with.

    Args:
        model ([`MultiTaskModel`]): The model.
        processing_class (`Any`): Its tokenizer or image processor, which tells what it is called with.
        heads (`Sequence[str]`): The heads.

    Returns:
        `tuple[dict, dict]`: The inputs, and for each which of its dimensions are dynamic, as `torch.export` takes it.

    Raises:
        InputError: If the processing class lacks a part, or gives an input that is not known here.
    """
    processing = Processing.of(processing_class)
    dynamic = torch.export.Dim.DYNAMIC
    if model.backbone.output_names == ("encoded_image",):
        processing.check("the model", ["images"])
        images = processing.pixels([np.zeros((32, 32, 3), dtype=np.uint8)] * _IMAGES)
        taken = _taken(model, heads, images)
        return taken, {name: {0: dynamic} for name in taken}
    processing.check("the model", ["text"])
    inputs = _token_inputs(model, heads, processing.tokenizer.model_input_names)  # type: ignore[union-attr]
    if _several(model, heads):
        inputs["sequences"] = torch.tensor(_TABLE)
    return inputs, {name: {0: dynamic, 1: dynamic} for name in inputs}


def _token_inputs(model: MultiTaskModel, heads: Sequence[str], names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Ids, and what else of a tokenizer's inputs the model reads."""
    vocab_size = model.backbone.info.vocab_size or 1
    shape = (_SEQUENCES, _LENGTH)
    values = {
        "input_ids": torch.arange(_SEQUENCES * _LENGTH).remainder(vocab_size).view(shape),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "token_type_ids": torch.zeros(shape, dtype=torch.long),
    }
    taken = _taken(model, heads, dict.fromkeys(names))
    unknown = [name for name in taken if name not in _TOKEN_INPUTS]
    if unknown:
        raise InputError(
            f"the tokenizer gives {unknown[0]!r}, which cannot be exported: expected {', '.join(_TOKEN_INPUTS)}."
        )
    return {name: values[name] for name in taken}


def _taken(model: MultiTaskModel, heads: Sequence[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that the backbone or a head reads. A mask decides what padding is, also where no model takes it."""
    components = {"backbone": model.backbone, **{name: model.named_heads[name] for name in heads}}
    router = ArgumentRouter(exported_config(model.config, heads), components)
    return {
        name: value
        for name, value in inputs.items()
        if name == "attention_mask" or any(router.takes(component, name) for component in components)
    }
