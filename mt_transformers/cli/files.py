"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from ..errors import InputError

__all__ = ["open_whole", "write_json"]


@contextmanager
def open_whole(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """
    Open a text file for writing under a temporary name, and give it its own when all was written.

    Args:
        path (`str`): The file.

    Yields:
        `TextIO`: The open file.

    Raises:
        InputError: If its folder does not exist or cannot be written to.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target}: cannot be written: it is a folder.")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        file = unfinished.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error}") from error
    try:
        with file:
            yield file
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as JSON, whole or not at all."""
    with open_whole(path) as file:
        json.dump(value, file, indent=2)
        file.write("\n")
