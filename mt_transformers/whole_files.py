"""Files that appear whole or not at all, written by whoever takes a path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

__all__ = ["whole_file"]


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
