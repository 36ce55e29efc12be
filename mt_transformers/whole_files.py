"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

__all__ = ["swap_folder", "whole_file"]


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """
    Give a temporary name to write under, which becomes the file's own when all was written.

    Args:
        file (`Path`): The file; its folder is made if need be.

    Yields:
        `Path`: The temporary name, in the same folder.

    Raises:
        InputError: If the file cannot be written.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            os.replace(unfinished, file)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error}") from error


def swap_folder(unfinished: Path, target: Path, replaced: Path) -> None:
    """
    Give a new folder its name; what had it keeps it if that fails.

    Args:
        unfinished (`Path`): The new folder under its temporary name, beside the target.
        target (`Path`): The name.
        replaced (`Path`): The name that an earlier folder gets, which the caller removes.

    Raises:
        OSError: If the folder cannot be renamed.
    """
    if target.exists():
        os.replace(target, replaced)
    try:
        os.replace(unfinished, target)
    except OSError:
        if replaced.exists():
            os.replace(replaced, target)
        raise
