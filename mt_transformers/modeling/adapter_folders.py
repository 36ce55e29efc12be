"""Folders with adapters and heads, without the backbone they belong to."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from transformers import AutoConfig
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..backbone.info import find_vocab_size
from ..configuration import MultiTaskConfig
from ..errors import InputError
from .adapters import base_model, check_installed, share_task_heads, task_adapter_name
from .model import MultiTaskModel

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["find_adapters", "load_adapted_model", "load_adapters", "save_adapters"]

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def save_adapters(adapted: PeftModel, folder: str | os.PathLike[str]) -> None:
    """
    Save adapters with their heads, and the model's config: all that [`load_adapted_model`] needs beside the backbone.

    The files are those of `PeftModel.save_pretrained`, and `config.json`. Each appears whole or not at all.

    Args:
        adapted (`PeftModel`): The model.
        folder (`str`): The folder. An adapter that is not called `default` gets one in it.
    """
    target = Path(folder)
    unfinished = target / f".unfinished-{os.getpid()}"
    adapted.save_pretrained(str(unfinished))
    base_model(adapted).config.save_pretrained(unfinished)
    for file in sorted(each for each in unfinished.rglob("*") if each.is_file()):
        place = target / file.relative_to(unfinished)
        place.parent.mkdir(exist_ok=True)
        os.replace(file, place)
    shutil.rmtree(unfinished)


def find_adapters(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """
    Find the adapters in a folder.

    Args:
        folder (`str`): The folder.

    Returns:
        `dict[str, Path]`: For each adapter's name its folder; nothing if there is none.

    Example:
        >>> find_adapters("no such folder")
        {}
    """
    top = Path(folder)
    found = {"default": top} if (top / CONFIG_FILE).is_file() else {}
    inner = [path.parent for path in sorted(top.glob(f"*/{CONFIG_FILE}"))]
    # a folder that was trained into may hold checkpoints
    return found | {path.name: path for path in inner if not path.name.startswith((PREFIX_CHECKPOINT_DIR, "."))}


def load_adapted_model(
    folder: str | os.PathLike[str], base: str | None = None, is_trainable: bool = False, **kwargs: Any
) -> PeftModel:
    """
    Load adapters and their heads onto the backbone that they were trained on.

    Args:
        folder (`str`): A folder of [`save_adapters`] or [`MultiTaskTrainer.save_model`].
        base (`str`, *optional*):
            The backbone, or a multi-task model, by its name on the hub or its folder. Defaults to what the adapters
            were put on.
        is_trainable (`bool`, *optional*, defaults to `False`): Whether to go on training them.
        kwargs (`Any`): For `AutoModel.from_pretrained`, or [`MultiTaskModel.from_pretrained`].

    Returns:
        `PeftModel`: In evaluation mode, with the adapter, or one for each task.

    Raises:
        InputError: If there are no adapters, a head has no weights there, or the backbone is not the one.
    """
    adapters = find_adapters(folder)
    if not adapters:
        raise InputError(f"{folder}: no adapter is there, expected {CONFIG_FILE}.")
    check_installed()
    if not (Path(folder) / "config.json").is_file():
        raise InputError(
            f"{folder}: config.json is missing, which says what heads there are: save the model with save_adapters, "
            "or build it with MultiTaskModel.from_backbone and load the adapter with PeftModel.from_pretrained."
        )
    for path in adapters.values():
        # peft would go on to files that are unpickled
        if not (path / WEIGHTS_FILE).is_file():
            raise InputError(f"{path}: {WEIGHTS_FILE} is missing.")
    config = MultiTaskConfig.from_pretrained(folder)
    model = _load_base(base or _base_name(next(iter(adapters.values()))), config, kwargs)
    of_tasks = [task_adapter_name(task) for task in config.tasks or config.heads]
    adapted: Any = None
    for name in sorted(adapters, key=lambda name: of_tasks.index(name) if name in of_tasks else -1):
        adapted = _load_adapter(adapted, model, name, adapters[name], is_trainable)
    if set(of_tasks).intersection(adapters):
        share_task_heads(adapted, is_trainable)
    adapted.eval()
    loaded: PeftModel = adapted
    return loaded


def _load_adapter(adapted: Any, model: MultiTaskModel, name: str, path: Path, is_trainable: bool) -> Any:
    """The model with one more adapter."""
    from peft import PeftModel

    try:
        if adapted is None:
            adapted = PeftModel.from_pretrained(model, str(path), adapter_name=name, is_trainable=is_trainable)
        else:
            adapted.load_adapter(str(path), adapter_name=name, is_trainable=is_trainable)
    except KeyError as error:
        raise InputError(f"{path}: weights of a head are missing, such as {error}.") from error
    except (RuntimeError, SafetensorError) as error:
        raise InputError(f"{path / WEIGHTS_FILE} does not fit the model: {error}") from error
    _check_complete(adapted, name, path)
    return adapted


def load_adapters(adapted: PeftModel, folder: str | os.PathLike[str]) -> None:
    """
    Load the weights of adapters and heads into a model that has them, such as those of a checkpoint.

    Args:
        adapted (`PeftModel`): The model; what is trained in it stays so.
        folder (`str`): The folder.

    Raises:
        InputError: If an adapter of the model is not there.
    """
    from peft import load_peft_weights, set_peft_model_state_dict

    found = find_adapters(folder)
    for name in adapted.peft_config:
        if name not in found or not (found[name] / WEIGHTS_FILE).is_file():
            raise InputError(f"{folder}: the adapter {name!r} is missing.")
        _check_complete(adapted, name, found[name])
        weights = load_peft_weights(str(found[name]), device="cpu")
        set_peft_model_state_dict(adapted, weights, adapter_name=name)


def _base_name(path: Path) -> str:
    """What an adapter was put on."""
    values = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
    name = values.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: the adapter was put on a backbone without a name, give it as base.")
    return name


def _load_base(name: str, config: MultiTaskConfig, kwargs: dict[str, Any]) -> MultiTaskModel:
    """The model without its adapters; heads that belong to them have random weights."""
    try:
        found = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"base: {name!r} cannot be loaded: {error}") from error
    inner = found.backbone_config if isinstance(found, MultiTaskConfig) else found
    expected = config.backbone_config
    for what in ("model_type", "hidden_size", "num_hidden_layers"):
        if getattr(inner, what, None) != getattr(expected, what, None):
            raise InputError(
                f"base: {name!r} has {what} {getattr(inner, what, None)}, the adapters were trained on "
                f"{getattr(expected, what, None)}."
            )
    if find_vocab_size(inner) != find_vocab_size(expected):
        raise InputError(
            f"base: {name!r} has a vocabulary of {find_vocab_size(inner)}, the adapters were trained on one of "
            f"{find_vocab_size(expected)}: give the resized model, saved before the adapters were added, as base."
        )
    if isinstance(found, MultiTaskConfig):
        loaded: MultiTaskModel = MultiTaskModel.from_pretrained(name, config=config, init_missing_heads=True, **kwargs)
        return loaded
    return MultiTaskModel.from_backbone(
        name,
        heads=config.heads,
        loss_weights=config.loss_weights,
        loss_reduction=config.loss_reduction,
        tasks=config.tasks,
        arg_name_mapping=config.arg_name_mapping,
        allowed_arguments=config.allowed_arguments,
        **{"dtype": config.dtype, **kwargs},
    )


def _check_complete(adapted: PeftModel, name: str, path: Path) -> None:
    """Refuse a file that lacks weights of the adapter or its heads, of which peft says nothing."""
    from peft import get_peft_model_state_dict

    try:
        with safe_open(path / WEIGHTS_FILE, framework="pt") as file:
            found = set(file.keys())
    except SafetensorError as error:
        raise InputError(f"{path / WEIGHTS_FILE}: {error}") from error
    # that the vocabulary is the backbone's, for which peft would look into its folder, is checked already
    expected = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)
    missing = sorted(set(expected) - found)
    if missing:
        raise InputError(f"{path / WEIGHTS_FILE}: {len(missing)} weights are missing, such as {missing[0]}.")
