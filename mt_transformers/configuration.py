"""The config of a multi-task model: a backbone's config and one for each head."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Collection, Mapping
from dataclasses import field, fields
from difflib import get_close_matches
from keyword import iskeyword
from typing import Any, ClassVar, Literal, get_args

from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from .backbone import describe_backbone
from .errors import InputError, check_known
from .heads import BackboneInfo, HeadConfig, get_head_class, get_head_config

__all__ = ["LossReduction", "MultiTaskConfig", "check_loss_settings", "check_name"]

LossReduction = Literal["per_head", "per_row"]

_WRITTEN_BY_TRANSFORMERS = {
    "_commit_hash",
    "_name_or_path",
    "attn_implementation",
    "auto_map",
    "bos_token_id",
    "eos_token_id",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "pad_token_id",
    "quantization_config",
    "torch_dtype",
    "use_cache",
}


def check_name(name: str, what: str) -> None:
    """
    Refuse a name that cannot become part of a parameter's, a metric's or an argument's name.

    Args:
        name (`str`): The name.
        what (`str`): What it names, for the message.

    Raises:
        InputError: If it is no identifier, or a Python keyword.

    Example:
        >>> check_name("../intent", "head")
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: head '../intent': expected an identifier (letters, digits and underscores).
    """
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
        raise InputError(f"{what} {name!r}: expected an identifier (letters, digits and underscores).")


def check_loss_settings(loss_weights: Mapping[str, Any], loss_reduction: str, heads: Collection[str]) -> None:
    """
    Refuse loss weights and reductions that cannot be.

    Args:
        loss_weights (`Mapping[str, Any]`): Weight of each head's loss.
        loss_reduction (`str`): `per_head` or `per_row`.
        heads (`Collection[str]`): Names of the heads.

    Raises:
        InputError: If a weight is for no head, or no finite number from 0 up; or the reduction is unknown.
    """
    check_known(loss_weights, heads, "loss_weights", "head")
    for name, weight in loss_weights.items():
        if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
            raise InputError(f"loss_weights: expected a finite number from 0 up for head {name!r}, found {weight!r}.")
    if loss_reduction not in get_args(LossReduction):
        expected = ", ".join(get_args(LossReduction))
        raise InputError(f"loss_reduction: expected one of {expected}, found {loss_reduction!r}.")


class MultiTaskConfig(PreTrainedConfig):
    """
    Config of a [`MultiTaskModel`]: everything that its construction needs.

    Args:
        backbone_config (`PreTrainedConfig` or `dict`): Config of any `AutoModel`; a dict has a `model_type`.
        heads (`dict[str, dict]`): For each head's name its fields, `head_type` among them.
        loss_weights (`dict[str, float]`, *optional*): Weight of each head's loss, 1 where none is given.
        loss_reduction (`str`, *optional*, defaults to `"per_head"`):
            `per_head`: a head's loss is the mean over its labelled items of the optimizer step. `per_row`: that mean
            times the head's share of the step's rows.
        tasks (`dict[str, list[str]]`, *optional*):
            For each task the heads that its rows go to. Without it each head is a task of its own name.
        arg_name_mapping (`dict[str, dict[str, str]]`, *optional*):
            For `backbone` or a head: how an argument of the model is called there.
        allowed_arguments (`dict[str, list[str]]`, *optional*):
            For `backbone` or a head: the arguments it gets, where its signature does not tell.

    Raises:
        InputError: If a name is no identifier, clashes, or names no head; or a value cannot be used.

    Example:
        >>> from transformers import BertConfig
        >>> heads = {"intent": {"head_type": "sequence_classification", "id2label": ["PlayMusic", "GetWeather"]}}
        >>> config = MultiTaskConfig(backbone_config=BertConfig(), heads=heads)
        >>> config.heads["intent"]["pooling"], config.head_config("intent").num_labels
        ('mean', 2)
    """

    model_type = "multi_task"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    backbone_config: Any = None
    heads: dict[str, Any] = field(default_factory=dict)
    loss_weights: dict[str, float] = field(default_factory=dict)
    loss_reduction: LossReduction = "per_head"
    tasks: dict[str, list[str]] = field(default_factory=dict)
    arg_name_mapping: dict[str, dict[str, str]] = field(default_factory=dict)
    allowed_arguments: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.backbone_config, dict):
            self.backbone_config = _backbone_config(self.backbone_config)
        # PreTrainedConfig hands its own attention implementation down, also when it is None
        chosen = getattr(self.backbone_config, "_attn_implementation", None)
        super().__post_init__(**kwargs)
        if self.backbone_config is not None and kwargs.get("attn_implementation") is None:
            self.backbone_config._attn_implementation = chosen
        backbone = None if self.backbone_config is None else describe_backbone(self.backbone_config)
        self.heads = {name: _head_fields(name, values, backbone) for name, values in (self.heads or {}).items()}
        self.loss_weights = dict(self.loss_weights or {})
        self.tasks = {name: list(heads) for name, heads in (self.tasks or {}).items()}
        self.arg_name_mapping = {name: dict(mapping) for name, mapping in (self.arg_name_mapping or {}).items()}
        self.allowed_arguments = {name: sorted(allowed) for name, allowed in (self.allowed_arguments or {}).items()}
        self._check_outputs()
        self._check_references()

    def _check_outputs(self) -> None:
        owners: dict[str, str] = {}
        for name, head in self.heads.items():
            for key in get_head_class(head["head_type"]).config_class.output_names:
                owner = owners.setdefault(f"{name}_{key}", name)
                if owner != name:
                    raise InputError(f"heads {owner!r} and {name!r} collide: both would put out {name}_{key!s}.")

    def _check_references(self) -> None:
        heads = self.heads
        components = ["backbone", *heads]
        check_loss_settings(self.loss_weights, self.loss_reduction, list(heads))
        for task_name, task_heads in self.tasks.items():
            check_name(task_name, "task")
            check_known(task_heads, heads, f"task {task_name!r}", "head")
        check_known(self.arg_name_mapping, components, "arg_name_mapping", "component")
        check_known(self.allowed_arguments, components, "allowed_arguments", "component")

    def head_config(self, name: str) -> HeadConfig:
        """The config of one head, as an object of its head type's class (a copy)."""
        check_known([name], self.heads, "config", "head")
        return get_head_config(name, self.heads[name])

    @property
    def keys_to_ignore_at_inference(self) -> list[str]:
        """Outputs that are no predictions, for `transformers.Trainer`."""
        outputs = describe_backbone(self.backbone_config).hidden_sizes if self.backbone_config is not None else {}
        ignored = [name for output in outputs for name in (output, f"{output}_mask")]
        of_heads = [f"{name}_{key}" for name in self.heads for key in ("loss", "row_losses", "rows")]
        return [*ignored, "token_ids", *of_heads]

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        """The text config of the backbone, which has the vocabulary's size."""
        inner: PreTrainedConfig | None = self.backbone_config
        return self if inner is None else inner.get_text_config(*args, **kwargs)

    def to_json_string(self, use_diff: bool = True) -> str:
        """As `PreTrainedConfig.to_json_string`, with heads and tasks in their own order, by which indices count."""
        values = json.loads(super().to_json_string(use_diff))
        for name in ("heads", "tasks"):
            if name in values:
                values[name] = {key: values[name][key] for key in getattr(self, name)}
        if os.path.isabs(str((values.get("backbone_config") or {}).get("_name_or_path", ""))):
            # a folder of this machine says nothing to others
            del values["backbone_config"]["_name_or_path"]
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """
        Build a config from what a file says; keys that this version does not know are left out with one warning.

        Args:
            config_dict (`dict[str, Any]`): Contents of a `config.json`.
            kwargs (`Any`): As `PreTrainedConfig.from_dict` takes them.

        Returns:
            [`MultiTaskConfig`]: The config.
        """
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type != cls.model_type:
            raise InputError(
                f"the config is that of a {model_type!r} model, not of a multi-task model: "
                "MultiTaskModel.from_backbone puts heads on it."
            )
        known = {each.name for each in fields(cls)} | _WRITTEN_BY_TRANSFORMERS
        unknown = [key for key in config_dict if key not in known]
        kept = {key: value for key, value in config_dict.items() if key in known}
        kept["heads"] = {}
        for name, head in (config_dict.get("heads") or {}).items():
            known_fields = ["head_type", *get_head_class(head.get("head_type", "")).config_class.field_names()]
            unknown += [f"heads.{name}.{key}" for key in head if key not in known_fields]
            kept["heads"][name] = {key: value for key, value in head.items() if key in known_fields}
        if unknown:
            warnings.warn(
                f"The config has keys that this version of mt_transformers does not know, they are left out: "
                f"{', '.join(unknown)}. It was written by a newer version.",
                stacklevel=2,
            )
        return super().from_dict(kept, **kwargs)


def _head_fields(name: str, values: HeadConfig | dict[str, Any], backbone: BackboneInfo | None) -> dict[str, Any]:
    """The fields of a head, with all that follows from the backbone."""
    check_name(name, "head")
    if name == "backbone" or name == "encoded" or name.startswith("encoded_"):
        raise InputError(f"head {name!r}: the name is taken by the backbone.")
    if hasattr(nn.ModuleDict, name):
        raise InputError(f"head {name!r}: the name collides with an attribute of torch modules, choose another.")
    head_config = get_head_config(name, values)
    if backbone is not None:
        try:
            head_config.resolve(backbone)
        except InputError as error:
            raise InputError(f"head {name!r}: {error}") from error
    return head_config.to_dict()


def _backbone_config(values: dict[str, Any]) -> PreTrainedConfig:
    """The config of the backbone from its dict, which carries its own `model_type`."""
    if "model_type" not in values:
        raise InputError("backbone_config: expected a model_type, as every config.json of transformers has it.")
    if values["model_type"] not in CONFIG_MAPPING:
        near = get_close_matches(str(values["model_type"]), list(CONFIG_MAPPING), n=1)
        hint = f", did you mean {near[0]!r}?" if near else "."
        raise InputError(f"backbone_config: unknown model_type {values['model_type']!r}{hint}")
    rest = {key: value for key, value in values.items() if key != "model_type"}
    config: PreTrainedConfig = AutoConfig.for_model(values["model_type"], **rest)
    return config
