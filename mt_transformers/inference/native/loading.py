"""Fine-tuned models of transformers, loaded by transformers, and what they were fine-tuned for."""

from __future__ import annotations

from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from ...errors import InputError
from .tasks import TASKS, NativeTask

__all__ = ["find_native_task", "load_native", "read_config"]


def find_native_task(class_name: str, config: PreTrainedConfig) -> NativeTask:
    """
    Find what a native model is for.

    Args:
        class_name (`str`): Name of its class.
        config (`PreTrainedConfig`): Its config.

    Returns:
        [`NativeTask`].

    Raises:
        InputError: If no head of this package does that.

    Example:
        >>> from transformers import BertConfig
        >>> find_native_task("BertForTokenClassification", BertConfig()).name
        'token_classification'
    """
    classes = [(task, task.model_class(config)) for task in TASKS]
    names: dict[str, NativeTask] = {each.__name__: task for task, each in reversed(classes) if each is not None}
    if class_name in names:
        return names[class_name]
    known = ", ".join(sorted(names)) or "there is none"
    raise InputError(f"expected a {config.model_type!r} model with a head ({known}), found {class_name}.")


def read_config(source: str | PreTrainedModel) -> PreTrainedConfig:
    """
    Read the config of a fine-tuned model, before its weights are loaded.

    Args:
        source (`str` or `PreTrainedModel`): A folder, a name on the hub, or a model.

    Returns:
        `PreTrainedConfig`.

    Raises:
        InputError: If there is none, or it is that of no model with a head.
    """
    if isinstance(source, PreTrainedModel):
        find_native_task(type(source).__name__, source.config)
        return source.config
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{source}: no config of a fine-tuned model is there: {error}") from error
    find_native_task(_class_name(config), config)
    return config


def _class_name(config: PreTrainedConfig) -> str:
    """Name of the class that a model was saved as."""
    names = config.architectures or []
    if len(names) != 1:
        raise InputError(f"expected one class in the config's architectures, found {config.architectures}.")
    return names[0]


def load_native(name_or_path: str) -> PreTrainedModel:
    """
    Load a fine-tuned model as the class that it was saved as.

    Args:
        name_or_path (`str`): Name on the hub, or a folder; its weights are read from safetensors files only.

    Returns:
        `PreTrainedModel`: In evaluation mode, in the dtype that it was saved in.

    Raises:
        InputError: If it cannot be loaded, lacks weights, or is no model with a head.
    """
    config = read_config(name_or_path)
    model_class = find_native_task(_class_name(config), config).model_class(config)
    try:
        model, info = model_class.from_pretrained(name_or_path, use_safetensors=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{name_or_path}: no fine-tuned model can be loaded from there: {error}") from error
    if info["missing_keys"]:
        raise InputError(f"{name_or_path}: the checkpoint lacks {', '.join(sorted(info['missing_keys']))}.")
    native: PreTrainedModel = model.eval()
    return native
