"""Which weight of a native model is which weight of a multi-task model."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from .layouts import NativeLayout

__all__ = ["Placement", "build_skeleton", "describe_difference", "own_weights", "place"]


@dataclass(frozen=True)
class Placement:
    """
    Where each weight of a native model comes from.

    Args:
        backbone (`Mapping[str, str]`): Names in the native model -> names in the backbone's model.
        head (`Mapping[str, str]`): Names in the native model -> names in the head, also where the head lacks them.
        strangers (`list[str]`): Names in the native model that neither has.
    """

    backbone: Mapping[str, str]
    head: Mapping[str, str]
    strangers: list[str]


def build_skeleton(model_class: Any, config: PreTrainedConfig) -> PreTrainedModel:
    """
    Build a model without memory for its weights, to see what they are called.

    Args:
        model_class (`type`): The class.
        config (`PreTrainedConfig`): Its config, which is not changed.

    Returns:
        `PreTrainedModel`: On the device `meta`.
    """
    with torch.device("meta"):
        skeleton: PreTrainedModel = model_class(copy.deepcopy(config))
    return skeleton


def own_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """
    All weights of a model that are not tied to others of it.

    Args:
        model (`PreTrainedModel`): The model.

    Returns:
        `dict[str, torch.Tensor]`: Name -> weight, detached.
    """
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: value for name, value in model.state_dict().items() if name not in tied}


def place(
    native: PreTrainedModel, layout: NativeLayout, roles: Mapping[str, str], backbone: Collection[str]
) -> Placement | None:
    """
    Find where the weights of a native model come from.

    Args:
        native (`PreTrainedModel`): The native model, or its skeleton.
        layout ([`NativeLayout`]): The layout that it may have.
        roles (`Mapping[str, str]`): For each role the part of the head.
        backbone (`Collection[str]`): Names of the weights of the backbone's model.

    Returns:
        [`Placement`], or None if the native model lacks a module of the layout.
    """
    prefix = native.base_model_prefix
    modules = {role: name.format(base=prefix) for role, name in layout.modules.items()}
    names = own_weights(native)
    known = {*names, *(module for module, _ in native.named_modules())}
    # a bias that a config has switched off is a bias of 0
    if any(role != "bias" and name not in known for role, name in modules.items()):
        return None
    of_backbone, of_head, strangers = {}, {}, []
    for name in names:
        role = next((role for role, module in modules.items() if f"{name}.".startswith(f"{module}.")), None)
        within = name.removeprefix(f"{prefix}.")
        if role is not None and role in roles:
            of_head[name] = roles[role] + name.removeprefix(modules[role])
        elif role is None and (name in backbone or within in backbone):
            of_backbone[name] = name if name in backbone else within
        else:
            strangers.append(name)
    return Placement(of_backbone, of_head, strangers)


def describe_difference(label: str, placement: Placement, difference: float) -> str:
    """
    Say that logits differ, and what may be the reason.

    Args:
        label (`str`): Name of the native class.
        placement ([`Placement`]): Where its weights come from.
        difference (`float`): The largest difference (share of the largest logit).

    Returns:
        `str`: A sentence.

    Example:
        >>> describe_difference("BertForMultipleChoice", Placement({}, {}, ["bert.pooler.dense.weight"]), 0.25)
        'BertForMultipleChoice has bert.pooler.dense.weight, which nothing of the head stands for: their logits differ
        by 2.5e-01 of the largest.'
    """
    reason = ""
    if placement.strangers:
        reason = f" has {', '.join(placement.strangers)}, which nothing of the head stands for:"
    reason = reason or " answers otherwise than the head:"
    return f"{label}{reason} their logits differ by {difference:.1e} of the largest."
