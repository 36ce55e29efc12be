"""A buffer as a folder: rows as Arrow files, logits and features as safetensors, everything else as JSON."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import datasets
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import InputError
from ..whole_files import swap_folder
from .buffer import Buffer, Slot
from .ragged import flatten, unflatten
from .row_files import read_rows, write_rows

__all__ = ["load_buffer", "save_buffer"]

BUFFER_FILE = "buffer.json"
TENSORS_FILE = "tensors.safetensors"

_FORMAT_VERSION = 1
_KINDS = ("logits", "features")

# what is raised where a file is missing, or does not hold what was written
_UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError),
    *(pa.ArrowException, SafetensorError),
)

_Found = TypeVar("_Found")


def save_buffer(buffer: Buffer, folder: str | os.PathLike[str], features: Mapping[str, datasets.Features]) -> None:
    """
    Save a buffer, whole or not at all.

    Images and recordings are saved with their contents, so that the folder does not depend on other files. What rows
    were prepared to is not saved.

    Args:
        buffer ([`Buffer`]): The buffer.
        folder (`str`): The folder; an earlier buffer there is replaced.
        features (`Mapping[str, datasets.Features]`): For each task those of the dataset that its rows were taken from.

    Raises:
        InputError: If the folder holds anything else than a buffer or cannot be written, or a row does not have the
            columns of its task.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> buffer = Buffer(size=2)
        >>> buffer.place(["good"])
        [0]
        >>> buffer.put(0, Slot("moods", {"text": "fine"}, "good", logits={"mood": torch.tensor([0.5, 2.0])}))
        >>> features = datasets.Features({"text": datasets.Value("string")})
        >>> with TemporaryDirectory() as folder:
        ...     save_buffer(buffer, f"{folder}/buffer", {"moods": features})
        ...     loaded = load_buffer(f"{folder}/buffer")
        >>> loaded[0].row, loaded[0].logits
        ({'text': 'fine'}, {'mood': tensor([0.5000, 2.0000])})
    """
    target = Path(folder).absolute()
    _check_target(target)
    state, tasks = buffer.state_dict(), buffer.rows_by_task()
    for task in tasks:
        if task not in features:
            raise InputError(f"{target}: the features of task {task!r}, of which there are rows, are missing.")
    unfinished, replaced = (target.with_name(f".{target.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        for number, (task, (_, rows)) in enumerate(tasks.items()):
            write_rows(unfinished / _rows_file(number), rows, features[task], f"buffer: task {task!r}")
        tensors, found = _flattened(buffer.slots)
        save_file(tensors, unfinished / TENSORS_FILE)
        checksums = {each.name: _checksum(each) for each in unfinished.iterdir()}
        description = _description(buffer, list(tasks), found) | {"state": state, "checksums": checksums}
        (unfinished / BUFFER_FILE).write_text(json.dumps(description), encoding="utf-8")
        swap_folder(unfinished, target, replaced)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{target}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def load_buffer(folder: str | os.PathLike[str]) -> Buffer:
    """
    Load what [`save_buffer`] saved.

    Args:
        folder (`str`): The folder.

    Returns:
        [`Buffer`]: It decides and draws as the saved one would. Its rows are not prepared, see
        [`Buffer.rows_by_task`].

    Raises:
        InputError: If a file is missing or broken, naming it.
    """
    path = Path(folder) / BUFFER_FILE
    description = _reading(path, _read_description, path)
    slots: list[Slot] = _reading(path, _read_slots, description)
    for number, task in enumerate(description["tasks"]):
        file = Path(folder) / _rows_file(number)
        _reading(file, _check_unchanged, file, description)
        _reading(file, _fill_rows, [slot for slot in slots if slot.task == task], file)
    file = Path(folder) / TENSORS_FILE
    _reading(file, _check_unchanged, file, description)
    _reading(file, _fill_tensors, slots, description["tensors"], file)
    return _reading(path, _rebuilt, description, slots)


def _reading(path: Path, read: Callable[..., _Found], *arguments: Any) -> _Found:
    """What a function finds in a file; one that it cannot use is named."""
    try:
        return read(*arguments)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as part of a buffer: {error!r}") from error


def _checksum(file: Path) -> str:
    found = hashlib.sha256()
    with open(file, "rb") as stream:
        while part := stream.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def _check_unchanged(file: Path, description: Mapping[str, Any]) -> None:
    # Arrow may end the process over a file with a few wrong bytes
    if _checksum(file) != description["checksums"][file.name]:
        raise InputError("expected the file that was saved with the buffer, found another or a damaged one.")


def _rows_file(number: int) -> str:
    # not by the task's name, which may be any text
    return f"rows-{number}.arrow"


def _description(buffer: Buffer, tasks: Sequence[str], tensors: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    numbers = {task: number for number, task in enumerate(tasks)}
    return {
        "format_version": _FORMAT_VERSION,
        "sampling": buffer.sampling,
        "tasks": tasks,
        "slots": [[numbers[slot.task], slot.group, slot.experience] for slot in buffer.slots],
        "tensors": tensors,
    }


def _read_description(path: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    version = description["format_version"]
    if version != _FORMAT_VERSION:
        raise InputError(f"expected format {_FORMAT_VERSION}, found {version!r}: update mt_transformers.")
    return description


def _read_slots(description: Mapping[str, Any]) -> list[Slot]:
    tasks = description["tasks"]
    return [Slot(tasks[task], {}, group, experience) for task, group, experience in description["slots"]]


def _fill_rows(slots: Sequence[Slot], file: Path) -> None:
    rows = read_rows(file)
    if len(rows) != len(slots):
        raise InputError(f"expected {len(slots)} rows, found {len(rows)}.")
    for slot, row in zip(slots, rows, strict=True):
        slot.row = row


def _flattened(slots: Sequence[Slot]) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
    """Tensors under numbered names, and for each number the kind and head they are of; one for each dtype."""
    found: dict[tuple[str, str, torch.dtype], dict[int, torch.Tensor]] = {}
    for number, slot in enumerate(slots):
        for kind in _KINDS:
            for head, value in getattr(slot, kind).items():
                found.setdefault((kind, head, value.dtype), {})[number] = value
    tensors: dict[str, torch.Tensor] = {}
    for index, values in enumerate(found.values()):
        flat = flatten(list(values.values())) | {"slots": torch.tensor(list(values))}
        tensors |= {f"{index}.{name}": tensor for name, tensor in flat.items()}
    return tensors, [{"kind": kind, "head": head} for kind, head, _ in found]


def _fill_tensors(slots: Sequence[Slot], found: Sequence[Mapping[str, str]], file: Path) -> None:
    tensors = load_file(file)
    for index, each in enumerate(found):
        if each["kind"] not in _KINDS:
            raise InputError(f"expected one of {', '.join(_KINDS)}, found {each['kind']!r}.")
        flat = {name: tensors[f"{index}.{name}"] for name in ("values", "dimensions", "sizes")}
        numbers = tensors[f"{index}.slots"].tolist()
        for number, value in zip(numbers, unflatten(flat), strict=True):
            getattr(slots[number], each["kind"])[each["head"]] = value


def _rebuilt(description: Mapping[str, Any], slots: Sequence[Slot]) -> Buffer:
    state = description["state"]
    buffer = Buffer(state["sampling"]["size"], description["sampling"])
    buffer.load_state_dict(state, slots)
    return buffer


def _check_target(target: Path) -> None:
    """Refuse to replace what is no buffer."""
    if target.is_dir():
        found = {each.name for each in target.iterdir()}
        if not found or BUFFER_FILE in found:
            return
    if target.exists():
        raise InputError(f"{target}: not overwritten: it is no earlier buffer.")
