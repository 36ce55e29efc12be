"""Folders of exported models: what they say of themselves, and how they are written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ...configuration import MultiTaskConfig
from ...data import Processing
from ...errors import InputError
from ...modeling import MultiTaskModel
from ...version import __version__
from ...whole_files import swap_folder

__all__ = [
    "COMPARISON_FILE",
    "HEADS_FILE",
    "MANIFEST_FILE",
    "ExportManifest",
    "check_target",
    "is_exported",
    "read_manifest",
    "write_export",
]

MANIFEST_FILE = "multi_task_export.json"
"""The file by which an exported folder is known."""

HEADS_FILE = "heads.safetensors"
"""Weights of the heads, for decoding: a CRF's transitions, the scores of relations."""

COMPARISON_FILE = "comparison.json"
"""Metrics of the model and of what was exported from it, where they were computed."""

_FORMAT_VERSION = 1
_PACKAGES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class ExportManifest:
    """
    What an exported folder says of itself.

    Args:
        format_version (`int`): Version of the folder's layout.
        export_format (`str`): `onnx` or `dynamo`.
        quantized (`bool`): Whether weights are int8.
        max_positions (`int`, *optional*): Length of the longest text that the backbone reads (tokens).
        versions (`dict[str, str]`): Versions of the packages that made it.
        files (`list[str]`): Names of its files, itself left out.
    """

    format_version: int
    export_format: str
    quantized: bool
    max_positions: int | None
    versions: dict[str, str]
    files: list[str]


def is_exported(folder: str | os.PathLike[str]) -> bool:
    """
    Tell whether a folder is that of an exported model.

    Args:
        folder (`str`): The folder.

    Returns:
        `bool`: Whether it has a manifest, be it readable or not.
    """
    return (Path(folder) / MANIFEST_FILE).is_file()


def read_manifest(folder: str | os.PathLike[str]) -> ExportManifest:
    """
    Read what an exported folder says of itself.

    Args:
        folder (`str`): The folder.

    Returns:
        [`ExportManifest`].

    Raises:
        InputError: If it cannot be read, or a newer version wrote it.
    """
    path = Path(folder) / MANIFEST_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    found = values.get("format_version") if isinstance(values, dict) else None
    if type(found) is not int or found < 1:
        raise InputError(f"{path}: expected the description of an exported model, found none.")
    if found > _FORMAT_VERSION:
        raise InputError(
            f"{folder}: exported in format {found}, this version of mt_transformers ({__version__}) reads formats up "
            f"to {_FORMAT_VERSION}: update it, or export the model again."
        )
    missing = [each.name for each in fields(ExportManifest) if each.name not in values]
    if missing:
        raise InputError(f"{path}: expected {', '.join(missing)}, found {', '.join(values)}.")
    return ExportManifest(**{each.name: values[each.name] for each in fields(ExportManifest)})


def check_target(folder: str | os.PathLike[str]) -> None:
    """
    Refuse to write where something else than an earlier export is.

    Args:
        folder (`str`): The folder that is to be written.

    Raises:
        InputError: If it is there and neither empty nor an export to which nothing was added, or there is no parent.
    """
    target = Path(folder)
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: cannot be written: there is no folder {target.absolute().parent}.")
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target}: cannot be written: it is a file.")
    found = {each.name for each in target.iterdir()}
    if not found:
        return
    if MANIFEST_FILE not in found:
        raise InputError(f"{target}: not overwritten: it holds files and is no earlier export. Name another folder.")
    added = sorted(found - {MANIFEST_FILE, COMPARISON_FILE, *read_manifest(target).files})
    if added:
        raise InputError(f"{target}: not overwritten: it holds {added[0]!r}, which is no part of an earlier export.")


@contextmanager
def write_export(
    folder: str | os.PathLike[str],
    model: MultiTaskModel,
    processing_class: Any,
    config: MultiTaskConfig,
    **manifest: Any,
) -> Iterator[Path]:
    """
    Write an exported folder under a temporary name and give it its own when all was written.

    Args:
        folder (`str`): The folder; an earlier export there is replaced.
        model ([`MultiTaskModel`]): The model whose graph the caller writes.
        processing_class (`Any`): Its tokenizer or processor.
        config ([`MultiTaskConfig`]): Its config, of the exported heads only.
        manifest (`Any`): `export_format` and `quantized` of [`ExportManifest`].

    Yields:
        `Path`: The folder under its temporary name, for the graph.

    Raises:
        InputError: If [`check_target`] refuses the folder.
    """
    check_target(folder)
    target = Path(folder).absolute()
    unfinished, replaced = (target.with_name(f".{target.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    try:
        unfinished.mkdir()
        yield unfinished
        _write_parts(unfinished, model, processing_class, config)
        _write_manifest(unfinished, model.backbone.max_positions, **manifest)
        swap_folder(unfinished, target, replaced)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _write_parts(folder: Path, model: MultiTaskModel, processing_class: Any, config: MultiTaskConfig) -> None:
    """The config, what prepares inputs, and the heads' weights."""
    config.save_pretrained(folder)
    if isinstance(processing_class, Processing):
        processing_class = processing_class.tokenizer or processing_class.image_processor
    processing_class.save_pretrained(folder)
    state = {
        f"{name}.{key}": value.detach().to("cpu").contiguous().clone()
        for name in config.heads
        for key, value in model.named_heads[name].state_dict().items()
    }
    save_file(state, folder / HEADS_FILE)


def _write_manifest(folder: Path, max_positions: int | None, **manifest: Any) -> None:
    files = sorted(each.name for each in folder.iterdir())
    versions = {"mt_transformers": __version__} | {name: version(name) for name in _PACKAGES}
    found = ExportManifest(
        format_version=_FORMAT_VERSION, max_positions=max_positions, versions=versions, files=files, **manifest
    )
    (folder / MANIFEST_FILE).write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
