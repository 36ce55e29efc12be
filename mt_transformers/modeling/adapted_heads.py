"""What peft finds out about a multi-task model: its heads are trained and saved with every adapter."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from transformers import PreTrainedModel

from ..backbone import Backbone
from ..configuration import MultiTaskConfig
from ..errors import InputError
from .head_dict import HeadDict

if TYPE_CHECKING:
    from peft import PeftConfig

__all__ = ["HEADS_PREFIX", "AdaptedHeadsMixin", "check_kind", "choose_heads"]

HEADS_PREFIX = "heads."
"""What the names of the heads begin with among the model's modules."""


class AdaptedHeadsMixin(PreTrainedModel):
    """
    Adds what peft asks of a model with a `backbone` and `heads`.

    peft hands a model the configs of its adapters (`model.peft_config = ...`) after it has put the adapters in and
    frozen all else. This is where the heads get what peft gives modules in `modules_to_save`: a copy for the adapter,
    which is trained, saved, loaded and, on merging, kept.
    """

    backbone: Backbone
    heads: nn.ModuleDict
    config: MultiTaskConfig

    @property
    def peft_config(self) -> dict[str, Any]:
        """The configs of peft's adapters by name; there is none before the model has adapters."""
        if "_peft_configs" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'peft_config'")
        configs: dict[str, Any] = vars(self)["_peft_configs"]
        return configs

    @peft_config.setter
    def peft_config(self, configs: dict[str, Any]) -> None:
        heads = cast(HeadDict, self.heads)
        for adapter_name, peft_config in configs.items():
            check_kind(peft_config)
            _keep_adapters_out(heads)
            peft_config.modules_to_save = _listed(peft_config.modules_to_save, heads)
            _hold(heads, adapter_name, peft_config)
            if peft_config.base_model_name_or_path is None:
                # what an adapter without its backbone is loaded on
                peft_config.base_model_name_or_path = self.backbone.model.config._name_or_path or None
        vars(self)["_peft_configs"] = configs

    @peft_config.deleter
    def peft_config(self) -> None:
        vars(self).pop("_peft_configs", None)
        if vars(self).pop("task_adapters", None):
            raise InputError("the adapters of several tasks cannot be merged into one backbone; they are taken out.")

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers run again for their gradients; peft (0.21) asks, transformers (5.23) warns of the name."""
        return any(getattr(each, "gradient_checkpointing", False) for each in self.modules())


def check_kind(peft_config: PeftConfig) -> None:
    """
    Refuse configs of peft under which heads are not trained as they should be.

    Args:
        peft_config (`PeftConfig`): The config of an adapter.

    Raises:
        InputError: If the config is for one kind of task, for prompts, or of a kind that trains no other modules.
    """
    kind = type(peft_config).__name__
    if peft_config.is_prompt_learning or not hasattr(peft_config, "modules_to_save"):
        raise InputError(
            f"peft: {kind} cannot train heads beside its own parameters: expected one with modules_to_save, such as "
            "LoraConfig."
        )
    if peft_config.task_type is not None:
        raise InputError(
            f"peft: task_type is for models with one head, found {peft_config.task_type!r}: leave it out of {kind}."
        )


def choose_heads(modules_to_save: Collection[str] | None, heads: Iterable[str]) -> list[str]:
    """
    Find the heads that belong to an adapter.

    Args:
        modules_to_save (`Collection[str]`, *optional*): What the adapter's config says.
        heads (`Iterable[str]`): Names of all heads.

    Returns:
        `list[str]`: The heads that it names, as `intent` or `heads.intent`; all if it names none.

    Example:
        >>> choose_heads(["pooler"], ["intent", "slots"]), choose_heads(["heads.slots"], ["intent", "slots"])
        (['intent', 'slots'], ['slots'])
    """
    listed, known = set(modules_to_save or ()), list(heads)
    named = [name for name in known if name in listed or f"{HEADS_PREFIX}{name}" in listed]
    return named or known


def _listed(modules_to_save: Collection[str] | None, heads: HeadDict) -> list[str]:
    chosen = choose_heads(modules_to_save, heads)
    others = [each for each in modules_to_save or () if each.removeprefix(HEADS_PREFIX) not in heads]
    return [*others, *(f"{HEADS_PREFIX}{name}" for name in chosen)]


def _keep_adapters_out(heads: HeadDict) -> None:
    """Take adapters out of heads again, whose layers peft may have taken for the backbone's."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = [name for name, each in heads.named_modules() if isinstance(each, BaseTunerLayer)]
    for name in found:
        parent, _, child = name.rpartition(".")
        layer: Any = heads.get_submodule(name)
        setattr(heads.get_submodule(parent), child, layer.get_base_layer())


def _hold(heads: HeadDict, adapter_name: str, peft_config: Any) -> None:
    """Give an adapter a copy of each of its heads, unless peft has done so."""
    from peft.utils import ModulesToSaveWrapper

    for name in choose_heads(peft_config.modules_to_save, heads):
        held: nn.Module = heads.held(name)
        if not isinstance(held, ModulesToSaveWrapper):
            held = ModulesToSaveWrapper(held, adapter_name)
            heads[name] = held
        elif adapter_name in held.modules_to_save:
            continue
        held.update(adapter_name)
        held.set_adapter(adapter_name, inference_mode=peft_config.inference_mode)
