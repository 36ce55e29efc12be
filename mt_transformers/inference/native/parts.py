"""A native model taken apart: its backbone, and its last layers as a head."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ...backbone import Backbone
from ...configuration import MultiTaskConfig
from ...errors import InputError, check_known
from ...heads import get_head_class
from ...modeling import MultiTaskModel
from .comparison import (
    TOLERANCE,
    double_config,
    double_copy,
    largest_difference,
)
from .layouts import NativeLayout, find_layouts
from .loading import find_native_task
from .placement import Placement, describe_difference, own_weights, place
from .tasks import NativeTask

__all__ = ["NativeParts", "build_model", "take_apart"]

_LISTED = 3
"""Names of weights that a message lists."""


@dataclass(frozen=True)
class NativeParts:
    """
    What becomes of one native model.

    Args:
        head (`dict[str, Any]`): Config of the head.
        head_weights (`Mapping[str, torch.Tensor]`): Its weights.
        backbone_config (`PreTrainedConfig`): Config of the backbone.
        backbone_weights (`Mapping[str, torch.Tensor]`): Its weights; those are the native model's own tensors.
    """

    head: dict[str, Any]
    head_weights: Mapping[str, torch.Tensor]
    backbone_config: PreTrainedConfig
    backbone_weights: Mapping[str, torch.Tensor]


def take_apart(name: str, native: PreTrainedModel, fields: Mapping[str, Any]) -> NativeParts:
    """
    Turn the last layers of a native model into a head that has its logits.

    Args:
        name (`str`): The head's name.
        native (`PreTrainedModel`): The native model, which is not changed.
        fields (`Mapping[str, Any]`): Further fields of the head's config.

    Returns:
        [`NativeParts`].

    Raises:
        InputError: If no head has its logits, saying why.
    """
    label = type(native).__name__
    task = find_native_task(label, native.config)
    head_type = str(fields.get("head_type", _head_type(task, native.config)))
    check_known([head_type], task.heads, label, "head_type")
    config = _backbone_config(native.config)
    sharp: PreTrainedModel | None = None
    obstacles: list[str] = []
    differences: dict[float, str] = {}
    for layout in find_layouts(task.name, native.config):
        placement = _place(native, layout, task, head_type, config)
        obstacle = _obstacle(native, layout)
        if placement is None or obstacle is not None:
            obstacles += [] if obstacle is None else [f"{label} {obstacle}"]
            continue
        head = {"head_type": head_type, **_head_fields(native, layout, placement, head_type), **fields}
        weights = _head_weights(native, placement, _empty_weights(name, head, config))
        if isinstance(weights, str):
            obstacles.append(f"{label}'s {weights}")
            continue
        sharp = double_copy(native) if sharp is None else sharp
        in_double = NativeParts(head, weights, double_config(config), _backbone_weights(sharp, placement))
        difference = largest_difference(sharp, build_model(in_double, {name: in_double}))
        if difference <= TOLERANCE:
            return NativeParts(head, weights, config, _backbone_weights(native, placement))
        differences[difference] = describe_difference(label, placement, difference)
    if differences:
        raise InputError(differences[min(differences)])
    raise InputError(obstacles[0] if obstacles else f"{label} is built in no way that is known of {task.auto_class}.")


def build_model(backbone: NativeParts, heads: Mapping[str, NativeParts]) -> MultiTaskModel:
    """
    Put heads of several native models on the backbone of one.

    Args:
        backbone ([`NativeParts`]):
            Where the backbone comes from; its weights become those of the result.
        heads (`Mapping[str, NativeParts]`): Where each head comes from.

    Returns:
        [`MultiTaskModel`]: In evaluation mode.

    Raises:
        InputError: If a head does not fit on the backbone, or reads a part of it that is not there.
    """
    built = Backbone.from_config(copy.deepcopy(backbone.backbone_config))
    weights = dict(backbone.backbone_weights)
    built.model.load_state_dict(weights, strict=False, assign=True)
    built.model.tie_weights()
    config = MultiTaskConfig(
        backbone_config=built.model.config,
        heads={name: parts.head for name, parts in heads.items()},
        dtype=built.model.dtype,
    )
    model = MultiTaskModel(config, backbone=built)
    for name, parts in heads.items():
        shapes = {key: value.shape for key, value in model.named_heads[name].state_dict().items()}
        for key, value in parts.head_weights.items():
            if value.shape != shapes[key]:
                raise InputError(
                    f"head {name!r}: its {key} has the shape {tuple(value.shape)}, on this backbone it would be "
                    f"{tuple(shapes[key])}."
                )
        model.named_heads[name].load_state_dict(parts.head_weights)
    read = {name for name, parameter in built.model.named_parameters() if parameter.requires_grad}
    lacking = [name for name in own_weights(built.model) if name in read and name not in weights]
    if lacking:
        others = f" and {len(lacking) - _LISTED} more" if len(lacking) > _LISTED else ""
        raise InputError(
            f"the head reads {', '.join(lacking[:_LISTED])}{others} of the backbone, which are not there."
        )
    model.backbone.to(next(iter(weights.values())).device)
    model.heads.to(dtype=built.model.dtype, device=built.model.device)
    model.eval()
    return model


def _backbone_weights(native: PreTrainedModel, placement: Placement) -> dict[str, torch.Tensor]:
    """The weights of a native model's backbone, under the names that they have there."""
    own = own_weights(native)
    return {target: own[source] for source, target in placement.backbone.items()}


def _backbone_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """A native model's config without what its head says."""
    config = copy.deepcopy(config)
    config.architectures, config.problem_type = [], None
    config.num_labels = 2
    return config


def _head_type(task: NativeTask, config: PreTrainedConfig) -> str:
    """The head type that a native model becomes, where nothing else is asked for."""
    one_number = config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1)
    return "regression" if "regression" in task.heads and one_number else task.name


def _place(
    native: PreTrainedModel, layout: NativeLayout, task: NativeTask, head_type: str, config: PreTrainedConfig
) -> Placement | None:
    with torch.device("meta"):
        backbone = Backbone.from_config(copy.deepcopy(config)).model
    return place(native, layout, task.heads[head_type], backbone.state_dict())


def _empty_weights(name: str, head: dict[str, Any], config: PreTrainedConfig) -> Mapping[str, torch.Tensor]:
    """The weights that a head has, without memory for them."""
    with torch.device("meta"):
        model = MultiTaskModel(MultiTaskConfig(backbone_config=copy.deepcopy(config), heads={name: head}))
    return model.named_heads[name].state_dict()


def _obstacle(native: PreTrainedModel, layout: NativeLayout) -> str | None:
    """Why a model with this layout cannot become a head, as far as its config says it."""
    for name, value in layout.settings.items():
        found = getattr(native.config, name)
        if found != value:
            return f"has {name} {found}, a head can only be {value}."
    if layout.needs is not None and getattr(native.config, layout.needs, None) is None:
        return f"finds a row's last token by {layout.needs}, which its config lacks."
    return None


def _head_fields(
    native: PreTrainedModel, layout: NativeLayout, placement: Placement, head_type: str
) -> dict[str, Any]:
    """The config of the head, as far as the native model says it."""
    config, known = native.config, get_head_class(head_type).config_class.field_names()
    values: dict[str, Any] = {name: layout.values(name, config)[0] for name in layout.fields}
    if layout.input is not None:
        values["input"] = layout.input
    dense = [name for name, target in placement.head.items() if target == "feed_forward.0.weight"]
    values["hidden_sizes"] = [own_weights(native)[name].shape[0] for name in dense]
    values["id2label"], values["num_targets"] = dict(config.id2label or {}), config.num_labels
    values["standardize"] = False
    values["classifier_bias"] = "classifier.bias" in placement.head.values()
    if config.problem_type is not None:
        values["problem_type"] = config.problem_type
    dropout = getattr(config, "classifier_dropout", None)
    if isinstance(dropout, float):
        values["classifier_dropout"] = dropout
    return {name: value for name, value in values.items() if name in known}


def _head_weights(
    native: PreTrainedModel, placement: Placement, empty: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor] | str:
    """The head's weights, 0 for a bias that the native model has not; or what keeps them from being that."""
    own = own_weights(native)
    sources = {target: (name, own[name]) for name, target in placement.head.items()}
    weights = {}
    for target, like in empty.items():
        name, source = sources.get(target, (target, torch.zeros(like.shape, device=native.device)))
        within = source[tuple(slice(size) for size in like.shape)]
        # what a wider layer reads beside a head's features may only count if it is nothing
        if within.shape != like.shape or bool(within.count_nonzero() != source.count_nonzero()):
            return f"{name} has the shape {tuple(source.shape)}, that of a head is {tuple(like.shape)}."
        weights[target] = within.detach().clone()
    return weights
