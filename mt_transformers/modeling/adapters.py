"""peft's adapters in the backbone, with the heads trained beside them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from transformers.utils import is_peft_available

from ..errors import InputError, check_known
from .adapted_heads import HEADS_PREFIX, check_kind, choose_heads
from .head_dict import HeadDict
from .model import MultiTaskModel

if TYPE_CHECKING:
    from peft import LoraConfig, PeftConfig, PeftModel

__all__ = [
    "add_task_adapters",
    "base_model",
    "check_installed",
    "complete_peft_config",
    "get_peft_model",
    "merge_adapters",
    "share_task_heads",
    "task_adapter_name",
]


def get_peft_model(
    model: MultiTaskModel, peft_config: PeftConfig, adapter_name: str = "default", **kwargs: Any
) -> PeftModel:
    """
    Put an adapter into the backbone; beside it the heads are trained and saved.

    `peft.get_peft_model` does so too. This one also knows the target modules of the backbone's model type, looks for
    modules that are named in the backbone alone, and leaves the config that it was given as it is.

    Args:
        model ([`MultiTaskModel`]): The model, which is changed.
        peft_config (`PeftConfig`):
            A `LoraConfig` or another with `modules_to_save`. Heads that it names there are the ones that belong to
            the adapter, all if it names none.
        adapter_name (`str`, *optional*, defaults to `"default"`): The adapter's name.
        kwargs (`Any`): For `peft.get_peft_model`.

    Returns:
        `PeftModel`: The model with the adapter. The backbone's own weights are frozen.

    Raises:
        InputError: If peft is missing, or the config does not fit the model.

    Example:
        >>> from peft import LoraConfig
        >>> from transformers import BertConfig
        >>> from mt_transformers import MultiTaskConfig
        >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
        >>> heads = {"intent": {"head_type": "sequence_classification", "num_labels": 3}}
        >>> model = MultiTaskModel(MultiTaskConfig(backbone_config=bert, heads=heads))
        >>> adapted = get_peft_model(model, LoraConfig(r=2))
        >>> sorted(adapted.peft_config["default"].target_modules), adapted.peft_config["default"].modules_to_save
        (['query', 'value'], ['heads.intent'])
    """
    check_installed()
    import peft

    adapted: PeftModel = peft.get_peft_model(
        model, complete_peft_config(model, peft_config), adapter_name=adapter_name, **kwargs
    )
    return adapted


def check_installed() -> None:
    """
    Refuse to go on without peft.

    Raises:
        InputError: If it is not installed, saying how to install it.
    """
    if not is_peft_available():
        raise InputError('peft is not installed: pip install "mt_transformers[peft]".')


def complete_peft_config(
    model: MultiTaskModel, peft_config: PeftConfig, heads: Iterable[str] | None = None
) -> PeftConfig:
    """
    Complete the config of an adapter, for `PeftModel.add_adapter` as well.

    Args:
        model ([`MultiTaskModel`]): The model, or the `PeftModel` around it.
        peft_config (`PeftConfig`): The config.
        heads (`Iterable[str]`, *optional*):
            Names of the heads that belong to the adapter. By default those that the config names, all if none.

    Returns:
        `PeftConfig`: A copy with target modules, the heads among `modules_to_save`, and all heads among
        `exclude_modules`.

    Raises:
        InputError: If the config does not fit the model.
    """
    check_kind(peft_config)
    base = base_model(model)
    completed: Any = copy.deepcopy(peft_config)
    completed.base_model_name_or_path = None
    listed = list(completed.modules_to_save or [])
    chosen = choose_heads(listed, base.heads) if heads is None else list(heads)
    check_known(chosen, list(base.heads), "modules_to_save", "head")
    others = [each for each in listed if each.removeprefix(HEADS_PREFIX) not in base.heads]
    if "heads" in others:
        raise InputError("modules_to_save: expected names of heads, such as 'heads.intent', found 'heads'.")
    completed.modules_to_save = [*others, *(f"{HEADS_PREFIX}{name}" for name in chosen)]
    _complete_targets(completed, base.backbone.info.model_type)
    if hasattr(completed, "exclude_modules"):
        completed.exclude_modules = _excluding_heads(completed.exclude_modules)
    return cast("PeftConfig", completed)


def _complete_targets(peft_config: Any, model_type: str) -> None:
    """The target modules of the backbone, which peft looks up by the type of the whole model."""
    from peft import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as TARGETS

    if hasattr(peft_config, "feedforward_modules"):
        found = {"target_modules": TARGETS, "feedforward_modules": FEEDFORWARD}
    else:
        tuner: Any = PEFT_TYPE_TO_TUNER_MAPPING[peft_config.peft_type]
        found = {"target_modules": getattr(tuner, "target_module_mapping", None) or {}}
    for name, by_type in found.items():
        if getattr(peft_config, name, None) is not None or getattr(peft_config, "target_parameters", None):
            continue
        if model_type not in by_type:
            raise InputError(
                f"{name}: peft knows none for a {model_type!r} backbone and {type(peft_config).__name__}: name layers "
                "of the backbone, or take all (target_modules='all-linear')."
            )
        modules: Any = by_type[model_type]
        setattr(peft_config, name, modules if isinstance(modules, str) else set(modules))


def _excluding_heads(given: Any) -> str:
    """A pattern for what is excluded already, and all in the heads."""
    own = rf"{re.escape(HEADS_PREFIX)}.*"
    if not given:
        return own
    if isinstance(given, str):
        return f"{own}|(?:{given})"
    return f"{own}|(?:.*\\.)?(?:{'|'.join(re.escape(each) for each in sorted(given))})"


def base_model(model: MultiTaskModel | PeftModel) -> MultiTaskModel:
    """
    The multi-task model, which peft may have put into a model of its own.

    Args:
        model ([`MultiTaskModel`] or `PeftModel`): The model.

    Returns:
        [`MultiTaskModel`].

    Raises:
        InputError: If it is neither.
    """
    found: Any = model
    if not isinstance(found, MultiTaskModel) and hasattr(found, "get_base_model"):
        found = found.get_base_model()
    if not isinstance(found, MultiTaskModel):
        raise InputError(f"expected a multi-task model, or peft's model around one, found {type(model).__name__}.")
    return found


def add_task_adapters(model: MultiTaskModel, peft_config: LoraConfig | Mapping[str, LoraConfig]) -> PeftModel:
    """
    Give tasks an adapter each, on one backbone; a batch may have rows of all of them.

    From then on the model has to be told the `task` of each row: `model(**inputs, task=["snips", "banking77"])`
    encodes each row with the adapter of its task, in training too. Rows of tasks without an adapter are encoded by
    the backbone alone. A head that is fed by several tasks is one head, which reads each row as its task encodes it.

    Args:
        model ([`MultiTaskModel`]): The model, which is changed. Tasks are those of its config, `tasks`.
        peft_config (`LoraConfig` or `Mapping[str, LoraConfig]`): The adapters' config, or one for each task.

    Returns:
        `PeftModel`: The model with an adapter `task_<task>` for each task, all of which are trained.

    Raises:
        InputError: If peft is missing, a task is unknown, or a config is none of LoRA's that can be mixed in a batch.

    Example:
        >>> import torch
        >>> from peft import LoraConfig
        >>> from transformers import BertConfig
        >>> from mt_transformers import MultiTaskConfig
        >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
        >>> head = {"head_type": "sequence_classification", "num_labels": 3}
        >>> tasks = {"snips": ["intent"], "banking77": ["banking"]}
        >>> config = MultiTaskConfig(backbone_config=bert, heads={"intent": head, "banking": head}, tasks=tasks)
        >>> adapted = add_task_adapters(MultiTaskModel(config), LoraConfig(r=2))
        >>> adapted(input_ids=torch.tensor([[1, 2], [3, 4]]), task=["banking77", "snips"])["intent_rows"]
        tensor([1])
    """
    tasks = model.config.tasks or {name: [name] for name in model.heads}
    configs = peft_config if isinstance(peft_config, Mapping) else dict.fromkeys(tasks, peft_config)
    check_known(configs, tasks, "adapters", "task")
    _check_mixable(configs)
    adapted: PeftModel | None = None
    for task, config in configs.items():
        completed = complete_peft_config(model, config, tasks[task])
        if adapted is None:
            adapted = get_peft_model(model, completed, task_adapter_name(task))
        else:
            adapted.add_adapter(task_adapter_name(task), completed)
    if adapted is None:
        raise InputError("adapters: expected a config for at least one task, found none.")
    share_task_heads(adapted, is_trainable=True)
    return adapted


def task_adapter_name(task: str) -> str:
    """
    Name of a task's adapter. Adapters that are called as a head, or a layer, would be mixed up with it in saved names.

    Args:
        task (`str`): The task.

    Returns:
        `str`: The name.
    """
    return f"task_{task}"


def _check_mixable(configs: Mapping[str, PeftConfig]) -> None:
    check_installed()
    from peft import LoraConfig

    for task, config in configs.items():
        kind = type(config).__name__
        if not isinstance(config, LoraConfig):
            raise InputError(
                f"task {task!r}: expected a LoraConfig, whose rows can be mixed in a batch, found {kind}."
            )
        if config.use_dora or config.bias != "none":
            raise InputError(f"task {task!r}: rows of adapters with use_dora or bias cannot be mixed in a batch.")


def share_task_heads(adapted: PeftModel, is_trainable: bool) -> None:
    """
    Make the adapters of all tasks one model: heads of several tasks are shared, all adapters are trained or none.

    Args:
        adapted (`PeftModel`): The model, with adapters as [`add_task_adapters`] names them.
        is_trainable (`bool`): Whether the adapters and their heads are trained.
    """
    model = base_model(adapted)
    tasks = model.config.tasks or model.heads
    names = {task: task_adapter_name(task) for task in tasks if task_adapter_name(task) in adapted.peft_config}
    for name in model.heads:
        copies: nn.ModuleDict = getattr(cast(HeadDict, model.heads).held(name), "modules_to_save", nn.ModuleDict())
        for adapter in copies:
            copies[adapter] = next(iter(copies.values()))
    adapted.set_requires_grad(list(names.values()), is_trainable)
    model.task_adapters = names


def merge_adapters(adapted: PeftModel) -> MultiTaskModel:
    """
    Merge the active adapter into the backbone; the heads stay as they were trained.

    As `merge_and_unload`, which for adapters other than LoRA's fails on heads with several layers (peft 0.21).

    Args:
        adapted (`PeftModel`): The model with the adapter, which is changed.

    Returns:
        [`MultiTaskModel`]: The model without adapters.

    Raises:
        InputError: If the model has an adapter for each task, which one backbone cannot be.
    """
    model = base_model(adapted)
    if model.task_adapters:
        raise InputError("the adapters of several tasks cannot be merged into one backbone.")
    for name in model.heads:
        model.heads[name] = model.heads[name]
    adapted.merge_and_unload()
    return model
