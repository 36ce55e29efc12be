"""Trained folders, loaded and checked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..data import load_processing
from ..errors import InputError
from ..modeling import MultiTaskModel, find_adapters, load_adapted_model
from .export import ExportedMultiTaskModel, is_exported, load_exported

__all__ = ["load_model", "load_trained_model"]


def load_model(folder: str | os.PathLike[str]) -> tuple[MultiTaskModel | ExportedMultiTaskModel, Any]:
    """
    Load a trained folder, or one that was exported to ONNX.

    Args:
        folder (`str`): The folder, or a name on the hub.

    Returns:
        `tuple[MultiTaskModel | ExportedMultiTaskModel, Any]`: Model, and the tokenizer or what else prepares its
        inputs.

    Raises:
        InputError: If it is no folder of a trained multi-task model or of an exported one.
    """
    return load_exported(folder) if is_exported(folder) else load_trained_model(folder)


def load_trained_model(folder: str | os.PathLike[str]) -> tuple[MultiTaskModel, Any]:
    """
    Load a trained folder; one of adapters is put on the backbone that they belong to.

    Args:
        folder (`str`): The folder, or a name on the hub.

    Returns:
        `tuple[MultiTaskModel, Any]`: Model, or the `PeftModel` around it, and the tokenizer or what else
        prepares its inputs.

    Raises:
        InputError: If it is no folder of a trained multi-task model.
    """
    if is_exported(folder):
        raise InputError(f"{folder}: an exported model, which only predicts. Name the trained folder it came from.")
    _check_folder(Path(folder))
    try:
        adapted = bool(find_adapters(folder))
        model: Any = load_adapted_model(folder) if adapted else MultiTaskModel.from_pretrained(folder)
        processing_class = load_processing(str(folder), model.backbone.output_names)
    except InputError as error:
        raise InputError(f"{folder}: {str(error).removeprefix(f'{folder}: ')}") from error
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: no trained multi-task model can be loaded from there: {error}") from error
    return model, processing_class


def _check_folder(folder: Path) -> None:
    """Refuse a folder whose config is none, which transformers answers with other errors each time."""
    if not folder.exists():
        return
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no trained multi-task model is there, its config.json: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{folder}: no trained multi-task model is there, its config.json is no object.")
